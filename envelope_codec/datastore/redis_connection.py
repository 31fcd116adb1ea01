"""A connection to Redis or Valkey, made from the URL of a store or a keystore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError

from envelope_codec._frames import frameless
from envelope_codec.datastore import redis_url
from envelope_codec.datastore.client_warnings import in_our_words
from envelope_codec.datastore.redis_client import CONNECTIONS, make_client
from envelope_codec.datastore.redis_error import Told, translate
from envelope_codec.datastore.redis_url import Kind
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreRefused, StoreUnavailable

_KEEPS_ALL = ("noeviction", "volatile-")


class RedisConnection:
    """A client of redis-py, and the prefix of all keys. No network is asked when it is made.

    Args:
        url: of one server, of a Redis Cluster or of sentinels. Everything in it but ``prefix`` and the login at
            sentinels is redis-py's.
        setting: that the URL was given in, for texts of errors.

    Attributes:
        client: of redis-py.
        prefix: of each key.
        kind: what the URL leads to.

    Raises:
        ConfigurationError: redis-py can't read the URL.
    """

    @frameless
    def __init__(self, url: str, setting: str) -> None:
        try:
            parsed = redis_url.parse(url)
            with in_our_words("redis-py", setting):
                self.client: Any = make_client(parsed)
        except (ValueError, TypeError, KeyError, OSError, RedisError, RedisClusterException):
            raise ConfigurationError(
                f"{setting}: redis-py can't read the URL, or does not know an option in it"
            ) from None
        self.prefix, self.kind = parsed.prefix, parsed.kind
        # Pools of clusters and sentinels do not wait for a connection to be free.
        self._slots = None if self.kind is Kind.single else asyncio.Semaphore(CONNECTIONS)

    @property
    def pattern(self) -> str:
        """A pattern for SCAN that all keys with the prefix match, and no others."""
        return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in self.prefix) + "*"

    async def call(self, operation: str, work: Any) -> Any:
        """Await ``work``, and raise our errors in place of redis-py's."""
        try:
            return await (work if self._slots is None else self._in_turn(self._slots, work))
        except (RedisError, RedisClusterException, OSError) as error:
            if isinstance(error, ReadOnlyError):
                await self._disconnect()  # new connections may lead to the primary
            raise translate(error, operation, self._told) from None
        except AttributeError:  # the client of a cluster closes connections that another call uses
            if self.kind is not Kind.cluster:
                raise
            failure: EnvelopeError = StoreUnavailable(self._told.value)
        except EnvelopeError as error:  # of the sentinels
            failure = error.fresh()
        failure.operation = operation
        raise failure

    async def pages(self, count: int) -> AsyncIterator[list[bytes]]:
        """Yield all keys with the prefix, some ``count`` looked at for a page. A key may come twice.

        Each server of a cluster is asked in its turn. A key whose slot moves meanwhile may be missed.
        """
        nodes: list[Any] = [None]
        if isinstance(self.client, RedisCluster):
            await self.call("list", self.client.ping())
            nodes = self.client.get_primaries()
        for node in nodes:
            cursor = 0
            while True:
                where = {} if node is None else {"target_nodes": node}
                scan = self.client.scan(cursor, match=self.pattern, count=count, **where)
                told, keys = await self.call("list", scan)
                yield keys
                cursor = told if node is None else told[node.name]
                if not cursor:
                    break

    async def check_keeps_all(self) -> None:
        """Raise `StoreRefused` if a server evicts keys, and lets us ask."""
        where = {"target_nodes": RedisCluster.PRIMARIES} if self.kind is Kind.cluster else {}
        try:
            settings = await self.client.config_get("maxmemory-policy", **where)
        except (RedisError, RedisClusterException):
            return  # the server does not let us ask
        each = [one for one in settings.values() if isinstance(one, Mapping)] or [settings]
        if not all(str(one.get("maxmemory-policy", "noeviction")).startswith(_KEEPS_ALL) for one in each):
            raise StoreRefused("the server evicts keys when it is full: set maxmemory-policy to noeviction")

    async def close(self) -> None:
        """Release the connections."""
        pool = getattr(self.client, "connection_pool", None)
        await self.client.aclose()
        if isinstance(pool, SentinelConnectionPool):
            await pool.disconnect()
            await pool.sentinel_manager.close()

    @property
    def _told(self) -> Told:
        """Who has told where the servers are."""
        if self.kind is Kind.cluster and self.client.nodes_manager.slots_cache:
            return Told.by_cluster
        if self.kind is Kind.sentinel and self.client.connection_pool.master_address:
            return Told.by_sentinels
        return Told.by_url

    async def _in_turn(self, slots: asyncio.Semaphore, work: Any) -> Any:
        try:
            await slots.acquire()
        except asyncio.CancelledError:
            work.close()  # it was never begun
            raise
        try:
            await self._learn_slots(work)
            return await work
        finally:
            slots.release()

    async def _learn_slots(self, work: Any) -> None:
        """Have the client of a cluster ask where slots are. Else the first calls go to any server, and come back."""
        if self.kind is not Kind.cluster:
            return
        try:
            await self.client.initialize()
        except BaseException:
            work.close()
            raise

    async def _disconnect(self) -> None:
        if self.kind is not Kind.cluster:  # whose client asks anew where slots are
            await self.client.connection_pool.disconnect(inuse_connections=False)
