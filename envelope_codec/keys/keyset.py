"""Key sets: the master keys of a namespace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.kms import MasterKey


class SealingContext(NamedTuple):
    """What is known of a payload that is to be sealed.

    Attributes:
        namespace: the Temporal namespace that seals.
        workflow_id: of the workflow that the payload belongs to: of a child, for what its parent gives it; of a
            schedule, the beginning of its workflows' ids. ``""`` where the SDK gives none, as for Nexus, headers,
            completion by task token and standalone activities.
        endpoint: of Nexus, for the input, the immediate result or the failure of an operation; else ``""``. The
            result of an operation that a workflow runs is that workflow's, and has none.
        service: of that operation.
        operation: its name.
    """

    namespace: str
    workflow_id: str = ""
    endpoint: str = ""
    service: str = ""
    operation: str = ""


@dataclass(frozen=True)
class ForeignMaster:
    """A master key by which another program has its data keys wrapped, bound to nothing of ours.

    Attributes:
        master: the master key.
        unwrap: returns the data key of such a ciphertext. It asks the KMS, and raises as `MasterKey.unwrap` does.
    """

    master: MasterKey
    unwrap: Callable[[bytes], bytes]


@dataclass(frozen=True, eq=False)
class KeySet:
    """The master keys of a namespace, or of a part of what is sealed there. Each object is a set of its own.

    Attributes:
        key: seals, and opens.
        backup_keys: wrap the same secrets, so that any of them opens what was sealed.
        decrypt_keys: open only.
        context: further names and values to bind to every record, beside the namespace.
        min_recipients: how many of ``key`` and ``backup_keys`` must wrap before a key may seal.
        prefix: what stands before ``key`` in the name of the setting, such as ``namespaces.prod.``.
        lease: seconds for which a success vouches for one of these master keys; the keyring's usual ones if None.
        foreign: the master keys of another program, whose payloads are opened too, by what it calls each of them.
    """

    key: MasterKey
    backup_keys: tuple[MasterKey, ...] = ()
    decrypt_keys: tuple[MasterKey, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)
    min_recipients: int = 1
    prefix: str = ""
    lease: float | None = None
    foreign: Mapping[str, tuple[ForeignMaster, ...]] = field(default_factory=dict)

    @property
    def sealing(self) -> tuple[MasterKey, ...]:
        """The master keys that wrap: ``key``, then ``backup_keys``."""
        return (self.key, *self.backup_keys)

    @property
    def masters(self) -> tuple[MasterKey, ...]:
        """The master keys that open: those that wrap, then ``decrypt_keys``."""
        return (*self.sealing, *self.decrypt_keys)

    def setting(self, number: int) -> str:
        """Return the name of the setting that holds the master key of this number in `sealing`."""
        return f"{self.prefix}backup_keys[{number - 1}]" if number else f"{self.prefix}key"

    def opening(self, key_id: str) -> list[MasterKey]:
        """List the master keys that may open what is recorded under ``key_id``, the one of that very key id first.

        Several may be able to: replicas of a multi-Region key, an alias and the key that it points at.
        """
        return sorted(self.masters, key=lambda master: master.key_id != key_id)


def pick_decisive(errors: list[EnvelopeError], operation: str) -> EnvelopeError:
    """Return the one error that decides, of several recipients' errors.

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
