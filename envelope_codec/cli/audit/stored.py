"""What a datastore holds: the payloads that references in histories lead to, and others.

A reference is sealed, and can't be followed without its key. But every payload in a datastore is an envelope, so the
whole datastore can be counted without a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.tally import Tally, count_name
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.envelope import NAME_ENCODING, Record, parse
from envelope_codec.errors import MalformedEnvelope, PayloadMissing
from envelope_codec.store import PayloadStore, Stored, TooLarge, get_listed

_BATCH = 200
_AHEAD = 86_400.0  # seconds by which a datastore's clock may be ahead


async def count_store(
    store: PayloadStore, namespaces: frozenset[str], watcher: Watcher, importer: RecordImport | None = None
) -> Tally:
    """Count the payloads in ``store`` that were sealed for one of ``namespaces``. All of them are fetched.

    Args:
        store: to be read.
        namespaces: whose payloads count.
        watcher: is told how far it has come.
        importer: gets the records of these payloads.

    Raises:
        EnvelopeError: the store can't be listed or read.
        Stopped: a record can't be imported.
    """
    tally = Tally()

    async def count(stored: Stored) -> None:
        try:
            data = await get_listed(store, stored)
            tally.merge(count_stored(data, namespaces, importer.note if importer else None))
        except TooLarge:
            tally.merge(_not_readable())
        except PayloadMissing:  # deleted meanwhile, or its last part was never written
            tally.gone += 1
        if importer is not None:
            await importer.flush()
        watcher.advance()

    batch: list[Stored] = []
    async for stored in store.list_before(time.time() + _AHEAD):
        batch.append(stored)
        if len(batch) == _BATCH:
            await run_each(batch, count)
            batch.clear()
    await run_each(batch, count)
    return tally


def count_stored(data: bytes, namespaces: frozenset[str], note: Callable[[Record], None] | None = None) -> Tally:
    """Count one stored payload. ``note`` is given the record, if it counts."""
    tally = Tally(sources=1)
    try:
        payload = Payload.FromString(data)
        envelope = parse(payload.metadata, payload.data)
    except (DecodeError, UnicodeDecodeError, MalformedEnvelope):  # the second is of protobuf's implementation in Python
        return _not_readable()
    if envelope is None:
        encoding = payload.metadata.get(NAME_ENCODING, b"").decode("utf-8", "backslashreplace")
        count_name(tally.foreign, encoding or "no encoding")
    elif envelope.record.namespace in namespaces:
        tally.kinds["envelope"] += 1
        tally.add_record(envelope.record)
        if note is not None:
            note(envelope.record)
    return tally


def _not_readable() -> Tally:
    tally = Tally(sources=1)
    tally.unreadable["no envelope that can be read"] += 1
    return tally
