"""A keystore in Redis or Valkey."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from envelope_codec._frames import frameless
from envelope_codec.datastore.redis_connection import RedisConnection
from envelope_codec.datastore.redis_error import translate
from envelope_codec.keystore import MOST_READ, PROBE, Kept, conflict, key_of_digits
from envelope_codec.keystore_role import Role

_log = logging.getLogger("envelope_codec.datastore.redis")

_PAGE = 200
_SCANNED = 1_000
_OTHER_KIND = "WRONGTYPE"
_DATA, _REVISION = "data", "revision"

# Redis runs a script as one step. A hash that is not there has no revision.
_REPLACE = """
if (redis.call('HGET', KEYS[1], 'revision') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[2], 'revision', ARGV[3])
return 1
"""
# HSET of a field without a value: a server that would take a good one says "wrong number of arguments".
_TRY = """
redis.call('HGET', KEYS[1], 'revision')
local reply = redis.pcall('HSET', KEYS[1], 'data', '', 'revision')
if type(reply) == 'table' and reply.err and string.find(reply.err, 'number of arg') then return 1 end
return reply
"""


class RedisKeystore:
    """A `Keystore` in Redis: ``redis://USER:PASSWORD@HOST:6379/0?prefix=envelope:``, or ``rediss://`` with TLS.

    Everything in the URL but ``prefix`` is redis-py's. Each row is a hash. The server's own settings decide how durable
    it is: ``appendonly yes`` and ``appendfsync always`` keep what was answered. A failover to a replica that lags
    behind loses rows. The server must not evict keys.
    """

    @frameless
    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url, "keystore")
        self._redis: Any = self._connection.client
        self._is_warned = False

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        [kept] = await self._read([key], "get")
        return kept

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        fresh = os.urandom(16).hex()
        script = self._redis.eval(_REPLACE, 1, self._name(key), revision or "", data, fresh)
        if not await self._connection.call("put", script):
            raise conflict()
        return fresh

    async def get_each(self, keys: Sequence[bytes]) -> list[Kept | None]:
        """Do as `Batches.get_each` says, in one round trip."""
        return await self._read(keys, "get")

    async def replace_each(self, changes: Sequence[Kept]) -> list[str | None]:
        """Do as `Batches.replace_each` says, in one round trip. Each row is a step of its own."""
        fresh = [os.urandom(16).hex() for _ in changes]
        pipeline = self._redis.pipeline(transaction=False)
        for change, revision in zip(changes, fresh, strict=True):
            pipeline.eval(_REPLACE, 1, self._name(change.key), change.revision, change.data, revision)
        done = await self._connection.call("put", pipeline.execute())
        return [revision if is_done else None for revision, is_done in zip(fresh, done, strict=True)]

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``. Redis knows no order: all keys are listed first."""
        keys = sorted(key for key in await self._list() if key > after)
        for start in range(0, len(keys), _PAGE):
            for kept in await self._read(keys[start : start + _PAGE], "list"):
                if kept is not None:
                    yield kept

    async def check(self) -> None:
        """Read, try to put a row, and check that the server evicts no keys. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()
        await self._connection.check_keeps_all()

    async def try_create(self) -> None:
        """Put what Redis does not take. It asks for the permission first, and whether it takes writes at all."""
        script = self._redis.eval(_TRY, 1, self._name(PROBE))
        await self._connection.call("put", script)

    async def try_replace(self) -> None:
        """Do as `try_create` does: Redis has one permission for both."""
        await self.try_create()

    def grants(self, role: Role) -> str:
        """Return the command that makes a user with what ``role`` needs. The password is to be filled in."""
        writes = role in (Role.seal, Role.share, Role.rewrap)
        commands = ["+hmget", "+hstrlen"] + (["+hget", "+hset", "+eval"] if writes else [])
        commands += ["+scan"] if role in (Role.export, Role.rewrap) else []
        keys = f"{'' if writes else '%R'}~{self._connection.pattern}"
        return (
            f"ACL SETUSER envelope-{role.value} on >PASSWORD resetkeys '{keys}' -@all +@connection {' '.join(commands)}"
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._connection.close()

    def _name(self, key: bytes) -> str:
        return self._connection.prefix + key.hex()

    async def _read(self, keys: Sequence[bytes], operation: str) -> list[Kept | None]:
        too_long = await self._find_too_long(keys, operation)
        asked = [key for key in keys if key not in too_long]
        pipeline = self._redis.pipeline(transaction=False)
        for key in asked:
            pipeline.hmget(self._name(key), _DATA, _REVISION)
        is_listing = operation == "list"
        replies = []
        if asked:
            replies = await self._connection.call(operation, pipeline.execute(raise_on_error=not is_listing))
        for reply in replies:  # a listing passes over what is of another kind, but over no row that it can't have now
            if isinstance(reply, Exception) and _OTHER_KIND not in str(reply):
                raise translate(reply, operation) from None
        found = {key: _kept(key, reply) for key, reply in zip(asked, replies, strict=True)}
        return [found.get(key, _NO_ROW._replace(key=key)) for key in keys]

    async def _find_too_long(self, keys: Sequence[bytes], operation: str) -> set[bytes]:
        """Return the keys of what is longer than any row, which is not to be read.

        Users whom an earlier release needed may not ask for that. For them all is read.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hstrlen(self._name(key), _DATA)
            pipeline.hstrlen(self._name(key), _REVISION)
        lengths = await self._connection.call(operation, pipeline.execute(raise_on_error=False))
        if not self._is_warned and any(isinstance(length, NoPermissionError) for length in lengths):
            self._is_warned = True
            _log.warning("grant HSTRLEN to the user of Redis: without it, a row of any size is read as a whole")
        each = zip(keys, lengths[::2], lengths[1::2], strict=True)
        return {key for key, *both in each if any(isinstance(one, int) and one > MOST_READ for one in both)}

    async def _list(self) -> set[bytes]:
        cursor, found = 0, set[bytes]()
        while True:
            scan = self._redis.scan(cursor, match=self._connection.pattern, count=_SCANNED)
            cursor, names = await self._connection.call("list", scan)
            found.update(filter(None, map(self._key_of, names)))
            if not cursor:
                return found

    def _key_of(self, name: bytes) -> bytes | None:
        """Return the key that a hash of this name has, or None if it is no row's."""
        return key_of_digits(name.removeprefix(self._connection.prefix.encode()).decode(errors="replace"))


_NO_ROW = Kept(b"", bytes(MOST_READ), "")
"""Stands for what is longer than any row: nobody can parse it, and nothing has its revision."""


def _kept(key: bytes, reply: Any) -> Kept | None:
    """Return the row, or None where there is none. What is of another kind than a hash is none."""
    if not isinstance(reply, list) or reply[0] is None or reply[1] is None:
        return None
    return Kept(key, bytes(reply[0]), reply[1].decode(errors="replace"))
