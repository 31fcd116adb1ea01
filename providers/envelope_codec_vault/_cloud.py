"""Logins with the identity that a cloud gives this process: AWS IAM, GCP and Azure.

The identity is fetched at each login, from where the cloud's own tools look for it. What is remembered of a refused
login goes by a fixed text, because each proof is another one.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import hvac
import requests

from envelope_codec.provider import Failed, WireLog, place_of
from envelope_codec_vault._hints import CREDENTIALS, NO_IDENTITY
from envelope_codec_vault._login import Grant, granted
from envelope_codec_vault._refusal import UNLOCKED
from envelope_codec_vault._secret_file import is_credential

GCE = "http://metadata.google.internal"
SIGN_JWT = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:signJwt"
AZURE_INSTANCE = "http://169.254.169.254"
_INSTANCE = "/metadata/instance/compute?api-version=2021-05-01"
_SECONDS = (2.0, 5.0)  # for a connection, and between two reads
_LIFE = 600  # seconds: Vault takes 15 minutes at most

_log = logging.getLogger("envelope_codec.vault")
_WIRE = WireLog(
    *(f"botocore.{name}" for name in ("auth", "credentials", "endpoint", "httpsession", "parsers", "tokens", "utils")),
    *("google.auth.transport.requests", "google.auth._default", "google.auth.transport._mtls_helper"),
    *("azure.core.pipeline.policies.http_logging_policy", "azure.identity._internal.decorators"),
    *("msal.application", "msal.token_cache", "urllib3.connectionpool"),
)

T = TypeVar("T")


class CloudLogin:
    """What the three have in common.

    Args:
        role: of Vault.
        mount: of the auth method.
    """

    asks = True
    pace = UNLOCKED
    dead = CREDENTIALS
    kind = ""

    def __init__(self, role: str, mount: str, *more: str) -> None:
        self._role = role
        self._mount = mount
        self._more = more

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self._mount, self._role, *self._more)

    def credential(self) -> str:
        return "/".join(self.identity)

    def changed(self) -> bool:
        return False

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        """Fetch the identity, and log in with it."""
        raise NotImplementedError


class Aws(CloudLogin):
    """A login by AWS IAM: Vault has STS say whose signature it is.

    https://developer.hashicorp.com/vault/api-docs/auth/aws#login

    Args:
        server_id: the header that Vault may ask for, so that the signature serves no other Vault; empty for none.
    """

    kind = "aws"

    def __init__(self, role: str, mount: str, server_id: str) -> None:
        super().__init__(role, mount, server_id)
        self._server_id = server_id

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        keys = _fetched(_aws_keys)
        reply = client.auth.aws.iam_login(
            *keys, header_value=self._server_id or None, role=self._role, use_token=False, mount_point=self._mount
        )
        return granted(reply)


class Gcp(CloudLogin):
    """A login by GCP: of the machine, or of a service account.

    https://developer.hashicorp.com/vault/api-docs/auth/gcp#login

    Args:
        account: email of the service account that signs, by the IAM Credentials API; empty for the machine's own.
        sign_jwt: URL of that API.
    """

    kind = "gcp"

    def __init__(self, role: str, mount: str, account: str, sign_jwt: str = SIGN_JWT) -> None:
        super().__init__(role, mount, account)
        self._account = account
        self._sign_jwt = sign_jwt.format(account)

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        jwt = _fetched(self._signed if self._account else self._of_machine)
        return granted(client.auth.gcp.login(self._role, jwt, use_token=False, mount_point=self._mount))

    def _of_machine(self) -> str:
        host = os.environ.get("GCE_METADATA_HOST")
        query = {"audience": f"vault/{self._role}", "format": "full"}
        path = "/computeMetadata/v1/instance/service-accounts/default/identity"
        return _text((f"http://{host}" if host else GCE) + path, {"Metadata-Flavor": "Google"}, query)

    def _signed(self) -> str:
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        claims = {"sub": self._account, "aud": f"vault/{self._role}", "exp": int(time.time()) + _LIFE}
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        with AuthorizedSession(credentials) as session:
            reply = session.post(self._sign_jwt, json={"payload": json.dumps(claims)}, timeout=sum(_SECONDS))
            reply.raise_for_status()
            return str(reply.json()["signedJwt"])


class Azure(CloudLogin):
    """A login by Azure: the token of a managed or workload identity, and the names of the machine.

    https://developer.hashicorp.com/vault/api-docs/auth/azure#login

    Args:
        resource: for which the token is.
        has_instance: whether the machine's names are sent, which roles may be bound to.
        instance: URL of the machine's metadata service.
    """

    kind = "azure"

    def __init__(
        self,
        role: str,
        mount: str,
        resource: str,
        has_instance: bool,
        *,
        identity: Callable[[], AbstractContextManager[Any]] | None = None,
        instance: str = AZURE_INSTANCE,
    ) -> None:
        super().__init__(role, mount, resource, str(has_instance))
        self._resource = resource
        self._has_instance = has_instance
        self._make_identity = identity or _azure_identity
        self._instance = instance

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        jwt = _fetched(self._token)
        names = _fetched(self._names) if self._has_instance else {}
        reply = client.auth.azure.login(self._role, jwt, use_token=False, mount_point=self._mount, **names)
        return granted(reply)

    def _token(self) -> str:
        with self._make_identity() as identity:
            return str(identity.get_token(f"{self._resource}/.default").token)

    def _names(self) -> dict[str, str]:
        found = json.loads(_text(self._instance + _INSTANCE, {"Metadata": "true"}))
        names = {"subscription_id": "subscriptionId", "resource_group_name": "resourceGroupName"}
        # A machine of a scale set is named by its set alone: Vault takes one of the two.
        names |= {"vmss_name": "vmScaleSetName"} if found.get("vmScaleSetName") else {"vm_name": "name"}
        return {name: str(found[source]) for name, source in names.items()}


def _aws_keys() -> tuple[str, str, str | None]:
    from botocore.session import Session

    session = Session()
    found = session.get_credentials()
    if found is None:
        raise ValueError("no credentials")
    frozen = found.get_frozen_credentials()
    keys = (frozen.access_key or "", frozen.secret_key or "")
    if not all(map(is_credential, (*keys, frozen.token or "none"))):
        raise ValueError("credentials that can't be sent")
    return (*keys, frozen.token)


def _azure_identity() -> AbstractContextManager[Any]:
    from azure.identity import DefaultAzureCredential

    connect, read = _SECONDS
    found: AbstractContextManager[Any] = DefaultAzureCredential(
        retry_total=0, connection_timeout=connect, read_timeout=read
    )
    return found


def _text(url: str, headers: dict[str, str], query: dict[str, str] | None = None) -> str:
    """Ask a metadata service, which is on this machine's own link and behind no proxy."""
    with requests.Session() as session:
        session.trust_env = False
        reply = session.get(url, headers=headers, params=query, timeout=_SECONDS, allow_redirects=False)
        reply.raise_for_status()
        return reply.text


def _fetched(fetch: Callable[[], T]) -> T:
    """Fetch the identity. Raises `Failed` for whatever came up: it says nothing of the key, and may quote a secret."""
    try:
        with _WIRE.silenced():
            found = fetch()
        if isinstance(found, str) and not is_credential(found):
            raise ValueError("a token that can't be sent")
        return found
    except Exception as error:
        _log.warning("no identity of the cloud to log in to Vault with: %s", place_of(error))
    raise Failed(NO_IDENTITY)
