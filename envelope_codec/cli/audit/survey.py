"""One audit from beginning to end: the server, the datastores, and the keystore that records are imported into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from temporalio.client import Client

from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.stored import count_store
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.cli.reading.pace import Pace
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.cli.reading.reader import Reader
from envelope_codec.cli.stores import list_stores, open_store
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.keystore_client import KeystoreClient

_TO_CONNECT = 30.0  # seconds


async def run_audit(
    connection: Connection,
    namespace: str,
    query: str,
    known: Checkpoint,
    wait: float,
    rate: float,
    settings: EnvelopeConfig | None,
    *,
    importing: bool,
) -> Findings:
    """Scan the namespace, and read the datastores of ``settings``, if there are any.

    Raises:
        Stopped: something could not be asked, read or written.
    """
    client = await connect(connection)
    reader = Reader(client, namespace, Pace(rate))
    with Progress() as progress:
        async with _importer(settings if importing else None) as importer:
            findings = await Scan(reader, known, progress, query, wait, importer=importer).run()
            if settings is None:
                return findings
            stores = await count_stores(settings, namespace, progress, importer)
            return replace(findings, stores=stores, imported=importer.imported if importer is not None else None)


async def connect(connection: Connection, **more: Any) -> Client:
    """Connect to the server.

    Raises:
        Stopped: there is no connection.
    """
    try:
        return await connection.open(_TO_CONNECT, **more)
    except ConnectionFailed as error:
        raise Stopped(error.reason(connection.address)) from None


@asynccontextmanager
async def _importer(settings: EnvelopeConfig | None) -> AsyncIterator[RecordImport | None]:
    """Open the keystore, and see whether it can be used."""
    if settings is None or settings.keystore is None:
        yield None
        return
    named = settings.keystore
    client = KeystoreClient(KeystoreUrl(named) if isinstance(named, str) else named)
    try:
        try:
            await client.check()
        except EnvelopeError as error:
            raise Stopped(f"the keystore can't be used: {error}") from None
        yield RecordImport(client)
    finally:
        await client.aclose()


async def count_stores(
    settings: EnvelopeConfig, namespace: str, progress: Progress, importer: RecordImport | None = None
) -> dict[str, Tally]:
    """Count what the datastores of ``settings`` hold of a namespace, by name.

    Raises:
        Stopped: one can't be read, or a record can't be imported.
    """
    aliases = [old for old, new in settings.namespace_aliases.items() if new == namespace]
    stores = {}
    for url in list_stores(settings):
        progress.expect(f"reading {url.name}", None)
        try:
            async with open_store(url) as store:
                stores[url.name] = await count_store(store, frozenset((namespace, *aliases)), progress, importer)
        except EnvelopeError as error:
            raise Stopped(f"the datastore {url.name} can't be read: {error}") from None
    return stores
