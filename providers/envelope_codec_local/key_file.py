"""The key file's format: JSON, every version of one key, and which of them may be used.

::

    {
      "format": "envelope-codec/key-file-1",
      "id": "<32 lowercase hex digits>",
      "primary": 2,
      "versions": {"1": "<base64 of 32 bytes>", "2": "<base64 of 32 bytes>"},
      "disabled": ["1"]
    }

``id`` is the fingerprint of version 1: the first 16 bytes of SHA-256 of the format's name, a zero byte, and the
key. It stays when the key is rotated. It is checked while version 1 is in the file. ``disabled`` may be left out;
it names versions, or ``"all"`` for the key as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

FORMAT = "envelope-codec/key-file-1"
ALL = "all"
KEY_BYTES = 32
MAX_BYTES = 1 << 20

_FIELDS = frozenset({"format", "id", "primary", "versions"})
_OPTIONAL_FIELDS = frozenset({"disabled"})
_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class InvalidKeyFile(ValueError):
    """The bytes are not a valid key file. The text names the defect and never quotes the file."""


@dataclass(frozen=True)
class KeyFile:
    """One key with its versions, validated.

    Attributes:
        id: fingerprint of version 1, 32 lowercase hex digits.
        primary: the version that wraps.
        versions: 32 bytes for each version, by its number in decimal.
        disabled: versions that may not be used; with ``"all"``, none may.
    """

    id: str
    primary: str
    versions: Mapping[str, bytes] = field(repr=False)
    disabled: frozenset[str] = frozenset()

    @classmethod
    def generate(cls) -> KeyFile:
        """Make a new key with one version."""
        key = os.urandom(KEY_BYTES)
        return cls(fingerprint(key), "1", {"1": key})

    @classmethod
    def parse(cls, data: bytes) -> KeyFile:
        """Read the key in ``data``.

        Raises:
            InvalidKeyFile: any defect.
        """
        if len(data) > MAX_BYTES:
            raise InvalidKeyFile(f"it is larger than {MAX_BYTES} bytes")
        document = _json_object(data)
        _check_fields(document)
        versions = _versions(document["versions"])
        primary = document["primary"]
        if type(primary) is not int or str(primary) not in versions:
            raise InvalidKeyFile('"primary" must be the number of one of its versions')
        id_ = document["id"]
        if not isinstance(id_, str) or not _ID.fullmatch(id_):
            raise InvalidKeyFile('"id" must be 32 lowercase hex digits')
        if "1" in versions and fingerprint(versions["1"]) != id_:
            raise InvalidKeyFile('"id" is not the fingerprint of version 1')
        return cls(id_, str(primary), versions, _disabled(document.get("disabled", []), versions))

    def to_bytes(self) -> bytes:
        """Write the file's bytes. `parse` reads them back."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "id": self.id,
            "primary": int(self.primary),
            "versions": {name: base64.b64encode(key).decode() for name, key in self.versions.items()},
        }
        if self.disabled:
            document["disabled"] = sorted(self.disabled)
        return json.dumps(document, indent=2).encode() + b"\n"

    def rotated(self) -> KeyFile:
        """Return the same key with one more version, which is primary."""
        name = str(max(map(int, self.versions)) + 1)
        return replace(self, primary=name, versions={**self.versions, name: os.urandom(KEY_BYTES)})

    def is_disabled(self, version: str) -> bool:
        return version in self.disabled or ALL in self.disabled


def fingerprint(key: bytes) -> str:
    """Compute the id of a key whose version 1 is ``key``: 32 lowercase hex digits."""
    return hashlib.sha256(FORMAT.encode() + b"\0" + key).digest()[:16].hex()


def is_version(name: object) -> bool:
    """Whether ``name`` is spelled as a version: a decimal number from 1 to 999999999."""
    return isinstance(name, str) and _VERSION.fullmatch(name) is not None


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except InvalidKeyFile:
        raise
    except (ValueError, RecursionError):
        raise InvalidKeyFile("it is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidKeyFile("it is not a JSON object")
    return document


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidKeyFile("it gives a name twice")
    return members


def _no_constant(_: str) -> NoReturn:
    raise InvalidKeyFile("it is not JSON")


def _check_fields(document: Mapping[str, Any]) -> None:
    if document.get("format") != FORMAT:
        raise InvalidKeyFile(f'"format" must be "{FORMAT}"')
    missing = sorted(_FIELDS - document.keys())
    if missing:
        raise InvalidKeyFile(f'"{missing[0]}" is missing')
    if document.keys() - _FIELDS - _OPTIONAL_FIELDS:
        raise InvalidKeyFile("it has an unknown field")


def _versions(found: object) -> dict[str, bytes]:
    if not isinstance(found, dict) or not found:
        raise InvalidKeyFile('"versions" must be an object with at least one version')
    if not all(map(is_version, found)):
        raise InvalidKeyFile('"versions" must be named by decimal numbers from 1')
    versions = {name: _key(name, text) for name, text in found.items()}
    if len(set(versions.values())) != len(versions):
        raise InvalidKeyFile("two versions hold the same key")
    return versions


def _key(version: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise InvalidKeyFile(f"version {version} is not base64")
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidKeyFile(f"version {version} is not base64") from None
    if len(key) != KEY_BYTES:
        raise InvalidKeyFile(f"version {version} is {len(key)} bytes long instead of {KEY_BYTES}")
    return key


def _disabled(found: object, versions: Mapping[str, bytes]) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise InvalidKeyFile('"disabled" must be a list of versions')
    if set(found) - versions.keys() - {ALL}:
        raise InvalidKeyFile(f'"disabled" must name versions of this file, or "{ALL}"')
    return frozenset(found)
