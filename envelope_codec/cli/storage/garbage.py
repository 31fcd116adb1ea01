"""The search for payloads in a datastore that nothing refers to any more, and their deletion."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.reading.batch import AT_ONCE, run_all, run_each
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.cli.reading.reader import Reader, Source, SourceKind
from envelope_codec.cli.storage.references import ids_in
from envelope_codec.cli.storage.search_result import SearchResult
from envelope_codec.cli.storage.state import Run, State
from envelope_codec.envelope import parse
from envelope_codec.errors import EnvelopeError, PayloadMissing
from envelope_codec.store import PayloadStore, Stored, TooLarge, get_listed, get_within
from envelope_codec.temporal.codec import EnvelopeCodec

_SAMPLES = 20
"""How many references are kept, to tell whether they lead into this store."""


class Stopped(Exception):
    """Not everything could be read, so that nothing may be deleted. The text says what could not be read, and why."""


class Collection:
    """One search of a store for payloads that nothing refers to.

    Args:
        store: the store to search.
        before: Unix seconds: only payloads that were put earlier are looked at.
        readers: one for each namespace whose histories may refer to payloads in the store.
        codec: opens claims.
        state: what an earlier run has read.
        watcher: is told how far the search has come.
    """

    def __init__(
        self,
        store: PayloadStore,
        before: float,
        readers: Sequence[Reader],
        codec: EnvelopeCodec,
        state: State,
        watcher: Watcher,
    ) -> None:
        self._store = store
        self._before = before
        self._readers = readers
        self._codec = codec
        self._state = state
        self._watcher = watcher
        self._unreferenced: dict[str, Stored] = {}
        self._ended: set[Run] = set()
        self._begun: set[tuple[str, SourceKind, str, str]] = set()
        self._samples: set[str] = set()
        self.result = SearchResult()

    async def search(self) -> SearchResult:
        """Search for orphans. Nothing is deleted.

        Raises:
            Stopped: something could not be read, or a claim could not be opened.
            EnvelopeError: the store can't be listed or read.
        """
        await self._list_store()
        if self._unreferenced:
            for reader in self._readers:
                await self._read(reader)
            # Meanwhile workflows may have been reset or started from others, or listed late. The others may be gone by
            # now, so what came is read as well.
            for reader in self._readers:
                await self._read(reader, again=True)
            self._state.keep(self._ended)
            await self._check_that_it_is_this_store()
        self.result.referenced = self.result.listed - len(self._unreferenced)
        await self._sort()
        return self.result

    async def delete(self) -> SearchResult:
        """Delete the orphans that `search` has found."""
        self._watcher.expect("deleting", len(self.result.orphans))

        async def delete(stored: Stored) -> None:
            await self._store.delete(stored.id)
            self.result.deleted += 1
            self._watcher.advance()

        await run_each(self.result.orphans, delete)
        return self.result

    async def _list_store(self) -> None:
        self._watcher.expect("listing the store", None)
        async for stored in self._store.list_before(self._before):
            self._unreferenced[stored.id] = stored
            self._watcher.advance()
        self.result.listed = len(self._unreferenced)

    async def _read(self, reader: Reader, *, again: bool = False) -> None:
        """Read what the namespace lists, unless it was read before."""
        try:
            await reader.check()
            doing = "reading what has come to" if again else "reading"
            self._watcher.expect(f"{doing} {reader.namespace}", None if again else await reader.count())
        except RPCError as error:
            raise _stopped(f"namespace {reader.namespace!r}", error) from None
        sources: asyncio.Queue[Source | None] = asyncio.Queue(AT_ONCE)

        async def list_sources() -> None:
            try:
                async for source in reader.sources():
                    which = reader.namespace, source.kind, source.id, source.run_id
                    if which not in self._begun:
                        self._begun.add(which)
                        await sources.put(source)
            except RPCError as error:
                raise _stopped(f"the list of namespace {reader.namespace!r}", error) from None
            for _ in range(AT_ONCE):
                await sources.put(None)

        async def read_sources() -> None:
            while (source := await sources.get()) is not None:
                await self._strike_out(reader, source)
                self.result.read += 1
                self._watcher.advance()

        await run_all([list_sources(), *(read_sources() for _ in range(AT_ONCE))])

    async def _strike_out(self, reader: Reader, source: Source) -> None:
        """Take the payloads that ``source`` refers to off the list of those that nothing refers to."""
        run = Run(reader.namespace, source.id, source.run_id) if source.ended else None
        ids = self._state.ids(run) if run is not None else None
        if ids is None:
            ids = await self._read_ids(reader, source, run)
        if run is not None:
            self._ended.add(run)
        for id in ids:
            self._unreferenced.pop(id, None)
        if len(self._samples) < _SAMPLES:
            self._samples.update(ids[:_SAMPLES])

    async def _read_ids(self, reader: Reader, source: Source, run: Run | None) -> list[str]:
        """Read which ids ``source`` refers to, and note them for ``run``. None of them if ``source`` is gone."""
        what = f"{source.kind.value} {source.id!r} in namespace {reader.namespace!r}"
        ids: set[str] = set()
        try:
            async for message in reader.messages(source):
                ids |= await ids_in(message, self._codec)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and await reader.is_gone(source):
                return []
            raise _stopped(what, error) from None
        except EnvelopeError as error:
            raise Stopped(f"{what} refers to a payload, and can't be opened: {error}") from None
        if run is not None:
            self._state.add(run, ids)
        return sorted(ids)

    async def _check_that_it_is_this_store(self) -> None:
        """Stop if no reference leads into this store: it may belong to another server, and would be emptied."""
        if len(self._unreferenced) < self.result.listed:
            return
        for id in self._samples:
            try:
                await get_within(self._store, id, 0)  # whether it is there is all that counts
            except TooLarge:
                return
            except PayloadMissing:
                continue
            return
        raise Stopped(
            "nothing that was read refers to any payload in this store: it belongs to another server or to other "
            "namespaces. If it is to be emptied, do so with the datastore's own tools"
        )

    async def _sort(self) -> None:
        """Separate the orphans of the namespaces that were read from what must be left."""
        namespaces = {reader.namespace for reader in self._readers}
        self._watcher.expect("looking at what nothing refers to", len(self._unreferenced))

        async def look(stored: Stored) -> None:
            try:
                namespace = _namespace_of(await get_listed(self._store, stored))
            except PayloadMissing:  # its last part was never written
                self.result.orphans.append(stored)
            except EnvelopeError as error:
                if error.retryable:
                    raise
                self.result.unknown += 1
            else:
                if namespace in namespaces:
                    self.result.orphans.append(stored)
                else:
                    self.result.foreign += 1
            self._watcher.advance()

        await run_each(list(self._unreferenced.values()), look)
        self.result.orphans.sort(key=lambda stored: (stored.created, stored.id))


def _namespace_of(data: bytes) -> str:
    """Find the namespace that a stored payload was sealed for."""
    try:
        payload = Payload.FromString(data)
        envelope = parse(payload.metadata, payload.data)
    except (DecodeError, UnicodeDecodeError):  # the latter is what protobuf's implementation in Python raises
        envelope = None
    if envelope is None:
        raise EnvelopeError("not an envelope")
    return envelope.record.namespace


def _stopped(what: str, error: RPCError) -> Stopped:
    return Stopped(f"{what} can't be read: {error.status.name}: {error.message}")
