"""Sentinels: they say which server of a service is the primary now, and this side says what is wrong if they don't."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Any

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from envelope_codec.datastore.redis_url import RedisUrl
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

# Sentinels are asked one after another, within the time for one call of a store. One that is gone, or hangs, must leave
# time for the others, or it would be the first to be asked for ever.
_SECONDS = 2.0
_ONCE = Retry(NoBackoff(), 0)


class _Said(IntEnum):
    """What a sentinel says of a service. The greatest of all answers tells most."""

    NOTHING = 0
    NO_SENTINEL = 1
    NO_PERMISSION = 2
    NO_LOGIN = 3
    NO_SUCH_SERVICE = 4
    NO_PRIMARY = 5


class Sentinels(Sentinel):
    """The sentinels of a URL.

    Args:
        url: names them and the service.
        settings: of connections to the servers of the service, as redis-py takes them. Those of TLS and of sockets hold
            for the sentinels as well, but for times above two seconds.
    """

    def __init__(self, url: RedisUrl, settings: dict[str, Any]) -> None:
        shared = {name: value for name, value in settings.items() if name.startswith(("ssl", "socket_"))}
        for name in ("socket_connect_timeout", "socket_timeout"):
            shared[name] = min(shared.get(name) or _SECONDS, _SECONDS)
        redis_py: Any = super()  # it has no types here
        redis_py.__init__(list(url.addresses), sentinel_kwargs={**shared, "retry": _ONCE, **url.sentinel_login})
        self._service = url.service
        self._settings = settings

    def make_pool(self) -> SentinelConnectionPool:
        """Make a pool of connections that lead to the primary."""
        pool: Any = SentinelConnectionPool
        made: SentinelConnectionPool = pool(self._service, self, **self._settings)
        return made

    async def discover_master(self, service_name: str) -> Any:
        """Return host and port of the primary.

        Raises:
            EnvelopeError: the sentinels don't tell them.
        """
        try:
            return await super().discover_master(service_name)
        except (MasterNotFoundError, ResponseError):
            pass
        raise _explain(max(await asyncio.gather(*(_ask(sentinel, service_name) for sentinel in self.sentinels))))

    async def close(self) -> None:
        """Release the connections to the sentinels."""
        for sentinel in self.sentinels:
            await sentinel.aclose()


async def _ask(sentinel: Any, service: str) -> _Said:
    try:
        known = service in await sentinel.sentinel_masters()
    except AuthenticationError:
        return _Said.NO_LOGIN
    except NoPermissionError:
        return _Said.NO_PERMISSION
    except ResponseError:
        return _Said.NO_SENTINEL
    except (RedisError, OSError):
        return _Said.NOTHING
    return _Said.NO_PRIMARY if known else _Said.NO_SUCH_SERVICE


def _explain(said: _Said) -> EnvelopeError:
    if said is _Said.NO_PRIMARY:
        return StoreUnavailable("the sentinels know no primary that is up: it failed, and another one is to be chosen")
    if said is _Said.NO_SUCH_SERVICE:
        return StoreRefused("the sentinels know no service of that name")
    if said is _Said.NO_LOGIN:
        return StoreRefused("the sentinels refused the login: wrong user or password of their own")
    if said is _Said.NO_PERMISSION:
        return StoreRefused("the sentinels do not permit the user to ask for the primary")
    if said is _Said.NO_SENTINEL:
        return StoreRefused("what answered is no sentinel")
    return StoreUnavailable("no sentinel answered")
