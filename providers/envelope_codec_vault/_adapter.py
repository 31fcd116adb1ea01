"""How HTTP reaches Vault: over TLS with the name to expect, or through a Unix domain socket."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.poolmanager import PoolManager

POOL_SIZE = 32
"""Connections kept open, at most: more than the keyring has threads."""


class SocketMissing(requests.RequestException):
    """There is no Unix domain socket at the path, or nobody listens on it."""


class SocketForbidden(requests.RequestException):
    """This process may not open the Unix domain socket."""


class PlainAdapter(HTTPAdapter):
    """Sends each request once: the keyring retries, with back-off and a deadline."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE, max_retries=0)


class NamedAdapter(PlainAdapter):
    """Expects a name in the server's certificate that is not the one in the address.

    Args:
        name: sent to the server (SNI), and looked for in its certificate.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._name, assert_hostname=self._name, **kwargs)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, server_hostname=self._name, assert_hostname=self._name, **kwargs)


class SocketAdapter(PlainAdapter):
    """Sends to a Unix domain socket, whatever host the URL names.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = {"http": partial(_SocketPool, path=self._path)}  # type: ignore[dict-item]

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send. Raises `SocketMissing` and `SocketForbidden` beside what requests raises."""
        try:
            return super().send(request, *args, **kwargs)
        except requests.ConnectionError as error:
            kind = _kind_of(error)
            if kind is None:
                raise
        raise kind


class _SocketConnection(HTTPConnection):
    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class _SocketPool(HTTPConnectionPool):
    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ConnectionCls = partial(_SocketConnection, path=path)  # type: ignore[assignment]


def _kind_of(error: BaseException) -> type[requests.RequestException] | None:
    """Find what the system said of the socket, which urllib3 and requests hand on in their arguments."""
    for found in error.args:
        if isinstance(found, PermissionError):
            return SocketForbidden
        if isinstance(found, (FileNotFoundError, ConnectionRefusedError)):
            return SocketMissing
        if isinstance(found, BaseException) and (kind := _kind_of(found)) is not None:
            return kind
    return None
