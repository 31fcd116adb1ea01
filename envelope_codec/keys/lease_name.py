"""Names of leases: what exactly a success vouches for."""

from __future__ import annotations

from typing import NamedTuple

from envelope_codec.envelope import CONTEXT_ID, Record
from envelope_codec.keys.witness import Items, Witness
from envelope_codec.kms import MasterKey


class Request(NamedTuple):
    """A KMS call, as far as it is known before it is answered.

    Attributes:
        operation: ``unwrap``, or ``wrap`` for roles that may only encrypt.
        master: identity of the `MasterKey` object: another object may have other credentials.
        key_id: the key id that it is asked for; an object may serve several.
        context: the KMS context without the record's id. Namespace, purpose and all other names are in it.
    """

    operation: str
    master: int
    key_id: str
    context: Items

    @classmethod
    def of(cls, operation: str, master: MasterKey, key_id: str, record: Record) -> Request:
        """Return the request that is made for ``record``."""
        context = tuple(item for item in record.kms_context.items() if item[0] != CONTEXT_ID)
        return cls(operation, id(master), key_id, context)


class LeaseName(NamedTuple):
    """Name of a lease: what it vouches for.

    Attributes:
        request: what the KMS was asked.
        version: the key version that the KMS's success proves; None for none.
        record_id: ``b""``; where no version is proved, the id of the one record that is vouched for.
        seconds: how long a success vouches: key sets may differ.
    """

    request: Request
    version: str | None
    record_id: bytes
    seconds: float

    @classmethod
    def of(cls, request: Request, witness: Witness, record: Record, seconds: float) -> LeaseName:
        """Return the name of the lease that ``witness`` begins."""
        return cls(request, witness.version, record.id if witness.version is None else b"", seconds)
