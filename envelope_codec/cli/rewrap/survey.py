"""A survey of a keystore: what a rewrap has to do, before it does anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from envelope_codec.cli.rewrap.steps import IsKept, KeyIds, under
from envelope_codec.envelope import Purpose
from envelope_codec.keystore_row import KeystoreRow


class Span(NamedTuple):
    """Some of the keystore's rows: those whose keys lie between two others.

    Attributes:
        after: what all keys are greater than; empty for all.
        last: what no key is greater than; None for all.
    """

    after: bytes = b""
    last: bytes | None = None


WHOLE = Span()


@dataclass
class Survey:
    """What the rows of a keystore are, as far as two master keys are concerned.

    Attributes:
        youngest_safe: Unix seconds; a wrapping key that was made later may still seal.
        calls_to_move: KMS calls that it takes to give a row its first recipient of the new master key.
        rows: how many there are.
        unreadable: how many of them this version can't read. Nobody knows what they name.
        elsewhere: how many are of namespaces that were not asked for.
        by_key_id: how many rows name each master key.
        under_old: keys of the rows that name the old master key, but for the frozen ones.
        frozen: how many rows name the old master key, and may still be adopted by writers that share: these are left as
            they are. A row that nobody adopts any more needs no tag, and loses it.
        lacking: how many of those have no verified recipient of the new one.
        young: how many of those may still seal.
        by_namespace: how many of those each namespace has.
        samples: of each namespace that has rows which lack the new master key, one.
        calls: KMS calls that a first pass makes at least.
        not_kept: how many rows name the old master key, and have no verified recipient of the new one in the backup.
    """

    youngest_safe: float
    calls_to_move: int = 3
    rows: int = 0
    unreadable: int = 0
    elsewhere: int = 0
    by_key_id: Counter[str] = field(default_factory=Counter)
    under_old: list[bytes] = field(default_factory=list)
    frozen: int = 0
    lacking: int = 0
    young: int = 0
    by_namespace: Counter[str] = field(default_factory=Counter)
    samples: dict[str, KeystoreRow] = field(default_factory=dict)
    calls: int = 0
    not_kept: int = 0

    def add(self, row: KeystoreRow, ids: KeyIds, is_kept: IsKept | None = None) -> None:
        """Count ``row``. ``is_kept`` says what the backup has, if there is one."""
        self.rows += 1
        names = {recipient.key_id for recipient in row.recipients}
        for name in names:
            self.by_key_id[name] += 1
        if names.isdisjoint(ids.old):
            return
        is_young = row.created > self.youngest_safe
        self.young += is_young
        self.by_namespace[row.namespace] += 1
        if is_young and row.purpose is Purpose.SHARED_WRAPPING_KEY:  # to change it ends its sharing for the whole fleet
            self.frozen += 1
            self.lacking += 1
            return
        self.under_old.append(row.key)
        verified = under(ids.new, row.verified)
        self.lacking += not verified
        if is_kept is not None and not any(is_kept(row.key, one) for one in verified):
            self.not_kept += 1
        if names.isdisjoint(ids.new):
            self.samples.setdefault(row.namespace, row)
            self.calls += self.calls_to_move
        else:
            self.calls += 1  # to unwrap

    def concerns_none(self, ids: KeyIds) -> bool:
        """Say whether no row names either master key: then the keystore, or a name, may be the wrong one."""
        return self.by_key_id.keys().isdisjoint(ids.old | ids.new)

    def add_unreadable(self) -> None:
        """Count a row that this version can't read."""
        self.rows += 1
        self.unreadable += 1

    def add_elsewhere(self) -> None:
        """Count a row of a namespace that was not asked for."""
        self.rows += 1
        self.elsewhere += 1
