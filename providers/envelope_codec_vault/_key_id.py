"""Which Transit key: its name, mount, namespace and cluster, and the key id that they make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value

SCHEME = "hashivault"
DEFAULT_MOUNT = "transit"
MAX_KEY_ID_BYTES = 512
"""An envelope has no room for a longer key id."""

# What Vault's router takes as a key name; with anything else it finds no route and answers 404.
_NAME = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_])?")
# A namespace travels in an HTTP header, and neither Vault nor OpenBao takes white space in one.
_SEGMENT = re.compile(r"[!-.0-~]+")
_LABEL = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class TransitKey:
    """A key of one Transit mount. Two of them are the same key if and only if their `id` is the same text.

    Attributes:
        name: the key's name.
        mount: path of the Transit engine inside the namespace, without slashes around it.
        namespace: Vault namespace without slashes around it; empty is the root namespace.
        cluster: a label for the Vault cluster, chosen by the user and never sent to Vault: it keeps the keys of two
            clusters apart whose names are the same.
    """

    name: str
    mount: str = DEFAULT_MOUNT
    namespace: str = ""
    cluster: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"Vault key name {show_value(self.name)} must be letters, digits, '_', '-' and '.', and neither "
                "begin nor end with '-' or '.'; a key URI is hashivault://KEY?mount=transit"
            )
        check_path("mount", self.mount)
        if self.namespace:
            check_path("namespace", self.namespace)
        if self.namespace == "root":
            raise ConfigurationError("Vault namespace 'root' has no name of its own in a key id: leave namespace out")
        if not isinstance(self.cluster, str) or (self.cluster and not _LABEL.fullmatch(self.cluster)):
            raise ConfigurationError(
                f"Vault cluster label {show_value(self.cluster)} must be printable ASCII without spaces"
            )
        if len(self.id) > MAX_KEY_ID_BYTES:
            raise ConfigurationError(
                f"Vault key id {show_value(self.id)} is longer than {MAX_KEY_ID_BYTES} bytes: choose a shorter "
                "cluster label"
            )

    @property
    def id(self) -> str:
        """``hashivault://KEY?cluster=LABEL&mount=M&namespace=N``: this order, empty ones left out."""
        parts = (("cluster", self.cluster), ("mount", self.mount), ("namespace", self.namespace))
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in parts if value)
        return f"{SCHEME}://{self.name}?{query}"


def check_path(setting: str, path: object) -> None:
    """Raise `ConfigurationError` unless ``path`` is the one spelling of a mount or namespace."""
    if not isinstance(path, str) or not path.strip("/"):
        raise ConfigurationError(f"Vault {setting} {show_value(path)} must be a path, such as team/a")
    if path != path.strip("/"):
        # Refused and not trimmed: a key id has one spelling, and it is the one that stands in the configuration.
        raise ConfigurationError(
            f"Vault {setting} {show_value(path)} must have no slash around it: write {show_value(path.strip('/'))}"
        )
    for segment in path.split("/"):
        # Dot segments would climb out of the mount: HTTP clients fold them away.
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise ConfigurationError(
                f"Vault {setting} {show_value(path)} must be segments of printable ASCII without spaces, with one '/' "
                "between them; '.' and '..' are no segments"
            )


def login_namespace(given: str | None, namespace: str) -> str:
    """Choose the namespace of a login: the given one, where ``root`` is the root namespace, else the key's."""
    if given is None:
        return namespace
    check_path("auth_namespace", given)
    return "" if given == "root" else given
