"""Clients of redis-py: for one server, for a Redis Cluster, for a service that sentinels look after."""

from __future__ import annotations

from inspect import signature
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from envelope_codec.datastore.redis_sentinel import Sentinels
from envelope_codec.datastore.redis_url import Kind, RedisUrl

CONNECTIONS = 32
_SETTINGS: dict[str, Any] = {"socket_connect_timeout": 5, "max_connections": CONNECTIONS}

# What the cluster tells of itself may become wrong, when all of its servers get new addresses. The URL remains. (Older
# releases of redis-py have no choice.)
_FIXED: dict[str, Any] = {"dynamic_startup_nodes": False}
if "dynamic_startup_nodes" not in signature(RedisCluster.__init__).parameters:
    _FIXED.clear()


def make_client(url: RedisUrl) -> Any:
    """Make the client for ``url``. No network is asked, but for the address of ``localhost``.

    Raises:
        ValueError, TypeError, RedisError, RedisClusterException: redis-py can't read the URL.
    """
    given = parse_url(url.plain)
    settings = {name: value for name, value in _SETTINGS.items() if name not in given}
    if url.kind is Kind.cluster:
        return _make_cluster(url, settings)
    if url.kind is Kind.sentinel:
        return _make_sentinel(url, {"retry": _once_more(), **settings, **given})
    if "timeout" not in given:
        settings["timeout"] = None
    pool = redis.asyncio.BlockingConnectionPool.from_url(url.plain, **settings)
    pool.connection_class(**pool.connection_kwargs)  # asks no network, and checks the options
    return redis.asyncio.Redis.from_pool(pool)


def _once_more() -> Retry:
    """Make the rule for a call whose connection was lost, or whose server has changed. More is the caller's to do."""
    return Retry(NoBackoff(), 1)


def _make_cluster(url: RedisUrl, settings: dict[str, Any]) -> RedisCluster:
    return RedisCluster.from_url(
        url.plain,
        startup_nodes=[ClusterNode(*address) for address in url.addresses],
        **_FIXED,
        reinitialize_steps=0,  # else a fifth moved slot closes the connections that other calls use
        retry=_once_more(),
        **settings,
    )


def _make_sentinel(url: RedisUrl, settings: dict[str, Any]) -> redis.asyncio.Redis:
    for name in ("host", "port"):
        settings.pop(name, None)
    if url.plain.startswith("rediss:"):
        del settings["connection_class"]
        settings["ssl"] = True
    pool = Sentinels(url, settings).make_pool()
    pool.connection_class(**pool.connection_kwargs)
    return redis.asyncio.Redis.from_pool(pool)
