"""URLs of Redis: of one server, of a cluster, of sentinels."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from envelope_codec.datastore.redis_connection import RedisConnection
from envelope_codec.datastore.redis_url import Kind, parse
from envelope_codec.errors import ConfigurationError


def test_a_single_server_is_redis_pys_own_url() -> None:
    url = parse("rediss://user:p%40ss@host:7000/3?prefix=a:&ssl_cert_reqs=none&decode_responses=yes")
    assert (url.kind, url.addresses, url.prefix) == (Kind.single, (), "a:")
    assert url.plain == "rediss://user:p%40ss@host:7000/3?ssl_cert_reqs=none"
    assert "p%40ss" not in repr(url)


@pytest.mark.parametrize(
    ("text", "addresses", "plain"),
    [
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)], "redis://a:1"),
        ("redis+cluster://a", [("a", 6379)], "redis://a:6379"),
        ("rediss+cluster://u:p@a,b:2/0?x=1", [("a", 6379), ("b", 2)], "rediss://u:p@a:6379/0?x=1"),
        ("redis+cluster://[::1]:1,[::2]", [("::1", 1), ("::2", 6379)], "redis://[::1]:1"),
    ],
)
def test_a_cluster_has_several_servers(text: str, addresses: list[Any], plain: str) -> None:
    url = parse(text)
    assert (url.kind, list(url.addresses), url.plain) == (Kind.cluster, addresses, plain)


def test_sentinels_have_a_service_and_a_login_of_their_own() -> None:
    url = parse("redis+sentinel://u:p@a,b:2/pay%20loads/4?sentinel_username=s&sentinel_password=t%26&prefix=x:")
    assert (url.kind, list(url.addresses)) == (Kind.sentinel, [("a", 26379), ("b", 2)])
    assert (url.service, url.sentinel_login) == ("pay loads", {"username": "s", "password": "t&"})
    assert (url.plain, url.prefix) == ("redis://u:p@a:26379/4", "x:")


@pytest.mark.parametrize(
    "text",
    [
        "redis+twins://a",
        "redis+cluster://",
        "redis+cluster://a,",
        "redis+cluster://a:port",
        "redis+cluster://a/1",
        "redis+cluster://a/one",
        "redis+cluster://a?color=red",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a/service/one",
        "redis+sentinel://a/service?color=red",
        "redis://a/one",
        "redis://a?color=red",
        "redis://a?sentinel_password=x",
        "unix:///path",
    ],
)
def test_what_can_not_be_used_is_told_when_it_is_configured(text: str) -> None:
    with pytest.raises(ConfigurationError, match="storage: redis-py can't read the URL") as caught:
        RedisConnection(text, "storage")
    assert caught.value.__cause__ is None


async def test_tls_holds_for_sentinels_and_servers_alike() -> None:
    connection = RedisConnection(
        "rediss+sentinel://:p@127.0.0.1/service?ssl_ca_certs=/ca.pem&sentinel_password=q", "storage"
    )
    pool = connection.client.connection_pool
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert pool.connection_kwargs["password"] == "p"
    [sentinel] = pool.sentinel_manager.sentinels
    settings = sentinel.connection_pool.connection_kwargs
    assert (settings["ssl_ca_certs"], settings["password"]) == ("/ca.pem", "q")
    await connection.close()


async def test_the_servers_in_the_url_of_a_cluster_stay_those_that_are_asked_first() -> None:
    connection = RedisConnection("redis+cluster://127.0.0.1:1,127.0.0.2:2", "storage")
    assert isinstance(connection.client, RedisCluster)
    assert {node.port for node in connection.client.startup_nodes} == {1, 2}
    await connection.close()
    await connection.close()


@pytest.mark.parametrize("given", ["", "?socket_timeout=60&socket_connect_timeout=60", "?socket_timeout=0"])
async def test_a_sentinel_that_is_gone_leaves_time_for_the_others(given: str) -> None:
    """A call of a store has ten seconds, and asks the sentinels one after another."""
    connection = RedisConnection(f"redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/service{given}", "storage")
    for sentinel in connection.client.connection_pool.sentinel_manager.sentinels:
        settings = sentinel.connection_pool.connection_kwargs
        assert settings["socket_connect_timeout"] == settings["socket_timeout"] == 2
        assert settings["retry"].get_retries() == 0
    await connection.close()
