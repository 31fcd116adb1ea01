"""What may become of a keystore's row.

Each change is a pure function. It returns another row, and whoever asked for it puts that one in the place of the first
by compare-and-swap, or reads again and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envelope_codec.envelope import MAX_RECIPIENTS, Purpose, Recipient, Record
from envelope_codec.keystore_row import MAX_IMPORTED, KeystoreRow, size_of


class ChangeRefused(Exception):
    """A change that a row does not allow. The row is as it was.

    Args:
        reason: fixed text, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def publish(record: Record, row: KeystoreRow | None = None) -> KeystoreRow:
    """Return the row to keep of ``record``, which whoever asks has made.

    Args:
        record: not of direct mode.
        row: what is kept of it already, such as by an import. Its verified recipients stay as they are.

    Raises:
        ChangeRefused: there would be more than eight verified recipients.
    """
    row = _start(record, row)
    for recipient in record.recipients:
        if recipient.key_id not in _names(row.verified):
            row = add_verified(row, recipient)
    return row


def import_record(record: Record, row: KeystoreRow | None = None) -> KeystoreRow:
    """Return the row with those recipients of ``record``, which was found in a history, that it has not got.

    Nobody vouches for them: they replace nothing. Those that there is no room for are left out.

    Args:
        record: not of direct mode.
        row: what is kept of it already.
    """
    row = _start(record, row)
    return replace(row, imported=_with_imported(row, record.recipients))


def restore(saved: KeystoreRow, row: KeystoreRow | None = None) -> KeystoreRow:
    """Return the row to keep of ``saved``, which was kept once, such as in a backup.

    What is kept now stays. It gets those recipients that it has no verified one of the same master key for. Nobody has
    unwrapped them now, so one does not take the place of other imported ones of its master key, but stands with them.

    Args:
        saved: with its recipients, and its tag if nothing is kept now.
        row: what is kept now, of the same record.

    Raises:
        ChangeRefused: there would be more recipients than a row may have.
    """
    if row is None:
        return saved
    if (row.head, row.id) != (saved.head, saved.id):
        raise ValueError("the row is of another record")
    for recipient in saved.verified:
        if recipient.key_id in _names(row.verified):
            continue
        if any(one.key_id == recipient.key_id and one != recipient for one in row.imported):
            row = _beside_imported(row, recipient)
        else:
            row = add_verified(row, recipient)
    return replace(row, imported=_with_imported(row, saved.imported))


def add_verified(row: KeystoreRow, recipient: Recipient, replaces: bytes | None = None) -> KeystoreRow:
    """Return the row with ``recipient``, which whoever asks has just unwrapped.

    It takes the place of all imported recipients of its key id. The row loses its tag, since that was of another list.

    Args:
        row: to be changed.
        recipient: to be added.
        replaces: the ciphertext of the verified recipient with this key id whose place it takes.

    Raises:
        ChangeRefused: there is a verified recipient of this key id, and ``replaces`` is not its ciphertext; or there
            are eight verified recipients.
    """
    if recipient in row.verified:
        return row
    before = next((one for one in row.verified if one.key_id == recipient.key_id), None)
    if before is None and len(row.verified) == MAX_RECIPIENTS:
        raise ChangeRefused("the row has eight verified recipients, and no more fit")
    if before is not None and before.ciphertext != replaces:
        raise ChangeRefused("the row has another verified recipient of this master key")
    return replace(
        row,
        verified=_with(row.verified, recipient, before),
        imported=_without(row.imported, recipient.key_id),
        tag=b"",
    )


def drop(row: KeystoreRow, key_id: str, proof: Recipient) -> KeystoreRow:
    """Return the row without the recipients of ``key_id``. It loses its tag where one of them was verified.

    Args:
        row: to be changed.
        key_id: of the master key that goes.
        proof: a verified recipient of another master key, which whoever asks has just unwrapped.

    Raises:
        ChangeRefused: the row has not got exactly ``proof``, or it is of the master key that goes.
    """
    if proof.key_id == key_id or proof not in row.verified:
        raise ChangeRefused("the row has not got the verified recipient that was unwrapped to prove it serves")
    verified, imported = _without(row.verified, key_id), _without(row.imported, key_id)
    return replace(row, verified=verified, imported=imported, tag=row.tag if verified == row.verified else b"")


def _start(record: Record, row: KeystoreRow | None) -> KeystoreRow:
    """Return ``row``, or without one the start of a row, which has no recipient yet."""
    if record.purpose is Purpose.DATA_KEY:
        raise ValueError("a record of direct mode serves one payload, and is not kept")
    if row is None:
        return KeystoreRow(record.head, record.id, record.purpose, record.created, record.context, ())
    if not row.belongs_to(record):
        raise ValueError("the row is of another record")
    return row


def _names(recipients: Iterable[Recipient]) -> set[str]:
    return {recipient.key_id for recipient in recipients}


def _beside_imported(row: KeystoreRow, recipient: Recipient) -> KeystoreRow:
    """Return the row with ``recipient`` among the imported ones."""
    row = replace(row, imported=_with_imported(row, (recipient,)))
    if recipient not in row.imported:
        raise ChangeRefused(
            "the row is full of other imported recipients of its master key: import into an empty keystore"
        )
    return row


def _with_imported(row: KeystoreRow, recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
    """Return the imported recipients of ``row``, and those of ``recipients`` that it has not got and has room for."""
    known, imported = _names(row.verified), list(row.imported)
    for recipient in recipients:
        fits = len(imported) < MAX_RECIPIENTS and size_of((*imported, recipient)) <= MAX_IMPORTED
        if recipient.key_id not in known and recipient not in imported and fits:
            imported.append(recipient)
    return tuple(imported)


def _with(listed: tuple[Recipient, ...], recipient: Recipient, before: Recipient | None) -> tuple[Recipient, ...]:
    """Return the list with ``recipient`` in the place of ``before``, or at its end."""
    if before is None:
        return (*listed, recipient)
    return tuple(recipient if one is before else one for one in listed)


def _without(listed: tuple[Recipient, ...], key_id: str) -> tuple[Recipient, ...]:
    return tuple(one for one in listed if one.key_id != key_id)
