"""Payloads in Redis or Valkey."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from typing import cast

from envelope_codec._frames import frameless
from envelope_codec.datastore.redis_connection import RedisConnection
from envelope_codec.errors import PayloadMissing
from envelope_codec.store import Stored, is_id, try_out

_HEAD = struct.Struct(">q")  # Unix seconds, before the payload's bytes
_PIECE = 2 * 2**20  # of a large payload, so that no more than this is buffered on the way
_PAGE = 1_000


class RedisStore:
    """A `PayloadStore` in Redis: ``redis://USER:PASSWORD@HOST:6379/0?prefix=envelope:``, or ``rediss://`` with TLS.

    Everything in the URL but ``prefix`` is redis-py's. The server's own settings decide how durable a payload is
    (``appendonly``, ``appendfsync``, replicas). The server must not evict keys.
    """

    @frameless
    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, "storage")
        self._prefix = self._connection.prefix
        self._redis = self._connection.client
        self._call = self._connection.call

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        key, view = self._prefix + id, memoryview(data)
        kept = _HEAD.pack(int(time.time())) + view[:_PIECE]
        if len(data) <= _PIECE:
            await self._call("put", self._redis.set(key, kept))
            return
        # Each piece is written at its place, so that it does not matter which attempt it comes from.
        await self._call("put", self._redis.setrange(key, 0, kept))
        for start in range(_PIECE, len(data), _PIECE):
            piece = bytes(view[start : start + _PIECE])
            await self._call("put", self._redis.setrange(key, _HEAD.size + start, piece))

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        kept = await self._call("get", self._redis.get(self._prefix + id))
        if kept is None:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return cast(bytes, kept)[_HEAD.size :]

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        await self._call("delete", self._redis.delete(self._prefix + id))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        cursor, seen, pattern = 0, set[bytes](), self._connection.pattern
        while True:
            cursor, keys = await self._call("list", self._redis.scan(cursor, match=pattern, count=_PAGE))
            fresh = [key for key in keys if key not in seen]  # a scan may name a key twice
            seen.update(fresh)
            for id, head, size in await self._read_heads(fresh):
                if is_id(id) and len(head) == _HEAD.size and _HEAD.unpack(head)[0] < before:
                    yield Stored(id, float(_HEAD.unpack(head)[0]), size - _HEAD.size)
            if not cursor:
                return

    async def check(self) -> None:
        """Put, get and delete a value that is no payload, and check that the server evicts no keys."""
        await try_out(self)
        await self._connection.check_keeps_all()

    async def close(self) -> None:
        """Release the connections."""
        await self._connection.close()

    async def _read_heads(self, keys: list[bytes]) -> list[tuple[str, bytes, int]]:
        """Return id, head and whole size of what is kept under ``keys``. What is gone, or no payload, is left out."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.getrange(key, 0, _HEAD.size - 1)
            pipeline.strlen(key)
        replies = await self._call("list", pipeline.execute(raise_on_error=False)) if keys else []
        ids = [key.decode(errors="replace")[len(self._prefix) :] for key in keys]
        facts = zip(ids, replies[::2], replies[1::2], strict=True)
        return [(id, head, size) for id, head, size in facts if isinstance(head, bytes) and isinstance(size, int)]
