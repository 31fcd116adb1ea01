"""A Vault Transit key as the shared conformance suite drives it.

`VaultHarness` makes keys in a mount of its own. The master key's token, one per key, may encrypt and decrypt with that
key and look itself up, and lies in a token file, so that a key URI holds all there is to open.

Vault can't disable a key. Permission withdrawn is how a Vault operator takes a key away for a time, so that is what
`VaultHarness.disable` does.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import hvac

from envelope_codec.kms import MasterKey, master_key
from tests.support.watch import CREDENTIALS


class VaultServer(Protocol):
    @property
    def address(self) -> str: ...
    @property
    def token(self) -> str: ...


class VaultHarness:
    name = "vault"
    tells_versions = True

    def __init__(self, openbao: VaultServer) -> None:
        self._address = openbao.address
        self._root = hvac.Client(url=openbao.address, token=openbao.token)
        self._mount = f"conformance/{secrets.token_hex(4)}"
        self._root.sys.enable_secrets_engine("transit", path=self._mount)
        self._folder = tempfile.TemporaryDirectory(prefix="envelope-vault-")

    def create_key(self) -> str:
        """Key URI of a new key, ready for `envelope_codec.kms.master_key`."""
        key = f"key-{secrets.token_hex(8)}"
        self._root.secrets.transit.create_key(key, mount_point=self._mount)
        self._permit(key)
        token_file = Path(self._folder.name, key)
        token_file.touch(mode=0o600)
        token = self._root.auth.token.create(policies=[key], ttl="1h")["auth"]["client_token"]
        CREDENTIALS.append(token.encode())
        token_file.write_text(f"{token}\n")
        options = {"cluster": "test", "mount": self._mount, "endpoint": self._address}
        return f"hashivault://{key}?{urlencode({**options, 'auth': 'token-file', 'token_file': str(token_file)})}"

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        """The master key, at another address or with another read time-out (seconds) if wanted."""
        options = dict(parse_qsl(urlsplit(uri).query))
        if endpoint is not None:
            options["endpoint"] = endpoint if "://" in endpoint else f"http://{endpoint}"
        if read_timeout is not None:
            options["read_timeout"] = str(read_timeout)
        return master_key(f"{uri.partition('?')[0]}?{urlencode(options)}")

    def rotate(self, uri: str) -> None:
        self._root.secrets.transit.rotate_key(_key(uri), mount_point=self._mount)

    def disable(self, uri: str) -> None:
        """Withdraw the permission to use the key."""
        self._root.sys.create_or_update_policy(_key(uri), 'path "nothing" { capabilities = ["deny"] }')

    def enable(self, uri: str) -> None:
        self._permit(_key(uri))

    def schedule_deletion(self, uri: str) -> None:
        """Delete the key; Vault knows no waiting time."""
        transit = self._root.secrets.transit
        transit.update_key_configuration(_key(uri), deletion_allowed=True, mount_point=self._mount)
        transit.delete_key(_key(uri), mount_point=self._mount)

    def close(self) -> None:
        self._root.session.close()
        self._folder.cleanup()

    def _permit(self, key: str) -> None:
        paths = [f"{self._mount}/{action}/{key}" for action in ("encrypt", "decrypt")]
        self._root.sys.create_or_update_policy(
            key, "\n".join(f'path "{p}" {{ capabilities = ["update"] }}' for p in paths)
        )


def _key(uri: str) -> str:
    return urlsplit(uri).netloc
