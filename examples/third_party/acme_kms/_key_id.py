"""The one spelling of a key: it is written into every envelope, and holds neither endpoint nor credentials."""

from __future__ import annotations

import re

from envelope_codec.errors import ConfigurationError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def key_id_of(name: str) -> str:
    """Make the key id of the key ``name``. Raises `ConfigurationError`: it is no name of a key."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"key {name!r} must be lower-case letters, digits and hyphens: acmekms://KEY")
    return f"acmekms://{name}"
