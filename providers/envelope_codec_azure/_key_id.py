"""Names in Azure Key Vault: vaults, keys, versions, and the key id that a record has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

SCHEME = "azurekv"
SHAPE = "HOST/KEY"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_LONGEST_HOST = 253
# https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class VaultKey:
    """A key of a vault or of a Managed HSM.

    Attributes:
        host: the whole host name, in lower case, such as ``example.vault.azure.net``.
        name: the key's name.
    """

    host: str
    name: str

    def __post_init__(self) -> None:
        """Refuse what is no such name, with a text that says what to change."""
        if not _HOST.fullmatch(self.host) or len(self.host) > _LONGEST_HOST or self.host[-1].isdigit():
            raise ConfigurationError(
                f"Azure Key Vault host {show_value(self.host)} must be the vault's whole host name in lower case, "
                "such as example.vault.azure.net or example.managedhsm.azure.net, without a port"
            )
        name, separator, version = self.name.partition("/")
        if separator and _NAME.fullmatch(name) and _VERSION.fullmatch(version):
            raise ConfigurationError(
                f"Azure Key Vault key {show_value(self.name)} names a key version: give the key, {show_value(name)}. "
                "New records are made with its latest version, and each record says which version opens it."
            )
        if not is_name(self.name):
            raise ConfigurationError(
                f"Azure Key Vault key {show_value(self.name)} must be 1 to 127 letters, digits and hyphens"
            )

    @property
    def id(self) -> str:
        """The canonical key id."""
        return f"{SCHEME}://{self.host}/{self.name}"


def is_name(text: str) -> bool:
    """Whether ``text`` is a name that a key may have."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether ``text`` is a version as Key Vault writes it: 32 hex digits in lower case."""
    return _VERSION.fullmatch(text) is not None
