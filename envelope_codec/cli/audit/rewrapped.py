"""Whether histories that name a master key open with another one, through the keystore."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from envelope_codec._frames import frameless
from envelope_codec.cli.audit.need import MAX_IDS, PROXIED, Need
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.verdict import date_text
from envelope_codec.cli.keys.row_opening import accepts, readers_of, unwrap_row
from envelope_codec.cli.keystores import keystore_url, open_keystore
from envelope_codec.cli.output import plural
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Recipient
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore import Kept
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row
from envelope_codec.kms import MasterKey, master_key

_AT_A_TIME = 256


class Readable(Protocol):
    """What is needed of a keystore."""

    def rows(self) -> AsyncIterator[Kept]: ...


@dataclass
class Rewrapped:
    """What of the wrapping keys under an old master key opens with a new one.

    Attributes:
        new: the new master key, as the user names it.
        keys: how many wrapping keys histories need of the old one.
        opened: how many of these the new one has opened now, from their rows.
        lacking: how many have a row without a recipient of the new one.
        failed: how many have one that did not open, by reason.
        reasons: what else speaks against it.
    """

    new: str
    keys: int = 0
    opened: int = 0
    lacking: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)

    @property
    def absent(self) -> int:
        """How many wrapping keys have no row."""
        return self.keys - self.opened - self.lacking - sum(self.failed.values())

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was read needs the old master key any more."""
        return self.opened == self.keys and not self.reasons

    def sentences(self, unseen: Iterable[str]) -> Iterator[str]:
        """Say how it stands. ``unseen`` is what no audit sees."""
        if self.is_complete:
            yield (
                f"no history needs it but through the keystore: {self._every()} opens with {self.new}. It can go: back "
                "the keystore up, disable the master key, watch for a week, then delete it"
            )
            yield f"not seen, and opened by the keystore alone if their wrapping keys have rows: {', '.join(unseen)}"
            return
        yield f"not yet: {self.opened:,} of {plural(self.keys, 'wrapping key')} open with {self.new}"
        if self.absent:
            yield f"{plural(self.absent, 'wrapping key')} have no row: audit --import adds them, then rewrap"
        if self.lacking:
            yield f"{plural(self.lacking, 'row')} have no recipient of it: rewrap"
        for reason, rows in self.failed.most_common():
            yield f"{plural(rows, 'row')} did not open: {reason}"
        yield from self.reasons

    def document(self) -> dict[str, Any]:
        """Make JSON of it."""
        return {
            "to": self.new,
            "complete": self.is_complete,
            "wrapping_keys": self.keys,
            "opened": self.opened,
            "without_row": self.absent,
            "without_recipient": self.lacking,
            "failed": dict(self.failed),
            "reasons": self.reasons,
        }

    def _every(self) -> str:
        return f"every one of {self.keys:,} wrapping keys" if self.keys != 1 else "the one wrapping key"


def find_reasons(need: Need) -> list[str]:
    """Say what speaks against the end of the old master key, whatever the keystore has.

    Args:
        need: of the old master key, in all that was read.
    """
    reasons = []
    if direct := need.purposes["direct"]:
        reasons.append(f"{plural(direct, 'payload')} in direct mode: nothing but the master key itself opens these")
    if proxied := need.purposes[PROXIED]:
        reasons.append(f"{plural(proxied, 'payload')} of Temporal's proxy: only the master key itself opens these")
    if len(need.ids) >= MAX_IDS:
        reasons.append(f"histories name {MAX_IDS:,} wrapping keys or more, and an audit knows no more of them apart")
    return reasons


def tell_sealing(newest: float, config: EnvelopeConfig, now: float) -> str:
    """Say until when a wrapping key made at ``newest`` may seal. Empty if it does no longer."""
    until = newest + config.max_age + config.outage_grace
    when = f"until {date_text(until)} (max_age and outage_grace)"
    return f"a wrapping key under it may still seal, {when}" if until > now else ""


async def see_rewrapped(config: EnvelopeConfig, new: str, old_ids: frozenset[str], whole: Tally) -> Rewrapped:
    """Do as `find_rewrapped` does, with the keystore of the configuration, for all that an audit has counted.

    Raises:
        EnvelopeError: the keystore can't be read.
    """
    need = Need()
    for key, one in whole.needs.items():
        if key.key_id in old_ids:
            need.merge(one)
    async with open_keystore(keystore_url(config)) as keystore:
        return await find_rewrapped(keystore, config, new, old_ids, need)


