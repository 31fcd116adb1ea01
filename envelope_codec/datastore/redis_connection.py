"""A connection to Redis or Valkey, made from the URL of a store or a keystore."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio
from redis.exceptions import ReadOnlyError, RedisError

from envelope_codec._frames import frameless
from envelope_codec.datastore.client_warnings import in_our_words
from envelope_codec.datastore.redis_error import translate
from envelope_codec.errors import ConfigurationError, StoreRefused

_KEEPS_ALL = ("noeviction", "volatile-")
_CONNECTIONS = 32


class RedisConnection:
    """A client of redis-py, and the prefix of all keys. No network is asked when it is made.

    Args:
        url: everything in it but ``prefix`` is redis-py's.
        setting: that the URL was given in, for texts of errors.

    Attributes:
        client: of redis-py.
        prefix: of each key.

    Raises:
        ConfigurationError: redis-py can't read the URL.
    """

    @frameless
    def __init__(self, url: str, setting: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.prefix = options.pop("prefix", "envelope:")
        settings: dict[str, Any] = {"socket_connect_timeout": 5, "max_connections": _CONNECTIONS, "timeout": None}
        settings = {name: value for name, value in settings.items() if name not in options}
        options.pop("decode_responses", None)  # what is kept is bytes
        url = urlunsplit(parts._replace(query=urlencode(options)))
        try:
            int(parts.path.strip("/") or 0)  # the database's number; redis-py takes any other text for 0
            with in_our_words("redis-py", setting):
                pool = redis.asyncio.BlockingConnectionPool.from_url(url, **settings)
                pool.connection_class(**pool.connection_kwargs)  # asks no network, and checks the options
        except (ValueError, TypeError, RedisError):
            raise ConfigurationError(
                f"{setting}: redis-py can't read the URL, or does not know an option in it"
            ) from None
        self.client = redis.asyncio.Redis.from_pool(pool)

    @property
    def pattern(self) -> str:
        """A pattern for SCAN that all keys with the prefix match, and no others."""
        return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in self.prefix) + "*"

    async def call(self, operation: str, work: Any) -> Any:
        """Await ``work``, and raise our errors in place of redis-py's."""
        try:
            return await work
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                await self.client.connection_pool.disconnect(
                    inuse_connections=False
                )  # new connections may lead to the primary
            raise translate(error, operation) from None

    async def check_keeps_all(self) -> None:
        """Raise `StoreRefused` if the server evicts keys, and lets us ask."""
        try:
            policy = (await self.client.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction")
        except RedisError:
            return  # the server does not let us ask
        if not str(policy).startswith(_KEEPS_ALL):
            raise StoreRefused("the server evicts keys when it is full: set maxmemory-policy to noeviction")

    async def close(self) -> None:
        """Release the connections."""
        await self.client.aclose()
