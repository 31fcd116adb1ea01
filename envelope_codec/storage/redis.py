"""Payloads in Redis or Valkey."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import AsyncIterator
from typing import cast

from envelope_codec._frames import frameless
from envelope_codec.datastore.reasons import NO_PERMISSION
from envelope_codec.datastore.redis_connection import RedisConnection
from envelope_codec.errors import PayloadMissing, StoreRefused
from envelope_codec.store import LARGEST, Stored, check_size, is_id, try_out

_log = logging.getLogger("envelope_codec.datastore.redis")

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
        self._may_read_ranges = True

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
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        kept = await self._read(self._prefix + id, _HEAD.size + limit)  # the offset of the last byte: one too many
        if not kept:  # an empty value is none: each has a head
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return check_size(kept[_HEAD.size :], limit)

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

    async def _read(self, key: str, end: int) -> bytes | None:
        """Return what is under ``key`` up to the offset ``end``, or nothing.

        Users whom an earlier release needed may call GET alone. For them all is read.
        """
        if self._may_read_ranges:
            try:
                return cast("bytes | None", await self._call("get", self._redis.getrange(key, 0, end)))
            except StoreRefused as error:
                if error.code != NO_PERMISSION:
                    raise
        kept = await self._call("get", self._redis.get(key))
        if self._may_read_ranges:
            self._may_read_ranges = False
            _log.warning("grant GETRANGE to the user of Redis: without it, a value of any size is read as a whole")
        return cast("bytes | None", kept)

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