async def find_rewrapped(
    keystore: Readable,
    config: EnvelopeConfig,
    new: str,
    old_ids: frozenset[str],
    need: Need,
    now: Callable[[], float] = time.time,
) -> Rewrapped:
    """Look up the wrapping keys that histories need, and have the new master key unwrap each, as readers do.

    A record's id commits to its head. So a row that has this id, and whose secret leads to it, is the record's row.

    Args:
        keystore: has the rows.
        config: the settings that readers have.
        new: the new master key: key id or URI.
        old_ids: key ids of the old one.
        need: of the old one, in all that was read.
        now: gives Unix seconds.

    Raises:
        EnvelopeError: the keystore can't be read.
    """
    found = Rewrapped(new, len(need.ids), reasons=find_reasons(need))
    proof = _Proof(config, new, old_ids, found)
    try:
        page: list[KeystoreRow] = []
        newest = float(need.newest or 0)
        async for kept in keystore.rows():
            try:
                row = parse_row(kept.key, kept.data)
            except MalformedRow:
                continue
            if any(recipient.key_id in old_ids for recipient in row.recipients):
                newest = max(newest, row.created)
            if row.id in need.ids:
                page.append(row)
            if len(page) == _AT_A_TIME:
                await run_each(page, proof.take)
                page = []
        await run_each(page, proof.take)
    finally:
        proof.close()
    found.lacking, found.failed = proof.count_others()
    if why := proof.find_doubt():
        found.reasons.append(why)
    found.reasons += filter(None, [tell_sealing(newest, config, now())])
    return found


class _Proof:
    """Opens rows with the new master key. Of two rows with one id, which somebody planted, one that opens is enough."""

    def __init__(self, config: EnvelopeConfig, new: str, old_ids: frozenset[str], found: Rewrapped) -> None:
        self._sets = KeySets(config)
        self._new, self._defect = _made(new)
        self._name = new
        self._is_named = False
        self._old_ids = old_ids
        self._found = found
        self._opened: set[bytes] = set()
        self._others: dict[bytes, str] = {}

    async def take(self, row: KeystoreRow) -> None:
        """Try one row."""
        why = await asyncio.to_thread(self._try, row)
        if why is None and row.id not in self._opened:
            self._opened.add(row.id)
            self._found.opened += 1
        elif why is not None:
            self._others[row.id] = why

    def count_others(self) -> tuple[int, Counter[str]]:
        """Count the rows that have no recipient of the new master key, and those that did not open, by reason."""
        failed = Counter(why for id, why in self._others.items() if id not in self._opened)
        return failed.pop("", 0), failed

    def find_doubt(self) -> str:
        """Say why no row is known to have it: no key URI, and none names it as spelled. Empty if one may."""
        if self._new is not None or self._is_named or not self._others:
            return ""
        return f"{self._name!r} can't be used as a key URI ({self._defect}), and no row names it as it is spelled"

    def close(self) -> None:
        """Release the connections."""
        for master in (*self._sets.built, *([self._new] if self._new is not None else [])):
            master.close()

    def _try(self, row: KeystoreRow) -> str | None:
        """Return None if the new master key opens the row now; else why not: nothing if the row does not name it."""
        why = ""
        try:
            for recipient in (one for one in row.recipients if self._is_new(one)):
                why = _open(self._sets.opening, row, recipient)
                if not why:
                    return None
        except EnvelopeError as error:
            return str(error)
        return why

    def _is_new(self, recipient: Recipient) -> bool:
        if recipient.key_id in self._old_ids:
            return False
        if recipient.key_id == self._name:
            self._is_named = True
            return True
        return self._new is not None and accepts(self._new, recipient.key_id)


def _made(new: str) -> tuple[MasterKey | None, str]:
    """Make the master key that the text is the URI of. None, and why, if it is none, as a key id may be."""
    try:
        return master_key(new), ""
    except ConfigurationError as error:
        return None, str(error)


@frameless
def _open(opening: Callable[[str], KeySet | None], row: KeystoreRow, recipient: Recipient) -> str:
    """Open the row as readers do. Return why it did not; nothing if it did."""
    why = ""
    try:
        for reader in readers_of(opening, row, recipient):
            try:
                unwrap_row(reader, row, recipient)
                return ""
            except EnvelopeError as error:
                why = str(error)
    except EnvelopeError as error:
        why = str(error)
    return why
