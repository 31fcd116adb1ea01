"""What a datastore holds: the payloads that references in histories lead to, and others.

A reference is sealed, and can't be followed without its key. But every payload in a datastore is an envelope, so the
whole datastore can be counted without a key.
"""

from __future__ import annotations

import time

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.envelope import parse
from envelope_codec.errors import MalformedEnvelope, PayloadMissing
from envelope_codec.store import PayloadStore

_BATCH = 200
_AHEAD = 86_400.0  # seconds by which a datastore's clock may be ahead


async def count_store(store: PayloadStore, namespaces: frozenset[str], watcher: Watcher) -> Tally:
    """Count the payloads in ``store`` that were sealed for one of ``namespaces``. All of them are fetched.

    Raises:
        EnvelopeError: the store can't be listed or read.
    """
    tally = Tally()

    async def count(id: str) -> None:
        try:
            tally.merge(count_stored(await store.get(id), namespaces))
        except PayloadMissing:  # deleted meanwhile, or its last part was never written
            tally.gone += 1
        watcher.advance()

    batch: list[str] = []
    async for stored in store.list_before(time.time() + _AHEAD):
        batch.append(stored.id)
        if len(batch) == _BATCH:
            await run_each(batch, count)
            batch.clear()
    await run_each(batch, count)
    return tally


def count_stored(data: bytes, namespaces: frozenset[str]) -> Tally:
    """Count one stored payload."""
    tally = Tally(sources=1)
    try:
        payload = Payload.FromString(data)
        envelope = parse(payload.metadata, payload.data)
    except (DecodeError, MalformedEnvelope):
        tally.unreadable["no envelope that can be read"] += 1
        return tally
    if envelope is None:
        tally.foreign["in a datastore"] += 1
    elif envelope.record.namespace in namespaces:
        tally.kinds["envelope"] += 1
        tally.add_record(envelope.record)
    return tally
