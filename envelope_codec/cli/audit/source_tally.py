"""The tally of one source: a workflow, a schedule and so on, read from its beginning to its end."""

from __future__ import annotations

from hashlib import blake2b

from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit.count import Count
from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.stopped import Stopped, reason_of
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.reading.reader import Reader, Source
from envelope_codec.errors import MalformedEnvelope

_ONE_S_OWN = frozenset(
    (
        RPCStatusCode.DATA_LOSS,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.UNKNOWN,
    )
)
"""What may be wrong with one history alone. Everything else ends the audit."""


async def tally_source(reader: Reader, source: Source, importer: RecordImport | None = None) -> Tally:
    """Count one source. Of one that can't be read to its end, nothing counts.

    Raises:
        Stopped: the server can't be asked, or a record can't be imported.
    """
    count = Count(source, importer.note if importer is not None else None)
    name = f"{source.kind.value} {source.id!r}"
    try:
        async for message in reader.messages(source):
            count.add(message)
            if importer is not None:
                await importer.flush()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and await reader.is_gone(source):
            return Tally(gone=1)
        if error.status not in _ONE_S_OWN:
            raise Stopped.at(f"{name} in namespace {reader.namespace!r}", error) from None
        return Tally.of_unread(f"{name} {source.run_id}".strip(), reason_of(error))
    except MalformedEnvelope as error:
        return Tally.of_unread(f"{name} {source.run_id}".strip(), str(error))
    return count.end()


def run_number(run_id: str) -> int:
    """Return 8 bytes of a run's id, as a number, by which the run is known again."""
    return int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big")
