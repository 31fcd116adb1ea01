"""The credential that tokens come from. One that fails is not asked again at every retry."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.identity import DefaultAzureCredential

from envelope_codec.provider import renew_after_fork
from envelope_codec_azure._errors import NoCredentials
from envelope_codec_azure._options import Route

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


class PatientCredential:
    """A credential that remembers for a while that it failed, and has only one thread ask at a time.

    A failing chain of credentials runs command lines and waits for servers that are not there, and each try with a
    wrong secret is a request to the token service. So the next try comes after a second, the ones after it later, up
    to a minute. A token that is at hand is not affected: the SDK asks here only for a new one.

    A server that asks for a token of another service than its own vault gets none: it could use that token there. The
    SDK looks at this too, but can't where a vault is reached by another name than its own.

    Args:
        credential: any credential of the SDK.
        host: the vault's host name. A token is for a domain that it belongs to.
        clock: monotonic seconds.
        jitter: a number from 0 to 1.
    """

    _lock: threading.Lock

    def __init__(
        self,
        credential: Any,
        host: str,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._credential = credential
        self._host = host
        self._clock = clock
        self._jitter = jitter
        renew_after_fork(self, _lock=threading.Lock)
        self._failures = 0
        self._reason = ""
        self._until = 0.0

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Get a token.

        Raises:
            NoCredentials: there is none, or it failed just before, or it would be one for another service.
        """
        if not all(self._is_of_vault(scope) for scope in scopes):
            raise NoCredentials("the vault asked for a token of another service")
        with self._lock:
            if self._failures and self._clock() < self._until:
                raise NoCredentials(f"{self._reason} (not tried again yet)")
            try:
                token = self._ask(scopes, options)
            # Any class: nothing that goes wrong here says anything about the key.
            except Exception as error:
                reason = type(error).__name__
            else:
                self._failures = 0
                return token
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 16))
            self._failures += 1
            self._reason, self._until = reason, self._clock() + pause * (1.0 + 0.5 * self._jitter())
        raise NoCredentials(reason)

    def close(self) -> None:
        """Close the credential, if it can be closed."""
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()

    def _is_of_vault(self, scope: str) -> bool:
        domain = urlsplit(scope).netloc.lower().removesuffix(":443")
        return bool(domain) and self._host.endswith(f".{domain}")

    def _ask(self, scopes: tuple[str, ...], options: TokenRequestOptions | None) -> AccessTokenInfo:
        if hasattr(self._credential, "get_token_info"):
            token: AccessTokenInfo = self._credential.get_token_info(*scopes, options=options or {})
            return token
        plain = self._credential.get_token(*scopes, **(options or {}))
        return AccessTokenInfo(plain.token, plain.expires_on)


def default_credential(route: Route) -> Any:
    """Make the SDK's own chain: environment, workload identity, managed identity, the command lines of developers.

    Raises:
        NoCredentials: the SDK can't make it of what the environment says.
    """
    settings: dict[str, Any] = {}
    if route.client_id is not None:
        settings["managed_identity_client_id"] = route.client_id
    if route.ca_bundle is not None:
        settings["connection_verify"] = route.ca_bundle
    if route.is_local:
        # Otherwise Microsoft's own servers are asked whether there is a token service of that name.
        settings.update(disable_instance_discovery=True, use_env_settings=False)
    settings.update(retry_total=0, connection_timeout=route.connect_timeout, read_timeout=route.read_timeout)
    try:
        return DefaultAzureCredential(**settings)
    # Any class: a variable with a wrong value, a certificate that can't be read.
    except Exception as error:
        raise NoCredentials(type(error).__name__) from None
