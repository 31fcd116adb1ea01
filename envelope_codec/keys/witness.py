"""Witnesses: successful KMS calls that can be made again, to prove that the KMS still does what it did."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from envelope_codec.envelope import SECRET_LENGTH, Recipient, Record, unlock_head
from envelope_codec.errors import InvalidCiphertext
from envelope_codec.kms import MasterKey, WrappedSecret, unwrap_with

Items = tuple[tuple[str, str], ...]


class Witness(Protocol):
    """One successful call. It is immutable: nothing that is read later can change what it proves."""

    operation: ClassVar[str]

    @property
    def master(self) -> MasterKey:
        """The master key that was asked."""
        ...

    @property
    def version(self) -> str | None:
        """The key version that the success proves; None for none."""
        ...

    def repeat(self) -> None:
        """Make the same call again.

        Raises:
            EnvelopeError: as the provider raised it; `InvalidCiphertext` if the answer is another than before.
        """
        ...


@dataclass(frozen=True, eq=False, slots=True)
class UnwrapWitness:
    """An unwrap of a recipient, to the secret that its record's id commits to."""

    operation: ClassVar[str] = "unwrap"
    master: MasterKey
    wrapped: WrappedSecret
    context: Items
    head: bytes
    record_id: bytes
    version: str | None

    def repeat(self) -> None:
        """Unwrap the same ciphertext again. The secret must be the record's, and the proved version the same.

        Raises:
            EnvelopeError: as the provider raised it; `InvalidCiphertext` if the answer is another than before.
        """
        again = unwrap_with(self.master, self.wrapped, dict(self.context))
        unlock_head(self.head, self.record_id, again.secret)
        if again.version != self.version:
            raise InvalidCiphertext("the KMS used another key version than before", operation="unwrap")


@dataclass(frozen=True, eq=False, slots=True)
class WrapWitness:
    """A wrap, for roles that may only encrypt. It is repeated with a secret that is thrown away."""

    operation: ClassVar[str] = "wrap"
    master: MasterKey
    key_id: str
    context: Items
    version: str | None

    def repeat(self) -> None:
        """Wrap another secret. The key id and the key version must be the same.

        Raises:
            EnvelopeError: as the provider raised it; `InvalidCiphertext` if the answer is another than before.
        """
        again = self.master.wrap(os.urandom(SECRET_LENGTH), dict(self.context))
        if (again.key_id, again.key_version) != (self.key_id, self.version):
            raise InvalidCiphertext("the KMS used another key or key version than before", operation="wrap")


def open_recipient(record: Record, recipient: Recipient, master: MasterKey) -> tuple[bytes, UnwrapWitness]:
    """Unwrap one recipient: return the key that the record carries, and the witness.

    Raises:
        EnvelopeError: as the provider raised it; `InvalidCiphertext` if the secret is not the record's.
    """
    key, _, witness = _open(record, recipient, master)
    return key, witness


def complete_recipient(record: Record, master: MasterKey) -> tuple[Recipient, UnwrapWitness]:
    """Unwrap a record that ``master`` has just made: return its recipient, and the witness. Raises as `open_recipient`.

    The recipient has the key version that the KMS tells only as it unwraps, if the wrap told none.
    """
    recipient = record.recipients[0]
    _, used_version, witness = _open(record, recipient, master)
    return replace(recipient, key_version=recipient.key_version or used_version), witness


def _open(record: Record, recipient: Recipient, master: MasterKey) -> tuple[bytes, str, UnwrapWitness]:
    wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
    context: Mapping[str, str] = record.kms_context
    unwrapped = unwrap_with(master, wrapped, dict(context))
    key = unlock_head(record.head, record.id, unwrapped.secret)
    witness = UnwrapWitness(master, wrapped, tuple(context.items()), record.head, record.id, unwrapped.version)
    return key, unwrapped.used_version, witness
