"""A CryptoKey of Google Cloud KMS as a master key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import google_crc32c
from google.cloud.kms_v1 import DecryptRequest, EncryptRequest, KeyManagementServiceClient

from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext
from envelope_codec.kms import (
    KeyUri,
    Unwrapped,
    WrappedSecret,
    context_bytes,
    parse_key_uri,
    shown_path,
    shown_value,
)
from envelope_codec.provider import asks_kms
from envelope_codec_gcp._connection import Connection
from envelope_codec_gcp._endpoint import Endpoint
from envelope_codec_gcp._errors import DAMAGED, Closed, failure
from envelope_codec_gcp._key_id import SHAPE, checked_name, is_version, version_under
from envelope_codec_gcp._wirelog import bodies_unlogged

SCHEME = "gcpkms"
DEFAULT_TIMEOUT = 5.0
DEFAULT_CONNECT_TIMEOUT = 2.0

_OPTIONS = frozenset({"connect_timeout", "credentials", "endpoint", "insecure", "timeout"})
_Reply = TypeVar("_Reply")


class GcpKms:
    """A symmetric CryptoKey (purpose ENCRYPT_DECRYPT), of any protection level.

    The KMS encrypts with the key's primary version, which is recorded, and finds by itself which version decrypts: old
    ciphertexts open as long as their version is enabled. The context is bound as additional authenticated data. The
    caller needs ``cloudkms.cryptoKeyVersions.useToEncrypt`` and ``.useToDecrypt``.

    Every call carries CRC32C checksums of what it sends, and asks for those of what comes back
    (https://cloud.google.com/kms/docs/data-integrity-guidelines). A mismatch in either direction is `KmsUnavailable`:
    something was damaged on the way, and the next attempt may succeed.

    No call is repeated here. Connections are made at the first call, one in each process; building a `GcpKms` reads no
    credentials and asks no network. Looking up application default credentials for the first time may take some
    seconds more than ``timeout`` where it has to find out whether there is a metadata server.

    Forking: a child process makes its own connection. gRPC itself promises little about a fork after its first use.
    With its defaults it works, also while other threads of the parent are calling; with ``GRPC_ENABLE_FORK_SUPPORT`` in
    the environment, as 0 or as 1, children were seen to hang.

    Args:
        name: the key's resource name, ``projects/P/locations/L/keyRings/R/cryptoKeys/K``, without a version.
        client: a client to use as it is instead of building one, over gRPC; it is not closed. The settings below,
            ``timeout`` apart, can't be given with it.
        endpoint: ``HOST:PORT`` of another address than Google's own.
        insecure: without TLS and without credentials; only for a loopback ``endpoint``, where it is the default.
        credentials: path of a credentials file; else application default credentials.
        timeout: seconds for a whole call.
        connect_timeout: seconds for one attempt to connect.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        client: KeyManagementServiceClient | None = None,
        endpoint: str | None = None,
        insecure: bool | None = None,
        credentials: str | Path | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
    ) -> None:
        self._name = checked_name(name)
        self._timeout = _seconds("timeout", timeout)
        self._closed = False
        self._connection: Connection | None = None
        self._client: Callable[[], KeyManagementServiceClient]
        if client is None:
            where = Endpoint.of(endpoint, insecure)
            self._connection = Connection(
                where,
                credentials=_readable(credentials, where),
                connect_timeout=_seconds("connect_timeout", connect_timeout),
            )
            self._client = self._connection.client
        else:
            if endpoint is not None or insecure is not None or credentials is not None:
                raise ConfigurationError("endpoint, insecure and credentials can't be given together with client")
            if client.transport.kind != "grpc":
                raise ConfigurationError("client must be a KeyManagementServiceClient over gRPC (transport='grpc')")
            self._client = lambda: client

    @classmethod
    def from_uri(cls, uri: str, /) -> GcpKms:
        """``gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K``, with the constructor's settings as options.

        As in ``…?endpoint=127.0.0.1:9010``, ``…?credentials=/etc/gcp.json&timeout=3``, ``insecure=true|false``.

        Raises:
            ConfigurationError: the URI or an option is wrong.
        """
        parsed = parse_key_uri(uri, scheme=SCHEME, options=_OPTIONS)
        if not parsed.authority:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must be {SCHEME}://{SHAPE}, with two slashes after the colon"
            )
        return cls(
            f"{parsed.authority}/{parsed.path}",
            endpoint=parsed.options.get("endpoint"),
            insecure=_flag(parsed, "insecure"),
            credentials=parsed.options.get("credentials"),
            timeout=_number(parsed, "timeout", DEFAULT_TIMEOUT),
            connect_timeout=_number(parsed, "connect_timeout", DEFAULT_CONNECT_TIMEOUT),
        )

    @property
    def key_id(self) -> str:
        """The CryptoKey's resource name."""
        return self._name

    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key's resource name, letter by letter."""
        return key_id == self._name

    @asks_kms("wrap")
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt under the primary version. The version recorded is its number, in decimal."""
        aad = context_bytes(context)
        request = EncryptRequest(
            name=self._name,
            plaintext=secret,
            plaintext_crc32c=_crc(secret),
            additional_authenticated_data=aad,
            additional_authenticated_data_crc32c=_crc(aad),
        )
        reply = self._call("wrap", lambda client: client.encrypt(request=request, retry=None, timeout=self._timeout))
        version = version_under(self._name, reply.name)
        intact = (
            version is not None
            and reply.ciphertext != b""
            and reply.ciphertext_crc32c == _crc(reply.ciphertext)
            and reply.verified_plaintext_crc32c
            and reply.verified_additional_authenticated_data_crc32c
        )
        if version is None or not intact:
            raise self._damaged("wrap")
        return WrappedSecret(self._name, version, reply.ciphertext)

    @asks_kms("unwrap")
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with the version that the ciphertext names.

        The KMS does not tell which version that was, so none is proved, and a recorded one is only checked for its
        form (https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1#decryptresponse).
        """
        if wrapped.key_version and not is_version(wrapped.key_version):
            raise InvalidCiphertext(
                "the recorded key version is not one of Google Cloud KMS", operation="unwrap", key_id=self._name
            )
        aad = context_bytes(context)
        request = DecryptRequest(
            name=self._name,
            ciphertext=wrapped.ciphertext,
            ciphertext_crc32c=_crc(wrapped.ciphertext),
            additional_authenticated_data=aad,
            additional_authenticated_data_crc32c=_crc(aad),
        )
        reply = self._call("unwrap", lambda client: client.decrypt(request=request, retry=None, timeout=self._timeout))
        if reply.plaintext_crc32c != _crc(reply.plaintext):
            raise self._damaged("unwrap")
        return Unwrapped(reply.plaintext, None)

    def close(self) -> None:
        """Close the connection that this object made. Final: a later call gets `KmsUnavailable`."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def __repr__(self) -> str:
        return f"GcpKms({self._name!r})"

    def _call(self, operation: str, call: Callable[[KeyManagementServiceClient], _Reply]) -> _Reply:
        try:
            if self._closed:
                raise Closed
            with bodies_unlogged():
                return call(self._client())
        except Exception as error:
            failed = failure(error, operation=operation, key_id=self._name)
        # Outside of the except clause, so that the SDK's error is not even its __context__.
        raise failed from None

    def _damaged(self, operation: str) -> EnvelopeError:
        kind, reason = DAMAGED
        return kind(reason, operation=operation, key_id=self._name)


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def _seconds(setting: str, value: float) -> float:
    if not 0 < value <= 600 or math.isnan(value):
        raise ConfigurationError(f"{setting} must be a number of seconds, over 0 and at most 600, not {value!r}")
    return value


def _number(uri: KeyUri, option: str, default: float) -> float:
    text = uri.options.get(option)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{option} must be a number of seconds, not {shown_value(text)}") from None


def _flag(uri: KeyUri, option: str) -> bool | None:
    text = uri.options.get(option)
    if text not in (None, "true", "false"):
        raise ConfigurationError(f"{option} must be true or false, not {shown_value(text)}")
    return None if text is None else text == "true"


def _readable(credentials: str | Path | None, endpoint: Endpoint) -> str | None:
    if credentials is None:
        return None
    if endpoint.insecure:
        raise ConfigurationError("credentials are not sent without TLS: leave them out, or set insecure=false")
    try:
        with Path(credentials).open("rb"):
            return str(credentials)
    except OSError as error:
        shown = shown_path(credentials)
        raise ConfigurationError(f"credentials file {shown} can't be read: {error.strerror}") from None
