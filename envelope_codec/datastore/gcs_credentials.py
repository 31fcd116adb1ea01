"""Credentials for Google Cloud, found as by any of Google's tools, and kept fresh by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import google.auth
from google.auth import credentials as google_credentials
from google.auth import impersonated_credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from envelope_codec._process import renew_after_fork
from envelope_codec.datastore.recent_failure import RecentFailure
from envelope_codec.provider import WireLog

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_TO_IMPERSONATE = ("https://www.googleapis.com/auth/iam",)
_LIFETIME = 3600  # seconds

WIRE_LOG = WireLog("google.auth.transport.requests")
"""google-auth logs requests for tokens, with the token that proves who asks in headers or form, and replies."""


class CredentialsUnavailable(Exception):
    """Credentials could not be had. That is an outage: it says nothing of a bucket or a permission.

    Attributes:
        error: what google-auth raised.
    """

    def __init__(self, error: GoogleAuthError) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class FreshCredentials:
    """Credentials that are renewed here, before a request: one thread asks for all, and a failure is remembered.

    Args:
        options: ``credentials`` (path of a file), ``impersonate`` (a service account) and ``quota_project``, each of
            which may be missing.
    """

    _lock: threading.Lock

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._failure = RecentFailure[GoogleAuthError]()
        self._loaded: google_credentials.Credentials | None = None
        renew_after_fork(self, _lock=threading.Lock)

    def load(self) -> google_credentials.Credentials:
        """Find the credentials. It may ask the metadata service whether there is one.

        Raises:
            CredentialsUnavailable: there are none.
        """
        with self._lock, WIRE_LOG.silenced():
            self._check_failure()
            try:
                self._loaded = _load(self._options)
            except GoogleAuthError as error:
                raise self._failed(error) from None
            # Any class: a file that can't be read, or holds something else, which the library does not check.
            except Exception as error:
                raise self._failed(DefaultCredentialsError(type(error).__name__)) from None
            return self._loaded

    def refresh(self, request: Any) -> None:
        """Have a token that is valid.

        Args:
            request: google-auth's way to the token service.

        Raises:
            CredentialsUnavailable: there is none to be had.
        """
        loaded = self._loaded
        if loaded is None or loaded.valid:
            return
        with self._lock:
            if loaded.valid:
                return
            self._check_failure()
            try:
                loaded.refresh(request)
            except GoogleAuthError as error:
                raise self._failed(error) from None
            except Exception as error:  # any class: a command line that is run, a file that is read
                raise self._failed(GoogleAuthError(type(error).__name__)) from None
            self._failure.forget()

    def _check_failure(self) -> None:
        if (error := self._failure.error) is not None:
            raise CredentialsUnavailable(error)

    def _failed(self, error: GoogleAuthError) -> CredentialsUnavailable:
        self._failure.remember(error)
        return CredentialsUnavailable(error)


def _load(options: Mapping[str, str]) -> google_credentials.Credentials:
    project, target = options.get("quota_project"), options.get("impersonate")
    scopes = _TO_IMPERSONATE if target else _SCOPES
    found: Any
    if "credentials" in options:
        found, _ = google.auth.load_credentials_from_file(  # type: ignore[no-untyped-call,unused-ignore]
            options["credentials"], scopes=scopes, quota_project_id=project
        )
    else:
        found, _ = google.auth.default(scopes=scopes, quota_project_id=project)  # type: ignore[no-untyped-call,unused-ignore]
    if target is not None:
        found = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call,unused-ignore]
            found, target_principal=target, target_scopes=_SCOPES, lifetime=_LIFETIME, quota_project_id=project
        )
    loaded: google_credentials.Credentials = found
    return loaded
