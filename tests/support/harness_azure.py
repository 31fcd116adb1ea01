"""Azure Key Vault for the conformance suite: RSA keys with a signing key, and oct-HSM keys."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from envelope_codec.kms import MasterKey, master_key

SIGNER = "signer"


class AsksVault(Protocol):
    vault: str

    @property
    def endpoint(self) -> str: ...
    @property
    def certificate(self) -> Path: ...
    @property
    def settings(self) -> Any: ...
    def ask(self, method: str, path: str, body: Any = None) -> Any: ...
    def key_uri(self, name: str, **options: str) -> str: ...


class AzureHarness:
    """RSA keys on the test server: made, used through the provider, and changed behind its back."""

    tells_versions = True
    kty = "RSA"

    def __init__(self, azure_vault: AsksVault) -> None:
        self._server = azure_vault
        self._before = {name: os.environ.get(name) for name in azure_vault.settings}
        os.environ.update(azure_vault.settings)
        azure_vault.ask("POST", f"/keys/{SIGNER}/create", {"kty": "EC", "crv": "P-256"})

    def create_key(self) -> str:
        name = f"key-{uuid.uuid4()}"
        self._server.ask("POST", f"/keys/{name}/create", {"kty": self.kty})
        options = {"sign_key": SIGNER} if self.kty == "RSA" else {}
        return self._server.key_uri(name, **options)

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        parts = urlsplit(uri)
        options = dict(parse_qsl(parts.query))
        if endpoint is not None:
            options["endpoint"] = f"https://{endpoint}"
        if read_timeout is not None:
            options["read_timeout"] = str(read_timeout)
        return master_key(f"azurekv://{parts.netloc}{parts.path}?{urlencode(options)}")

    def rotate(self, uri: str) -> None:
        self._server.ask("POST", f"/keys/{_name(uri)}/rotate", {})

    def disable(self, uri: str) -> None:
        """All versions: a key as such has no such state."""
        self._enable(uri, False)

    def enable(self, uri: str) -> None:
        self._enable(uri, True)

    def schedule_deletion(self, uri: str) -> None:
        self._server.ask("DELETE", f"/keys/{_name(uri)}")

    def close(self) -> None:
        """Put the environment back as it was."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _enable(self, uri: str, enabled: bool) -> None:
        for item in self._server.ask("GET", f"/keys/{_name(uri)}/versions")["value"]:
            version = item["kid"].rpartition("/")[2]
            self._server.ask("PATCH", f"/keys/{_name(uri)}/{version}", {"attributes": {"enabled": enabled}})


class AzureHsmHarness(AzureHarness):
    """The same with keys that bind the context themselves."""

    kty = "oct-HSM"


def _name(uri: str) -> str:
    return urlsplit(uri).path.strip("/")
