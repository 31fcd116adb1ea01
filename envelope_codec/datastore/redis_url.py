"""URLs of Redis: one server, a Redis Cluster, or a service that sentinels look after."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_PREFIX = "envelope:"
_SENTINEL_PORT, _PORT = 26_379, 6_379


class Kind(Enum):
    """What a URL leads to. The value is the second half of its scheme."""

    single = ""
    cluster = "cluster"
    sentinel = "sentinel"


class Address(NamedTuple):
    """Where one server listens."""

    host: str
    port: int


class RedisUrl(NamedTuple):
    """A URL of Redis, taken apart.

    Attributes:
        kind: what it leads to.
        addresses: of servers of the cluster, or of sentinels; none for a single server.
        service: that the sentinels look after.
        plain: URL in the form that redis-py takes, without what it does not know.
        prefix: of all keys.
        sentinel_login: user and password for the sentinels themselves, as far as the URL gives them.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    service: str
    plain: str
    prefix: str
    sentinel_login: dict[str, str]

    def __repr__(self) -> str:
        return f"RedisUrl({self.kind.name})"  # it may hold a password


def parse(url: str) -> RedisUrl:
    """Take a URL apart: ``redis://…``, ``redis+cluster://…``, ``redis+sentinel://…``, and the same with ``rediss``.

    Raises:
        ValueError: it is no such URL.
    """
    parts = urlsplit(url)
    scheme, _, kind_name = parts.scheme.partition("+")
    kind = Kind(kind_name)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = options.pop("prefix", _PREFIX)
    options.pop("decode_responses", None)  # what is kept is bytes
    login = _take_login(options) if kind is Kind.sentinel else {}
    service, path = _split_path(kind, parts.path)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    addresses: tuple[Address, ...] = ()
    if kind is not Kind.single:
        default = _SENTINEL_PORT if kind is Kind.sentinel else _PORT
        addresses = tuple(_parse_address(host, default) for host in hosts.split(","))
        first = addresses[0]
        hosts = f"[{first.host}]:{first.port}" if ":" in first.host else f"{first.host}:{first.port}"
    query = urlencode(options)
    plain = f"{scheme}://{userinfo}{at}{hosts}{path}" + (f"?{query}" if query else "")
    return RedisUrl(kind, addresses, service, plain, prefix, login)


def _take_login(options: dict[str, str]) -> dict[str, str]:
    given = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    return {name: value for name, value in given.items() if value}


def _split_path(kind: Kind, path: str) -> tuple[str, str]:
    """Return the service and the rest of the path, which is the number of a database."""
    service, rest = "", path.strip("/")
    if kind is Kind.sentinel:
        service, _, rest = rest.partition("/")
        service = unquote(service)
        if not service:
            raise ValueError("no service is named")
    if int(rest or 0) and kind is Kind.cluster:  # redis-py takes any text for 0
        raise ValueError("a cluster has the database 0 alone")
    return service, f"/{rest}" if rest else ""


def _parse_address(text: str, default: int) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.username is not None:
        raise ValueError("no host")
    return Address(parts.hostname, parts.port if parts.port is not None else default)
