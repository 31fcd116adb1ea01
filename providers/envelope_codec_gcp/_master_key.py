"""`GcpKms`: a CryptoKey of Google Cloud KMS as a master key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import google_crc32c
from google.cloud.kms_v1 import DecryptRequest, EncryptRequest, KeyManagementServiceClient

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes, show_path
from envelope_codec.provider import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    Failed,
    asks_kms,
    check_no_options,
    choose,
    parse_options,
    seconds,
)
from envelope_codec_gcp import _hints as hints
from envelope_codec_gcp._connection import WIRE_LOG, connect, hold
from envelope_codec_gcp._endpoint import Endpoint
from envelope_codec_gcp._errors import ERRORS
from envelope_codec_gcp._facts import FACTS
from envelope_codec_gcp._identity import Identity
from envelope_codec_gcp._key_id import SHAPE, check_name, find_version, is_version, location_of
from envelope_codec_gcp._proxy import read_aad


class GcpKms:
    """A symmetric CryptoKey (purpose ENCRYPT_DECRYPT), of any protection level.

    The KMS encrypts with the key's primary version, which is recorded, and finds by itself which version decrypts: old
    ciphertexts open as long as their version is enabled. The context is bound as additional authenticated data. The
    caller needs ``cloudkms.cryptoKeyVersions.useToEncrypt`` and ``.useToDecrypt``.

    Every call carries CRC32C checksums of what it sends, and asks for those of what comes back
    (https://cloud.google.com/kms/docs/data-integrity-guidelines). A mismatch in either direction is `KmsUnavailable`:
    something was damaged on the way, and the next attempt may succeed.

    No call is repeated here. Connections are made at the first call, one in each process; building a `GcpKms` reads no
    credentials and asks no network. Credentials are waited for 10 seconds at
    most, whatever their source does.

    Forking: a child process makes its own connection. gRPC itself promises little about a fork after its first use.
    With its defaults it works nearly always. While other threads of the parent are calling, gRPC's own handlers were
    seen to hang in the child, inside the fork: in some of a thousand forks, and in some of a hundred with
    ``GRPC_ENABLE_FORK_SUPPORT=1`` in the environment. With 0 no fork hangs, but a call of gRPC in the child may. So
    set 0 where children do not use gRPC, and fork before the first call where they do.

    Args:
        name: the key's resource name, ``projects/P/locations/L/keyRings/R/cryptoKeys/K``, without a version.
        client: a client to use as it is instead of building one, over gRPC; it is not closed. The settings below,
            ``read_timeout`` apart, can't be given with it.
        endpoint: ``HOST:PORT`` of another address than Google's own.
        insecure: without TLS and without credentials; only for a loopback ``endpoint``, where it is the default.
        credentials: path of a credentials file, of a workload identity pool as well; else application default
            credentials.
        impersonate: service accounts, the last of which uses the key; each one before lends itself to the next.
        quota_project: project whose quota the calls use up; else as the credentials say.
        regional: ask the regional endpoint of the key's location; not with ``endpoint``.
        connect_timeout: seconds for one attempt to connect.
        read_timeout: seconds for a whole call.
        timeout: an earlier name of ``read_timeout``.

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
        impersonate: Collection[str] = (),
        quota_project: str | None = None,
        regional: bool | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self._name = check_name(name)
        self._timeout = seconds("read_timeout", choose("read_timeout", read_timeout, "timeout", timeout), READ_TIMEOUT)
        if client is not None:
            given = {"endpoint": endpoint, "insecure": insecure, "credentials": credentials, "regional": regional}
            check_no_options({**given, "impersonate": impersonate or None, "quota_project": quota_project})
            self._client = hold(client)
            return
        where = _place(name, endpoint, insecure, regional)
        identity = Identity(_readable(credentials, where), tuple(impersonate), quota_project)
        if where.insecure and identity != Identity():
            raise ConfigurationError("impersonate and quota_project need TLS: leave them out, or set insecure=false")
        identity.check()
        self._client = connect(
            where,
            identity,
            connect_timeout=seconds("connect_timeout", connect_timeout, CONNECT_TIMEOUT),
            token_timeout=self._timeout,
        )

    @classmethod
    def from_uri(cls, uri: str, /) -> GcpKms:
        """Make the master key of ``gcpkms://NAME?option=value``; the options are the constructor's.

        As in ``…?endpoint=127.0.0.1:9010``, ``…?credentials=/etc/gcp.json&read_timeout=3``, ``insecure=true|false``.

        Raises:
            ConfigurationError: the URI or an option is wrong.
        """
        parsed, options = parse_options(uri, FACTS)
        if not parsed.authority:
            raise ConfigurationError(
                f"key URI {parsed.shown!r} must be {FACTS.scheme}://{SHAPE}, with two slashes after the colon"
            )
        return cls(f"{parsed.authority}/{parsed.path}", **options)

    @property
    def key_id(self) -> str:
        """The CryptoKey's resource name."""
        return self._name

    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key's resource name, letter by letter."""
        return key_id == self._name

    @asks_kms("wrap", ERRORS)
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
        with WIRE_LOG.silenced():
            reply = self._client.get().encrypt(request=request, retry=None, timeout=self._timeout)
        version = find_version(self._name, reply.name)
        intact = (
            version is not None
            and reply.ciphertext != b""
            and reply.ciphertext_crc32c == _crc(reply.ciphertext)
            and reply.verified_plaintext_crc32c
            and reply.verified_additional_authenticated_data_crc32c
        )
        if version is None or not intact:
            raise Failed(hints.DAMAGED)
        return WrappedSecret(self._name, version, reply.ciphertext)

    @asks_kms("unwrap", ERRORS)
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with the version that the ciphertext names.

        The KMS does not tell which version that was, so none is proved, and a recorded one is only checked for its
        form (https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1#decryptresponse).
        """
        if wrapped.key_version and not is_version(wrapped.key_version):
            raise Failed(hints.NO_VERSION)
        return Unwrapped(self._decrypt(wrapped.ciphertext, context_bytes(context)), None)

    def proxy_unwrapper(self, uri: str) -> Callable[[bytes], bytes]:
        """Return a function that unwraps what Temporal's proxy had wrapped under this key, which it calls ``uri``.

        Raises:
            ConfigurationError: ``uri`` is of another key.
        """
        return partial(self._unwrap_proxied, read_aad(uri, self._name))

    @asks_kms("unwrap", ERRORS)
    def _unwrap_proxied(self, aad: bytes, ciphertext: bytes) -> bytes:
        return self._decrypt(ciphertext, aad)

    def close(self) -> None:
        """Close the connection that this object made. Final: a later call gets `KmsUnavailable`."""
        self._client.close()

    def __repr__(self) -> str:
        return f"GcpKms({self._name!r})"

    def _decrypt(self, ciphertext: bytes, aad: bytes) -> bytes:
        request = DecryptRequest(
            name=self._name,
            ciphertext=ciphertext,
            ciphertext_crc32c=_crc(ciphertext),
            additional_authenticated_data=aad,
            additional_authenticated_data_crc32c=_crc(aad),
        )
        with WIRE_LOG.silenced():
            reply = self._client.get().decrypt(request=request, retry=None, timeout=self._timeout)
        if reply.plaintext_crc32c != _crc(reply.plaintext):
            raise Failed(hints.DAMAGED)
        return bytes(reply.plaintext)


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def _place(name: str, endpoint: str | None, insecure: bool | None, regional: bool | None) -> Endpoint:
    if not regional:
        return Endpoint.of(endpoint, insecure)
    if endpoint is not None or insecure:
        raise ConfigurationError("regional=true chooses the endpoint: leave endpoint and insecure out")
    return Endpoint.regional(location_of(name))


def _readable(credentials: str | Path | None, endpoint: Endpoint) -> str | None:
    if credentials is None:
        return None
    if endpoint.insecure:
        raise ConfigurationError("credentials are not sent without TLS: leave them out, or set insecure=false")
    try:
        with Path(credentials).open("rb"):
            return str(credentials)
    except OSError as error:
        shown = show_path(credentials)
        raise ConfigurationError(f"credentials file {shown} can't be read: {error.strerror}") from None
