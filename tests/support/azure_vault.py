"""A vault of Azure Key Vault in this process, and master keys in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessTokenInfo
from azurekv import Listener, write_certificate
from azurekv_client import VAULT
from azurekv_keys import Store
from azurekv_service import Fault, KeyVault, Reply

from envelope_codec_azure import AzureKeyVault

CONTEXT = {"temporal-namespace": "default", "envelope-codec:purpose": "wrapping-key"}
SECRET = bytes(range(32))


class GivenToken:
    """A credential that has a token of the vault itself, without a login."""

    def __init__(self, vault: KeyVault) -> None:
        self._vault = vault
        self.asked = 0

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        self.asked += 1
        return AccessTokenInfo(self._vault.issue_token(), int(time.time()) + 3600)


class Azure:
    """The vault, what it was asked, and what it is to answer."""

    def __init__(self, listener: Listener, certificate: Path) -> None:
        self.vault = listener.vault
        self.listener = listener
        self.certificate = certificate

    def create(self, name: str, kty: str, **attributes: Any) -> str:
        """Make a key, or a new version of it; gives the version."""
        size = attributes.pop("key_size", None)
        request: dict[str, Any] = {"kty": kty, "attributes": attributes}
        if size is not None:
            request["key_size"] = size
        with self.vault.store.open() as store:
            return store.create(name, request)[1].id

    def change(self, name: str, version: str = "", **fields: Any) -> None:
        """Set fields of a version, such as ``enabled``."""
        with self.vault.store.open() as store:
            found = store.key(name).version(version)
            for field, value in fields.items():
                assert hasattr(found, field)
                setattr(found, field, value)

    def open(self, name: str, **settings: Any) -> AzureKeyVault:
        """A master key in the vault."""
        given = {"credential": GivenToken(self.vault), **settings}
        if "client" not in settings:
            given = {"endpoint": self.listener.origin, "ca_bundle": str(self.certificate), **given}
        else:
            del given["credential"]
        return AzureKeyVault(self.vault.host, name, **given)

    def answer(self, work: str, status: int, body: object, *, times: int = 1, headers: Mapping[str, str] = {}) -> None:
        """Have the vault give this reply to ``work``."""
        self.vault.faults.append(Fault(work, Reply(status, body, headers), times))

    def refuse(self, work: str, status: int, code: str, inner: str | None = None, *, times: int = 1) -> None:
        """Have the vault refuse ``work`` in its own words."""
        error: dict[str, object] = {"code": code, "message": "the vault's own words"}
        if inner is not None:
            error["innererror"] = {"code": inner}
        self.answer(work, status, {"error": error}, times=times)

    def hang_up(self, work: str) -> None:
        """Have the vault close the connection instead of an answer."""
        self.vault.faults.append(Fault(work, None))

    @property
    def calls(self) -> Sequence[str]:
        """What was asked since `forget`."""
        return [work for work, _, _ in self.vault.calls]

    def forget(self) -> None:
        """Forget calls, faults and missing permissions."""
        self.vault.calls.clear()
        self.vault.faults.clear()
        self.vault.denied.clear()
        self.vault.logins = 0


@contextmanager
def azure_vault(folder: Path, *, host: str = VAULT, empty: bool = False) -> Iterator[Azure]:
    """A vault with the keys ``rsa``, ``oct`` and ``signer``, or an empty one."""
    certificate = folder / "certificate.pem"
    write_certificate(certificate)
    listener = Listener(KeyVault(Store(), host=host), certificate)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    azure = Azure(listener, certificate)
    try:
        for name, kty in () if empty else (("rsa", "RSA"), ("oct", "oct-HSM"), ("signer", "EC")):
            azure.create(name, kty)
        yield azure
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
