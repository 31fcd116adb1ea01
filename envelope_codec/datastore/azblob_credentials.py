"""Credentials for Azure Storage: an account key from a file or the environment, else a token as any tool gets one."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo, AzureNamedKeyCredential, TokenRequestOptions
from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from envelope_codec._process import renew_after_fork
from envelope_codec.datastore.recent_failure import RecentFailure

_TIMEOUTS = {"connection_timeout": 5.0, "read_timeout": 8.0}


class CredentialsUnavailable(Exception):
    """Credentials could not be had. That is an outage: it says nothing of a container or a permission.

    Attributes:
        error: what the SDK raised; or an `OSError` of the key's file, or a `ValueError` of its content.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class NoKeyGiven(Exception):
    """No account key is given, and a server without TLS takes nothing else."""


class PatientToken:
    """A credential for which one thread asks at a time, and which is not asked again at every retry once it failed.

    Args:
        credential: of the SDK.
    """

    _lock: threading.Lock

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._failure = RecentFailure[Exception]()
        renew_after_fork(self, _lock=threading.Lock)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Return a token.

        Raises:
            CredentialsUnavailable: there is none, or it failed just before.
        """
        with self._lock:
            if (recent := self._failure.error) is not None:
                raise CredentialsUnavailable(recent)
            try:
                token: AccessTokenInfo = self._credential.get_token_info(*scopes, options=options or {})
            # Any class: a command line that is run, a file that is read.
            except Exception as error:
                self._failure.remember(error)
                failure = error
            else:
                self._failure.forget()
                return token
        raise CredentialsUnavailable(failure) from None

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token, for a version of the SDK that asks in this way."""
        token = self.get_token_info(*scopes)
        return AccessToken(token.token, token.expires_on)

    def close(self) -> None:
        """Release the connections."""
        self._credential.close()


def find_credential(
    account: str, options: Mapping[str, str], *, is_local: bool
) -> AzureNamedKeyCredential | PatientToken:
    """Find the credential for a storage account. No network is asked.

    Args:
        account: its name.
        options: ``key_file`` (path of a file with an account key) and ``client_id`` (of a managed identity), each of
            which may be missing.
        is_local: whether the server is on this machine and without TLS, where the SDK sends no token.

    Raises:
        CredentialsUnavailable: there is none.
    """
    try:
        key = _find_key(account, options)
        if key is not None:
            base64.b64decode(key, validate=True)  # else the SDK fails at each request, as if nothing had answered
            return AzureNamedKeyCredential(account, key)
        if is_local:
            raise NoKeyGiven
        chosen: dict[str, Any] = {**_TIMEOUTS, "retry_total": 0}
        if "client_id" in options:
            chosen["managed_identity_client_id"] = options["client_id"]
        return PatientToken(DefaultAzureCredential(**chosen))
    except (OSError, ValueError, AzureError, NoKeyGiven) as error:
        raise CredentialsUnavailable(error) from None


def _find_key(account: str, options: Mapping[str, str]) -> str | None:
    """Return the account key that the option or the environment gives. The environment may name another account."""
    if "key_file" in options:
        key = Path(options["key_file"]).read_text("utf-8").strip()
        if not key:
            raise ValueError
        return key
    if os.environ.get("AZURE_STORAGE_ACCOUNT", account) != account:
        return None
    return os.environ.get("AZURE_STORAGE_KEY") or None
