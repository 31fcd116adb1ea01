"""One connection to the KMS in each process, made at its first use."""

from __future__ import annotations

import functools
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
from google.api_core.client_options import ClientOptions
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Failed, ProcessClient, WireLog, meanings
from envelope_codec_gcp._credentials import AwaitedCredentials
from envelope_codec_gcp._endpoint import Endpoint
from envelope_codec_gcp._identity import Identity

WIRE_LOG = WireLog(KeyManagementServiceGrpcTransport.__module__)
"""The SDK's interceptor stands in the same module as the transport, and logs under the module's name. It logs requests
and replies in the extras of its records, which its own format of structured logs prints.
"""

Client = ProcessClient[KeyManagementServiceClient]

# gRPC's defaults suit a busy connection to a server that is there: 20 s for a connection attempt, up to 120 s between
# two attempts, half an hour until an idle connection is closed. Here a few calls an hour must fail and recover quickly.
_INITIAL_BACKOFF_MS = 100
_MAX_BACKOFF_MS = 1_000
# Shorter than the idle time-outs of firewalls and NAT gateways (minutes), which drop connections without a word: the
# next call would time out.
_IDLE_MS = 60_000
# Finds a dead connection that is in use. Only while a call is waiting; Google's servers take a ping every 30 s.
_KEEPALIVE_MS = 30_000
_KEEPALIVE_ANSWER_MS = 5_000


def connect(endpoint: Endpoint, identity: Identity, *, connect_timeout: float, token_timeout: float) -> Client:
    """Prepare a client, which reads its credentials and connects at its first use in each process.

    Args:
        endpoint: where the KMS is.
        identity: as whom it is asked.
        connect_timeout: seconds for TCP and TLS.
        token_timeout: seconds for one answer of a token service.
    """
    return _Connection(_Opener(endpoint, identity, connect_timeout, token_timeout))


def hold(client: KeyManagementServiceClient) -> Client:
    """Hold a client that somebody else built, over gRPC.

    Raises:
        ConfigurationError: it is not over gRPC.
    """
    if client.transport.kind != "grpc":
        raise ConfigurationError("client must be a KeyManagementServiceClient over gRPC (transport='grpc')")
    return ProcessClient.given(client)


def _close(client: KeyManagementServiceClient) -> None:
    client.transport.close()


class _Connection(ProcessClient[KeyManagementServiceClient]):
    """A client of each process, given only with a token at hand: so a failure to get one is no failure of the KMS."""

    def __init__(self, opener: _Opener) -> None:
        # A forked child keeps its parent's: to free a gRPC channel there may hang.
        super().__init__(opener.open, close=_close)
        self._opener = opener

    def get(self) -> KeyManagementServiceClient:
        """Get the client of this process. Raises what `ProcessClient.get` and `AwaitedCredentials.wait` raise."""
        client = super().get()
        credentials = self._opener.credentials
        if credentials is not None:
            credentials.wait()
            if self.is_closed:
                raise Failed(meanings.CLOSED)
        return client


class _Opener:
    """Opens clients of one endpoint.

    Attributes:
        credentials: of the client opened last, if it has any.
    """

    def __init__(self, endpoint: Endpoint, identity: Identity, connect_timeout: float, token_timeout: float) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._connect_timeout = connect_timeout
        self._token_timeout = token_timeout
        self.credentials: AwaitedCredentials | None = None

    def open(self) -> KeyManagementServiceClient:
        """Open a client. Asks no network, and looks for no credentials."""
        target = self._endpoint.target
        if self._endpoint.insecure and target is not None:
            channel = grpc.insecure_channel(target, options=[*self._channel_options(), ("grpc.enable_http_proxy", 0)])
            transport = KeyManagementServiceGrpcTransport(host=target, channel=channel)
            return KeyManagementServiceClient(transport=transport)
        self.credentials = AwaitedCredentials(self._identity.load, self._token_timeout)
        return KeyManagementServiceClient(
            credentials=self.credentials,
            transport=functools.partial(KeyManagementServiceGrpcTransport, channel=self._secure_channel),
            client_options=ClientOptions(api_endpoint=self._endpoint.target),
        )

    def _secure_channel(self, host: str, *, options: list[tuple[str, Any]], **settings: Any) -> grpc.Channel:
        """Make the SDK's own channel, with our options added."""
        return KeyManagementServiceGrpcTransport.create_channel(
            host, options=[*options, *self._channel_options()], **settings
        )

    def _channel_options(self) -> list[tuple[str, Any]]:
        """Return the options of a channel: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html"""
        return [
            # In spite of its name, the time that one connection attempt gets.
            ("grpc.min_reconnect_backoff_ms", int(self._connect_timeout * 1000)),
            ("grpc.initial_reconnect_backoff_ms", _INITIAL_BACKOFF_MS),
            ("grpc.max_reconnect_backoff_ms", _MAX_BACKOFF_MS),
            ("grpc.dns_min_time_between_resolutions_ms", _MAX_BACKOFF_MS),
            ("grpc.client_idle_timeout_ms", _IDLE_MS),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
            # What the answer to such a ping is in fact given; 60 s by default.
            ("grpc.http2.ping_timeout_ms", _KEEPALIVE_ANSWER_MS),
            # Otherwise channels of one process to the same address share a connection and its backoff.
            ("grpc.use_local_subchannel_pool", 1),
        ]
