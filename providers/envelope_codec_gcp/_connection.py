"""One connection to the KMS in each process, made at its first use."""

from __future__ import annotations

import functools
from typing import Any

import google.auth
import grpc  # type: ignore[import-untyped,unused-ignore]
from google.api_core.client_options import ClientOptions
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import ProcessClient, WireLog
from envelope_codec_gcp._endpoint import Endpoint

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


def connect(endpoint: Endpoint, *, credentials: str | None, connect_timeout: float) -> Client:
    """Prepare a client, which reads its credentials and connects at its first use in each process.

    Args:
        endpoint: where the KMS is.
        credentials: path of a credentials file of any kind that google-auth reads; None: application default ones.
        connect_timeout: seconds for TCP and TLS.
    """
    opener = _Opener(endpoint, credentials, connect_timeout)
    # A forked child keeps its parent's: to free a gRPC channel there may hang.
    return ProcessClient(opener.open, close=_close)


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


class _Opener:
    """Opens clients of one endpoint."""

    def __init__(self, endpoint: Endpoint, credentials: str | None, connect_timeout: float) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._connect_timeout = connect_timeout

    def open(self) -> KeyManagementServiceClient:
        """Open a client. Raises `google.auth.exceptions.GoogleAuthError`: credentials are missing or unreadable."""
        target = self._endpoint.target
        if self._endpoint.insecure and target is not None:
            channel = grpc.insecure_channel(target, options=[*self._channel_options(), ("grpc.enable_http_proxy", 0)])
            transport = KeyManagementServiceGrpcTransport(host=target, channel=channel)
            return KeyManagementServiceClient(transport=transport)
        credentials = None
        if self._credentials is not None:
            credentials, _ = google.auth.load_credentials_from_file(
                self._credentials, default_scopes=KeyManagementServiceGrpcTransport.AUTH_SCOPES
            )
        return KeyManagementServiceClient(
            credentials=credentials,
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
