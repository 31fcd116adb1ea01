"""Rows of a keystore, wrapped by fake master keys, and what rewraps them."""

from __future__ import annotations

import time
from dataclasses import replace

from envelope_codec.cli.rewrap.master_keys import MasterKeys
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.envelope import NAMESPACE, Purpose, Recipient
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow, parse_row
from envelope_codec.kms import MasterKey
from envelope_codec.testing import FakeKeystore, FakeKms

LONG_AGO = 1_700_000_000


def row_by(
    *masters: MasterKey,
    namespace: str = "prod",
    created: int = LONG_AGO,
    secret: bytes | None = None,
    purpose: Purpose = Purpose.WRAPPING_KEY,
) -> KeystoreRow:
    """The row of a new wrapping key that ``masters`` have wrapped."""
    draft = Draft(purpose, created, {NAMESPACE: namespace}, secret=secret)
    return publish(draft.record([draft.wrap_by(master).recipients[0] for master in masters]))


def young_row_by(master: MasterKey) -> KeystoreRow:
    """The row of a wrapping key that may still seal."""
    return row_by(master, created=int(time.time()))


def imported(row: KeystoreRow, *recipients: Recipient) -> KeystoreRow:
    """The row with no verified recipients, and its own and ``recipients`` as imported ones, the latter first."""
    return replace(row, verified=(), imported=(*recipients, *row.verified))


def key_ids(keystore: FakeKeystore) -> dict[bytes, list[str]]:
    """What the rows are, as far as it must be the same however they came about."""
    rows = [parse_row(key, data) for key, (data, _) in keystore.kept.items()]
    return {row.key: sorted(recipient.key_id for recipient in row.recipients) for row in rows}


class Nobody:
    """A watcher of progress that looks away."""

    def expect(self, doing: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""


class Bench:
    """A keystore in memory, an old and a new master key, and readers of namespaces that have both."""

    def __init__(self, *namespaces: str) -> None:
        self.old, self.new = FakeKms("fakekms://old"), FakeKms("fakekms://new")
        self.keystore = FakeKeystore()
        self.sets = {name: KeySet(self.new, decrypt_keys=(self.old,)) for name in namespaces or ("prod",)}
        self.masters = MasterKeys(self.old, self.new, self.sets.get)
        self.waits: list[float] = []

    def keep(self, *rows: KeystoreRow) -> None:
        """Put ``rows`` into the keystore."""
        for row in rows:
            self.keystore.kept[row.key] = row.serialize(), f"kept-{len(self.keystore.kept)}"

    def row(self, row: KeystoreRow) -> KeystoreRow:
        """What the keystore has of ``row`` now."""
        return parse_row(row.key, self.keystore.kept[row.key][0])

    def run(self, in_flight: int = 4) -> Run:
        """What does the work. It waits for nothing."""

        async def at_once() -> None:
            pass

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        return Run(self.keystore, self.masters, in_flight=in_flight, pace=at_once, progress=Nobody(), sleep=sleep)
