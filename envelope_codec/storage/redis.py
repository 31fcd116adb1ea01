"""Payloads in Redis or Valkey."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from envelope_codec._frames import frameless
from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.store import Stored, in_our_words, is_id, try_out

_log = logging.getLogger("envelope_codec.storage.redis")

_HEAD = struct.Struct(">q")  # Unix seconds, before the payload's bytes
_PIECE = 2 * 2**20  # of a large payload, so that no more than this is buffered on the way
_PAGE = 1_000
_KEEPS_ALL = ("noeviction", "volatile-")
_CONNECTIONS = 32


class RedisStore:
    """A `PayloadStore` in Redis: ``redis://USER:PASSWORD@HOST:6379/0?prefix=envelope:``, or ``rediss://`` with TLS.

    Everything in the URL but ``prefix`` is redis-py's. The server's own settings decide how durable a payload is
    (``appendonly``, ``appendfsync``, replicas). The server must not evict keys.
    """

    @frameless
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._prefix = options.pop("prefix", "envelope:")
        settings: dict[str, Any] = {"socket_connect_timeout": 5, "max_connections": _CONNECTIONS, "timeout": None}
        settings = {name: value for name, value in settings.items() if name not in options}
        options.pop("decode_responses", None)  # payloads are bytes
        url = urlunsplit(parts._replace(query=urlencode(options)))
        try:
            int(parts.path.strip("/") or 0)  # the database's number; redis-py takes any other text for 0
            with in_our_words("redis-py"):
                pool = redis.asyncio.BlockingConnectionPool.from_url(url, **settings)
                pool.connection_class(**pool.connection_kwargs)  # asks no network, and checks the options
        except (ValueError, TypeError, RedisError):
            raise ConfigurationError("storage: redis-py can't read the URL, or does not know an option in it") from None
        self._redis = redis.asyncio.Redis.from_pool(pool)

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
        cursor, seen = 0, set[bytes]()
        pattern = "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in self._prefix) + "*"
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
        try:
            policy = (await self._redis.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction")
        except RedisError:
            return  # the server does not let us ask
        if not str(policy).startswith(_KEEPS_ALL):
            raise StoreRefused("the server evicts keys when it is full: set maxmemory-policy to noeviction")

    async def close(self) -> None:
        """Release the connections."""
        await self._redis.aclose()

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

    async def _call(self, operation: str, work: Any) -> Any:
        try:
            return await work
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                await self._redis.connection_pool.disconnect(
                    inuse_connections=False
                )  # new connections may lead to the primary
            raise _translate(error, operation) from None


def _translate(error: Exception, operation: str) -> EnvelopeError:
    _log.debug("Redis %s failed: %s", operation, type(error).__name__)
    if isinstance(error, ReadOnlyError):
        return StoreUnavailable("the server takes no writes: it is a replica, or read-only", operation=operation)
    text = str(error)
    for kind, words, make_error in _MEANINGS:
        if isinstance(error, kind) and (not words or words in text):
            return make_error(operation)
    return StoreUnavailable("the server did not answer", operation=operation)


_MakeError = Callable[[str], EnvelopeError]


def _refuse(reason: str) -> _MakeError:
    return lambda operation: StoreRefused(reason, operation=operation)


def _unavailable(reason: str) -> _MakeError:
    return lambda operation: StoreUnavailable(reason, operation=operation)


# https://redis.io/docs/latest/develop/reference/protocol-spec/: redis-py has classes for some codes, and for others the
# code in the text. The first row that fits counts.
_MEANINGS: tuple[tuple[type[Exception], str, _MakeError], ...] = (
    (AuthenticationError, "", _refuse("the server refused the login: wrong user or password")),
    (AuthorizationError, "", _refuse("the server refused the login: wrong user or password")),
    (NoPermissionError, "", _refuse("permission is missing: for a command, or for keys with the prefix")),
    (OutOfMemoryError, "", _refuse("the server is out of memory")),
    (BusyLoadingError, "", _unavailable("the server is starting: it loads its data")),
    (RedisConnectionError, "max number of clients", _unavailable("the server has too many connections")),
    (RedisError, "NOREPLICAS", _unavailable("the server has not enough replicas to take writes")),
    (RedisError, "MISCONF", _unavailable("the server can't save its data: look at its disk")),
    (RedisError, "BUSY", _unavailable("the server is busy with a script")),
    (TryAgainError, "", _unavailable("the server did not answer")),
    (AskError, "", _refuse("the server belongs to a Redis Cluster, which is not supported")),
    (ClusterCrossSlotError, "", _refuse("the server belongs to a Redis Cluster, which is not supported")),
    (ClusterError, "", _unavailable("the server did not answer")),
    (ResponseError, "WRONGTYPE", _refuse("what is there under the id is no payload")),
    (ResponseError, "DB index", _refuse("the server has no database of that number")),
    (ResponseError, "unknown command", _refuse("the server does not know a command that is needed")),
    (ResponseError, "", _refuse("the server refused, and its log may say why")),
)
