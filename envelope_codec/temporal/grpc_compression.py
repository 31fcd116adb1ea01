"""The gRPC compression of a client's connection: the SDK compresses all messages, and ciphertext does not shrink."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable

from temporalio.service import ConnectConfig, GrpcCompression, ServiceClient

from envelope_codec.config import EnvelopeConfig
from envelope_codec.observe import logger

_GZIP, _NONE = GrpcCompression.GZIP, GrpcCompression.NONE
_KEEP = "to keep what the client is given, without this line, set grpc_compression='client'"


class ConnectionCompression:
    """Turns gzip off where the configuration says so, and tells where a connection is not as it says.

    A client's explicit ``GrpcCompression.GZIP`` can't be told from the SDK's default: they are one object. So that is
    what may be changed. ``NONE``, which somebody has chosen, is not, nor is a mode that a later SDK may have.

    Each thing is logged once, at the level of warnings if the setting was made and not left at its default.
    """

    def __init__(self, config: EnvelopeConfig) -> None:
        self._setting = config.grpc_compression if config.sealing else "client"
        self._differs = logging.WARNING if "grpc_compression" in config.model_fields_set else logging.INFO
        self._told: set[str] = set()

    async def connect(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """Connect by ``next``, without gzip if the setting says so.

        Other plugins may hold ``config``, so a copy is changed. Those after us may change it again, or connect nothing.
        """
        if self._setting != "none" or config.grpc_compression != _GZIP:
            return await next(config)
        connection = await next(dataclasses.replace(config, grpc_compression=_NONE))
        if _compression_of(connection) == _NONE:
            off = "gRPC messages are sent without gzip, since what is sealed does not shrink"
            self._tell(logging.INFO, f"{off}; {_KEEP}")
        return connection

    def check(self, connection: ServiceClient | None) -> None:
        """Tell if ``connection`` is not as the setting says: made without the plugin, or changed by a later one."""
        found = _compression_of(connection)
        if self._setting == "none" and found == _GZIP:
            self._tell(
                self._differs,
                "gRPC messages are sent with gzip, though what is sealed does not shrink: the connection was made "
                f"without EnvelopePlugin, or a plugin after it set gzip; {_KEEP}",
            )
        if self._setting == "gzip" and found == _NONE:
            self._tell(
                self._differs,
                "gRPC messages are sent without gzip: the client, or another plugin, has set GrpcCompression.NONE, "
                f"which grpc_compression='gzip' does not change; {_KEEP}",
            )

    def _tell(self, level: int, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            logger.log(level, text)


def _compression_of(connection: ServiceClient | None) -> GrpcCompression | None:
    """Return how ``connection`` compresses. None for a service client of somebody's own class that does not tell."""
    return getattr(getattr(connection, "config", None), "grpc_compression", None)
