"""Which master keys a namespace has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.kms import MasterKey
from envelope_codec.kmscall import told


@dataclass(frozen=True)
class KeySet:
    """The master keys of a namespace.

    Attributes:
        key: seals, and opens.
        backup_keys: wrap the same secrets, so that any of them opens what was sealed.
        decrypt_keys: open only.
        context: further names and values to bind to every record, beside the namespace.
        min_recipients: how many of ``key`` and ``backup_keys`` must wrap before a key may seal.
    """

    key: MasterKey
    backup_keys: tuple[MasterKey, ...] = ()
    decrypt_keys: tuple[MasterKey, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)
    min_recipients: int = 1

    @property
    def sealing(self) -> tuple[MasterKey, ...]:
        """The master keys that wrap."""
        return (self.key, *self.backup_keys)

    def accepting(self, key_id: str) -> list[MasterKey]:
        """The master keys that open what is recorded under ``key_id``, the one of that very key id first.

        Several may: replicas of a multi-Region key, an alias and the key that it points at. May ask a KMS.

        Raises:
            KmsUnavailable, KeyDenied: none is known to, and one of them could not find out.
        """
        errors: list[EnvelopeError] = []
        found: list[MasterKey] = []
        masters = (self.key, *self.backup_keys, *self.decrypt_keys)
        for master in sorted(masters, key=lambda master: master.key_id != key_id):
            try:
                if master.accepts(key_id):
                    found.append(master)
            except BaseException as error:
                errors.append(told(error, "open", master))
        if errors and not found:
            raise decisive(errors, "open")
        return found


def decisive(errors: list[EnvelopeError], operation: str) -> EnvelopeError:
    """The one error that says what several recipients' errors come to.

    A recipient that could not be asked may still say yes, so an outage wins over refusals; a refusal wins over a
    corrupt recipient; no error at all means that no recipient is configured.
    """
    for kind in (KmsUnavailable, KeyDenied, InvalidCiphertext, EnvelopeError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return KeyNotConfigured(
        "none of the envelope's master keys is configured for the namespace that sealed it", operation=operation
    )
