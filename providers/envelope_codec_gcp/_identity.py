"""As whom Google is asked: by which credentials, as which service account, and at whose expense."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth
from google.auth import aws, identity_pool, impersonated_credentials, pluggable
from google.auth.credentials import Credentials, CredentialsWithQuotaProject
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.auth.transport import Request
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.oauth2 import service_account

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.provider import Failed
from envelope_codec_gcp import _hints as hints

_log = logging.getLogger("envelope_codec.gcp")

_SCOPES = KeyManagementServiceGrpcTransport.AUTH_SCOPES
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}@[a-z0-9.-]{1,200}\.gserviceaccount\.com|[0-9]{10,30}")
_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{1,61}|[1-9][0-9]{0,18}")
_OF_AWS = "urn:ietf:params:aws:token-type:aws4_request"


@dataclass(frozen=True)
class Identity:
    """As whom Google is asked.

    Attributes:
        file: path of a credentials file; None: application default credentials.
        impersonate: service accounts; the last one is who asks, and those before it each lend themselves to the next.
        quota_project: project that the calls are counted for; None as the credentials say.
    """

    file: str | None = None
    impersonate: tuple[str, ...] = ()
    quota_project: str | None = None

    def check(self) -> None:
        """Raise `ConfigurationError` for what can be seen to be wrong without a network."""
        for account in self.impersonate:
            if not _ACCOUNT.fullmatch(account):
                raise ConfigurationError(
                    f"impersonate={show_value(account)} must be a service account, "
                    "NAME@PROJECT.iam.gserviceaccount.com; or a chain of them, separated by commas, with the one last "
                    "that the key is used as"
                )
        if self.quota_project is not None and not _PROJECT.fullmatch(self.quota_project):
            raise ConfigurationError(
                f"quota_project={show_value(self.quota_project)} must be the id or the number of a project"
            )

    def load(self, request: Request) -> Credentials:
        """Find the credentials. Only application default ones may ask the network for that, by ``request``.

        Raises:
            Failed: the file can't be used.
            GoogleAuthError: there are no application default credentials.
        """
        found = _default(request) if self.file is None else _read(self.file, request)
        if isinstance(found, service_account.Credentials) and not self.impersonate:
            # It signs its tokens itself, and asks nobody.
            found = found.with_always_use_jwt_access(True)
        if self.impersonate:
            found = impersonated_credentials.Credentials(
                source_credentials=found,
                target_principal=self.impersonate[-1],
                target_scopes=list(_SCOPES),
                delegates=list(self.impersonate[:-1]),
            )
        if self.quota_project is not None:
            if not isinstance(found, CredentialsWithQuotaProject):
                raise Failed(hints.NO_QUOTA)
            found = found.with_quota_project(self.quota_project)
        return found


def _default(request: Request) -> Credentials:
    found: Credentials = google.auth.default(default_scopes=_SCOPES, request=request)[0]
    return found


def _read(path: str, request: Request) -> Credentials:
    try:
        return _make(json.loads(Path(path).read_bytes()), request)
    except TransportError:
        raise
    # Any class: what google-auth raises for a file that lacks a part depends on the part.
    except Exception as error:
        told = str(error)[:200] if isinstance(error, (DefaultCredentialsError, OSError)) else ""
        _log.warning("the credentials file %s can't be used: %s %s", path, type(error).__name__, told)
    raise Failed(hints.BAD_FILE)


def _make(info: Mapping[str, Any], request: Request) -> Credentials:
    if info.get("type") == "external_account":
        return _make_external(info)
    # For other types this asks nobody.
    found: Credentials = google.auth.load_credentials_from_dict(info, default_scopes=_SCOPES, request=request)[0]
    return found


def _make_external(info: Mapping[str, Any]) -> Credentials:
    """Make credentials of a workload of another cloud.

    google-auth's own function looks up the project as well: a call more, for which the workload may lack permission.
    """
    kind: Any = identity_pool.Credentials
    if info.get("subject_token_type") == _OF_AWS:
        kind = aws.Credentials
    elif "executable" in (info.get("credential_source") or {}):
        kind = pluggable.Credentials
    found: Credentials = kind.from_info(info, default_scopes=_SCOPES)
    return found
