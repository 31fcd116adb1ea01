"""The connection to a Temporal server that a command is told to ask."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile, ClientConnectConfig
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

_DEFAULT_ADDRESS = "localhost:7233"
_NAMING_VARIABLES = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE")
_WITH_PORT = re.compile(r"(?s:.*):[0-9]{1,5}")


class ConnectionUnusable(Exception):
    """A connection can't be had as it is asked for. The text is one line."""


class ConnectionFailed(Exception):
    """The server gave no connection.

    Attributes:
        words: what the SDK said, without secrets; empty where no answer came in time.
        late: whether no answer came in time.
    """

    def __init__(self, words: str, *, late: bool = False) -> None:
        super().__init__(words or "no answer in time")
        self.words = words
        self.late = late

    def reason(self, address: str) -> str:
        """Say in one line why there is no connection to the server at ``address``."""
        reason = f"no answer from {address}" if self.late else f"no connection to {address}"
        return f"{reason}: {self.words}" if self.words else reason


@dataclass(frozen=True)
class Connection:
    """Where the server is, and how to connect to it.

    Attributes:
        address: host and port.
        namespace: the profile's own, if it has one.
        options: arguments of `Client.connect`: TLS, API key, metadata.
    """

    address: str
    namespace: str | None
    options: ClientConnectConfig = field(repr=False)

    @property
    def tls(self) -> bool:
        """Whether it uses TLS."""
        return bool(self.options.get("tls"))

    def without_secrets(self, text: str) -> str:
        """Strike the API key and the metadata out of ``text``, which a server or a proxy may have repeated."""
        secrets = [self.options.get("api_key", ""), *self.options.get("rpc_metadata", {}).values()]
        for secret in filter(None, secrets):
            text = text.replace(secret, "(left out)")
        return text

    async def open(self, seconds: float, **more: Any) -> Client:
        """Connect within ``seconds``. ``more`` are further arguments of `Client.connect`.

        The SDK's gzip stays on, with no plugin to turn it off: in a history many small records are alike.

        Raises:
            ConnectionFailed: there is no connection.
        """
        options: dict[str, Any] = {**self.options, **more}
        try:
            runtime = Runtime(telemetry=TelemetryConfig(logging=None))
            return await asyncio.wait_for(Client.connect(self.address, runtime=runtime, **options), seconds)
        except asyncio.TimeoutError:
            raise ConnectionFailed("", late=True) from None
        except (RuntimeError, ValueError, RPCError) as error:
            raise ConnectionFailed(self.without_secrets(str(error))) from None


def load_connection(
    address: str | None, profile: str | None, environ: Mapping[str, str] | None = None
) -> Connection | None:
    """Load the connection that an address, a profile or the environment names. None if none of them does.

    TLS, API key and metadata come from the profile and from ``TEMPORAL_*``, as for Temporal's own tools.

    Raises:
        ConnectionUnusable: the address has no port, there is no such profile, or a file that it names is missing.
    """
    variables = os.environ if environ is None else environ
    if address is None and profile is None and not any(variables.get(name) for name in _NAMING_VARIABLES):
        return None
    if address is not None and not _WITH_PORT.fullmatch(address):
        raise ConnectionUnusable(f"--address {address!r} has no port: give HOST:PORT, such as {_DEFAULT_ADDRESS}")
    try:
        loaded = ClientConfigProfile.load(profile, override_env_vars=dict(variables))
        options = loaded.to_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        line = str(error).partition("\n")[0]  # the next lines may quote the file, and so the API key
        raise ConnectionUnusable(f"the connection profile can't be loaded: {line}") from None
    chosen = address or options.get("target_host") or _DEFAULT_ADDRESS
    options.pop("target_host", None)
    return Connection(chosen, options.pop("namespace", None), options)
