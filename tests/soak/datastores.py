"""The store, Valkey on a small disk, and the keystore, a table of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import redis
from devstack import PostgresServer, ValkeyServer
from sqlalchemy.engine import make_url

from envelope_codec.keystores.sql import SqlKeystore
from tests.soak.disk import SmallDisk

_ROOM = 4_096
"""Mebibytes of the store's disk. What is not used takes no memory."""


class Store(ValkeyServer):
    """Valkey, with its data on a disk that can be filled."""

    name = "Valkey"
    _disk: SmallDisk | None = None

    @property
    def data(self) -> Path:
        """Where it writes."""
        assert self._folder is not None
        return self._folder / "disk"

    @property
    def how_it_is_filled(self) -> str:
        return "the disk of the store" if self._disk and self._disk.mounted else "the memory of the store, by maxmemory"

    def fill(self) -> None:
        """Let it have no room for anything more."""
        assert self._disk is not None
        if self._disk.mounted:
            self._disk.fill()
        else:
            self._set_memory("1")

    def empty(self) -> None:
        """Let it have room again."""
        assert self._disk is not None
        if self._disk.mounted:
            self._disk.empty()
        else:
            self._set_memory("0")

    def stop(self) -> None:
        if self._disk is not None and self._process is not None and self._process.owned:
            self._end()
            self._disk.close()
        super().stop()

    def _launch(self) -> None:
        if self._disk is None:
            self.data.mkdir()
            self._disk = SmallDisk(self.data, _ROOM)
        super()._launch()

    def _command(self) -> Sequence[str]:
        return [part if part != str(self._folder) else str(self.data) for part in super()._command()]

    def _set_memory(self, size: str) -> None:
        with redis.Redis(port=self._port("redis")) as client:
            client.config_set("maxmemory", size)


def make_keystore(server: PostgresServer) -> None:
    """Make the table."""
    server.sql(SqlKeystore(server.url).ddl)


def at(url: str, address: str) -> str:
    """The same URL, at another ``HOST:PORT``."""
    host, _, port = address.partition(":")
    return make_url(url).set(host=host, port=int(port)).render_as_string(hide_password=False)
