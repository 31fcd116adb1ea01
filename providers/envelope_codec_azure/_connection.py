"""The connection to one vault: a `KeyClient` for each process, and what each request has in common."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from azure.core.rest import HttpRequest, HttpResponse
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys._shared import http_challenge_cache

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import Failed, ProcessClient, is_loopback, renew_after_fork
from envelope_codec_azure._credential import PatientCredential, default_credential
from envelope_codec_azure._errors import VaultRefused
from envelope_codec_azure._hints import FORKED
from envelope_codec_azure._key_id import VaultKey
from envelope_codec_azure._options import Route

# All clients of a process share what they know of challenges, under one lock. At a fork it may be held by a thread that
# the child has not got.
if hasattr(http_challenge_cache, "_lock"):
    renew_after_fork(http_challenge_cache, _lock=threading.Lock)

_REQUEST: Mapping[str, Any] = {
    # The keyring retries, with back-off and a deadline. Key Vault never redirects.
    "retry_total": 0,
    "permit_redirects": False,
    # Else a client that was made with logging_enable=True logs the secret.
    "logging_enable": False,
}


@dataclass(frozen=True)
class _Opened:
    client: KeyClient
    credential: PatientCredential | None

    def close(self) -> None:
        self.client.close()
        if self.credential is not None:
            self.credential.close()


class Connection:
    """Requests to one vault. Thread-safe, and new in a forked child.

    The SDK's `KeyClient` authenticates and transports; the requests are made here, because its client for
    cryptography reads the key once more before each first operation, and does what it can by itself with what it read.

    Args:
        opened: the client for each process.
        timeouts: how long each request waits; empty leaves it to the client.
    """

    def __init__(self, opened: ProcessClient[_Opened], timeouts: Mapping[str, float]) -> None:
        self._opened = opened
        self._settings = {**_REQUEST, **timeouts}

    @classmethod
    def to(cls, route: Route, credential: Any | None) -> Connection:
        """Connect by ``route``, as ``credential`` or with the SDK's default chain."""

        def build() -> _Opened:
            settings: dict[str, Any] = {} if route.ca_bundle is None else {"connection_verify": route.ca_bundle}
            if route.is_local:
                # The vault's own name is in the challenge, not that of the tunnel's end.
                settings.update(verify_challenge_resource=False, use_env_settings=False)
            chosen = PatientCredential(credential if credential is not None else default_credential(route))
            client = KeyClient(route.url, chosen, **settings)  # type: ignore[arg-type]  # it asks for get_token, too
            return _Opened(client, chosen if credential is None else None)

        opened = ProcessClient(build, close=_Opened.close)
        return cls(opened, {"connection_timeout": route.connect_timeout, "read_timeout": route.read_timeout})

    @classmethod
    def given(cls, client: KeyClient, key: VaultKey) -> Connection:
        """Use a client as it is.

        It is not closed. It is not used in a forked child, where it has the parent's sockets.
        """
        host = urlsplit(client.vault_url).hostname
        if host != key.host and not is_loopback(host):
            raise ConfigurationError(f"client= is one of the vault {host!r}, not of {key.host!r}")
        return cls(ProcessClient.given(_Opened(client, None), reconnect=_refuse), {})

    def ask(self, work: str, path: str, body: Mapping[str, str] | None = None, *, signing: bool) -> Any:
        """Ask the vault and give the JSON of its reply.

        Args:
            work: name of the operation, for errors.
            path: such as ``/keys/NAME/VERSION/unwrapkey``.
            body: of a POST; None asks with GET.
            signing: whether a signing key is asked.

        Raises:
            VaultRefused: the reply is not a success.
            Exception: an error of the SDK, which `ERRORS` explains.
        """
        request = HttpRequest("GET", path) if body is None else HttpRequest("POST", path, json=dict(body))
        with self._opened.in_use() as opened:
            reply = opened.client.send_request(request, **self._settings)
            said = _json_of(reply)
        if reply.status_code != 200:
            raise _refusal(reply.status_code, said, work=work, signing=signing)
        return said

    def close(self) -> None:
        """Close the connections that were opened here. Final."""
        self._opened.close()


def _refuse(_: _Opened) -> None:
    """Raise: the SDK has no way to open other connections in a client."""
    raise Failed(FORKED)


def _json_of(reply: HttpResponse) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _refusal(status: int, said: Any, *, work: str, signing: bool) -> VaultRefused:
    """Read ``{"error": {"code": …, "message": …, "innererror": {"code": …}}}``; anything else is not Key Vault's."""
    error = said.get("error") if isinstance(said, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(error, dict) or not isinstance(code, str) or not isinstance(error.get("message"), str):
        return VaultRefused(status, None, "", "not a reply of Key Vault", work=work, signing=signing)
    inner = error.get("innererror") or error.get("innerError") or {}
    inner_code = str(inner.get("code", "")) if isinstance(inner, dict) else ""
    return VaultRefused(status, code, inner_code, error["message"], work=work, signing=signing)
