"""Reads the vectors of sharing (README.md says what their fields mean)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.vectors.vector_files import FOLDER, decode


@dataclass(frozen=True)
class AuthRecord:
    """An authentication record: what it binds, its id and secret, the key that the secret yields, and its row's key."""

    context: Mapping[str, str]
    id: bytes
    secret: bytes
    key: bytes
    row_key: bytes


@dataclass(frozen=True)
class SharedVector:
    """One row, the writer that might adopt it, and whether it does."""

    name: str
    comment: str
    expect: str
    key: bytes
    row: bytes
    id: bytes
    head: bytes
    secret: bytes
    context: Mapping[str, str]
    key_ids: list[str]
    now: int
    max_age: int
    pinned: list[bytes]
    slot_key: bytes
    slot: bytes


def load_shared() -> list[SharedVector]:
    """All vectors of sharing."""
    return [_vector(entry) for file in _files() for entry in file["vectors"]]


def load_auth() -> dict[bytes, AuthRecord]:
    """The authentication records, by id."""
    records = [
        AuthRecord(one["context"], *(bytes.fromhex(one[name]) for name in ("id", "secret", "key", "row_key")))
        for file in _files()
        for one in file["auth"]
    ]
    return {record.id: record for record in records}


def _files() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("ascii")) for path in sorted((FOLDER / "shared").glob("*.json"))]


def _vector(entry: dict[str, Any]) -> SharedVector:
    known = dict(entry)
    for name in ("key", "row", "id", "head", "secret", "slot_key", "slot"):
        known[name] = decode(known[name])
    known["pinned"] = [bytes.fromhex(one) for one in known["pinned"]]
    return SharedVector(**known)
