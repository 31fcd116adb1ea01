"""The steps by which one row gets a recipient of the new master key, and later loses those of the old one.

Nothing here asks a KMS or a keystore. The steps are a generator: it yields what is to be done next, and is sent the
answer, or is thrown the error. It may end at any step. What was written then is more than before, never less, and the
same steps from the beginning lead to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from enum import Enum
from typing import NamedTuple, TypeAlias, cast

from envelope_codec.envelope import Recipient
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied
from envelope_codec.keys.keyset import pick_decisive
from envelope_codec.keystore_change import ChangeRefused, add_verified, drop
from envelope_codec.keystore_row import KeystoreRow

_TRIES = 5  # to write a row that others write as well


class Outcome(str, Enum):
    """How the steps of a row ended well."""

    added = "added"
    there = "there"
    dropped = "dropped"
    unconcerned = "unconcerned"


class RowFailed(Exception):
    """The steps of a row can't go on. The row is as good as before, or better.

    Args:
        reason: fixed text, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyIds(NamedTuple):
    """The key ids under which recipients of the two master keys are found. An alias may have several.

    Attributes:
        old: of the master key that is to go.
        new: of the one that is to come.
    """

    old: frozenset[str]
    new: frozenset[str]


class Found(NamedTuple):
    """A row as the keystore has it."""

    row: KeystoreRow
    revision: str


class Read(NamedTuple):
    """Read the row. The answer is what is `Found`."""

    key: bytes


class Prove(NamedTuple):
    """Unwrap ``recipient`` as readers do, and check that it leads to the row's id. There is no answer but the error."""

    row: KeystoreRow
    recipient: Recipient


class Move(NamedTuple):
    """Unwrap ``recipient`` with the old master key, check the id, wrap with the new one, and prove that: the answer.

    An error's ``operation`` is ``unwrap`` where ``recipient`` is at fault, so that another one may do.
    """

    row: KeystoreRow
    recipient: Recipient


class Write(NamedTuple):
    """Put the row in the place of that revision, and read it back.

    The answer is whether it is there as it was written.
    """

    row: KeystoreRow
    revision: str


Step: TypeAlias = Read | Prove | Move | Write
Answer: TypeAlias = Found | Recipient | bool | None
Steps: TypeAlias = Generator[Step, Answer, Outcome]

IsKept: TypeAlias = Callable[[bytes, Recipient], bool]
"""Says whether a backup has exactly this verified recipient in the row of this key."""


def under(ids: frozenset[str], recipients: Iterable[Recipient]) -> list[Recipient]:
    """List those of ``recipients`` that have one of these key ids."""
    return [recipient for recipient in recipients if recipient.key_id in ids]


def rewrap(key: bytes, ids: KeyIds) -> Steps:
    """Give the row of this key a verified recipient of the new master key, if it has one of the old.

    Raises:
        RowFailed: it is not possible.
        EnvelopeError: a master key or the keystore did not do it.
    """
    for _ in range(_TRIES):
        row, revision = yield from _read(key)
        if not under(ids.old, row.recipients):
            return Outcome.unconcerned
        proof = yield from _proved(row, under(ids.new, row.recipients))
        if proof is not None and proof in row.verified:
            return Outcome.there
        changed = _with(row, proof or (yield from _moved(row, ids)))
        if (yield Write(changed, revision)):
            return Outcome.added
    raise RowFailed("others write to the same row again and again")


def drop_old(key: bytes, ids: KeyIds, is_kept: IsKept) -> Steps:
    """Take the recipients of the old master key from the row, against the proof that the new one opens it now.

    Args:
        key: of the row.
        ids: of the master keys.
        is_kept: says what the backup has.

    Raises:
        RowFailed: it is not possible.
        EnvelopeError: a master key or the keystore did not do it.
    """
    for _ in range(_TRIES):
        row, revision = yield from _read(key)
        gone = dict.fromkeys(recipient.key_id for recipient in under(ids.old, row.recipients))
        if not gone:
            return Outcome.there
        new = under(ids.new, row.verified)
        if not new:
            raise RowFailed("the row has no verified recipient of the new master key")
        kept = [recipient for recipient in new if is_kept(key, recipient)]
        if not kept:
            raise RowFailed("the backup has not got the row with its recipient of the new master key")
        proof = yield from _proved(row, kept)
        if proof is None:
            raise RowFailed("the new master key does not open the row now")
        changed = row
        for key_id in gone:
            changed = drop(changed, key_id, proof)
        if (yield Write(changed, revision)):
            return Outcome.dropped
    raise RowFailed("others write to the same row again and again")


def _read(key: bytes) -> Generator[Step, Answer, Found]:
    return cast(Found, (yield Read(key)))


def _proved(row: KeystoreRow, recipients: Iterable[Recipient]) -> Generator[Step, Answer, Recipient | None]:
    """Return the first of ``recipients`` that leads to the row's id now. One whose KMS gives no answer is an error."""
    for recipient in recipients:
        try:
            yield Prove(row, recipient)
        except (InvalidCiphertext, KeyDenied):
            continue
        return recipient
    return None


def _moved(row: KeystoreRow, ids: KeyIds) -> Generator[Step, Answer, Recipient]:
    """Return a new recipient that leads to the row's id. All recipients of the old master key are tried for it."""
    errors: list[EnvelopeError] = []
    for recipient in under(ids.old, row.recipients):
        try:
            made = cast(Recipient, (yield Move(row, recipient)))
        except EnvelopeError as error:
            if error.operation != "unwrap":  # the new master key is at fault: another recipient would not help
                raise
            errors.append(error)
            continue
        if made.key_id in ids.old:
            raise RowFailed("the new master key is the old one, or a replica of it")
        return made
    raise pick_decisive(errors, "unwrap")


def _with(row: KeystoreRow, proof: Recipient) -> KeystoreRow:
    """Return the row with ``proof``, in the place of one that no longer unwraps, if there is one."""
    before = next((one.ciphertext for one in row.verified if one.key_id == proof.key_id), None)
    try:
        return add_verified(row, proof, before)
    except ChangeRefused as error:
        reason = error.reason
    raise RowFailed(reason)
