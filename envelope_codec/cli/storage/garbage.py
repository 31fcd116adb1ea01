"""Finding payloads in a datastore that nothing refers to any more, and deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.storage.reader import Reader, Source, SourceKind
from envelope_codec.cli.storage.references import ids_in
from envelope_codec.cli.storage.state import Run, State
from envelope_codec.envelope import parse
from envelope_codec.errors import EnvelopeError, PayloadMissing
from envelope_codec.store import PayloadStore, Stored
from envelope_codec.temporal.codec import EnvelopeCodec

_T = TypeVar("_T")

_AT_ONCE = 8
_SAMPLES = 20


class Stopped(Exception):
    """Not everything could be read, so that nothing may be deleted. The text says what could not, and why."""


class Watcher(Protocol):
    """Is told how far it has come."""

    def expect(self, doing: str, total: int | None) -> None:
        """The next step begins, with ``total`` things to do, if that is known."""
        ...

    def advance(self) -> None:
        """One of them is done."""
        ...


@dataclass
class Findings:
    """What was found.

    Attributes:
        listed: payloads that are old enough.
        referenced: how many of them something refers to.
        read: workflows, schedules, standalone activities and operations that were read, or had been earlier.
        orphans: those that nothing refers to, sealed for one of the namespaces that were read, the oldest first.
        foreign: how many more nothing refers to, but were sealed for other namespaces: they are left.
        unknown: how many more are no envelopes: they are left.
        deleted: how many of the orphans were deleted.
    """

    listed: int = 0
    referenced: int = 0
    read: int = 0
    orphans: list[Stored] = field(default_factory=list)
    foreign: int = 0
    unknown: int = 0
    deleted: int = 0


class Collection:
    """One search of a store for what nothing refers to.

    Args:
        store: what to search.
        before: Unix seconds: only payloads that were put earlier are looked at.
        readers: of all namespaces whose histories may refer to payloads in the store.
        codec: opens claims.
        state: what was read earlier.
        watcher: is told how far it has come.
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
        self._old: dict[str, Stored] = {}
        self._seen: set[Run] = set()
        self._begun: set[tuple[str, SourceKind, str, str]] = set()
        self._samples: set[str] = set()
        self.findings = Findings()

    async def search(self) -> Findings:
        """Look for orphans. Deletes nothing.

        Raises:
            Stopped: something could not be read, or a claim not be opened.
            EnvelopeError: the store can't be listed or read.
        """
        await self._list()
        if self._old:
            for reader in self._readers:
                await self._read(reader)
            # What was reset or started from others, or listed late, meanwhile; those others may be gone by now.
            for reader in self._readers:
                await self._read(reader, again=True)
            self._state.keep(self._seen)
            await self._check_that_it_is_this_store()
        self.findings.referenced = self.findings.listed - len(self._old)
        await self._sort()
        return self.findings

    async def delete(self) -> Findings:
        """Delete the orphans that `search` has found."""
        self._watcher.expect("deleting", len(self.findings.orphans))

        async def delete(stored: Stored) -> None:
            await self._store.delete(stored.id)
            self.findings.deleted += 1
            self._watcher.advance()

        await _each(self.findings.orphans, delete)
        return self.findings

    async def _list(self) -> None:
        self._watcher.expect("listing the store", None)
        async for stored in self._store.list_before(self._before):
            self._old[stored.id] = stored
            self._watcher.advance()
        self.findings.listed = len(self._old)

    async def _read(self, reader: Reader, *, again: bool = False) -> None:
        """Read what is listed, and was not read before."""
        try:
            await reader.check()
            doing = "reading what has come to" if again else "reading"
            self._watcher.expect(f"{doing} {reader.namespace}", None if again else await reader.count())
        except RPCError as error:
            raise _stopped(f"namespace {reader.namespace!r}", error) from None
        sources: asyncio.Queue[Source | None] = asyncio.Queue(_AT_ONCE)

        async def lists() -> None:
            try:
                async for source in reader.sources():
                    which = reader.namespace, source.kind, source.id, source.run_id
                    if which not in self._begun:
                        self._begun.add(which)
                        await sources.put(source)
            except RPCError as error:
                raise _stopped(f"the list of namespace {reader.namespace!r}", error) from None
            for _ in range(_AT_ONCE):
                await sources.put(None)

        async def reads() -> None:
            while (source := await sources.get()) is not None:
                await self._refer(reader, source)
                self.findings.read += 1
                self._watcher.advance()

        await _all([lists(), *(reads() for _ in range(_AT_ONCE))])

    async def _refer(self, reader: Reader, source: Source) -> None:
        """Strike out what ``source`` refers to."""
        run = Run(reader.namespace, source.id, source.run_id) if source.ended else None
        ids = self._state.ids(run) if run is not None else None
        if ids is None:
            ids = await self._ids(reader, source)
            if run is not None and ids is not None:
                self._state.add(run, ids)
        if run is not None:
            self._seen.add(run)
        for id in ids or ():
            self._old.pop(id, None)
        if len(self._samples) < _SAMPLES:
            self._samples.update((ids or ())[:_SAMPLES])

    async def _ids(self, reader: Reader, source: Source) -> list[str] | None:
        """What ``source`` refers to; None if it is gone."""
        what = f"{source.kind.value} {source.id!r} in namespace {reader.namespace!r}"
        ids: set[str] = set()
        try:
            async for message in reader.messages(source):
                ids |= await ids_in(message, self._codec)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and await reader.is_gone(source):
                return None
            raise _stopped(what, error) from None
        except EnvelopeError as error:
            raise Stopped(f"{what} refers to a payload, and can't be opened: {error}") from None
        return sorted(ids)

    async def _check_that_it_is_this_store(self) -> None:
        """Nothing would be left of the store if this were another server's."""
        if len(self._old) < self.findings.listed:
            return
        for id in self._samples:
            try:
                await self._store.get(id)
            except PayloadMissing:
                continue
            return
        raise Stopped(
            "nothing that was read refers to any payload in this store: it belongs to another server or to other "
            "namespaces. If it is to be emptied, do so with the datastore's own tools"
        )

    async def _sort(self) -> None:
        """Which of those that nothing refers to are of namespaces that were read."""
        namespaces = {reader.namespace for reader in self._readers}
        self._watcher.expect("looking at what nothing refers to", len(self._old))

        async def look(stored: Stored) -> None:
            try:
                namespace = _namespace_of(await self._store.get(stored.id))
            except PayloadMissing:  # writing it was cut short
                self.findings.orphans.append(stored)
            except EnvelopeError as error:
                if error.retryable:
                    raise
                self.findings.unknown += 1
            else:
                if namespace in namespaces:
                    self.findings.orphans.append(stored)
                else:
                    self.findings.foreign += 1
            self._watcher.advance()

        await _each(list(self._old.values()), look)
        self.findings.orphans.sort(key=lambda stored: (stored.created, stored.id))


def _namespace_of(data: bytes) -> str:
    """The namespace that a stored payload was sealed for."""
    try:
        payload = Payload.FromString(data)
        envelope = parse(payload.metadata, payload.data)
    except DecodeError:
        envelope = None
    if envelope is None:
        raise EnvelopeError("not an envelope")
    return envelope.record.namespace


def _stopped(what: str, error: RPCError) -> Stopped:
    return Stopped(f"{what} can't be read: {error.status.name}: {error.message}")


async def _each(things: Sequence[_T], do: Callable[[_T], Awaitable[None]]) -> None:
    """Do it with each, some at once; the first error ends it."""
    waiting = iter(things)

    async def work() -> None:
        for thing in waiting:
            await do(thing)

    await _all([work() for _ in range(_AT_ONCE)])


async def _all(work: Sequence[Awaitable[Any]]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
