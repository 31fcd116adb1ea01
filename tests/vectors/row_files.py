"""Reads the vectors of keystore rows (README.md says what their fields mean)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.vectors.vector_files import FOLDER, decode

Recipients = list[tuple[str, str, bytes]]


@dataclass(frozen=True)
class RowVector:
    """One row under its key, and what it says if it is a good one. A recipient is key id, version and ciphertext."""

    name: str
    comment: str
    expect: str
    key: bytes
    row: bytes
    purpose: int = 0
    created: int = 0
    context: Mapping[str, str] = field(default_factory=dict)
    id: bytes = b""
    verified: Recipients = field(default_factory=list)
    imported: Recipients = field(default_factory=list)
    tag: bytes = b""
    tag_key: bytes | None = None


def load_rows(*expect: str) -> list[RowVector]:
    """All vectors of rows that expect one of these; without any, all."""
    files = [json.loads(path.read_text("ascii")) for path in sorted((FOLDER / "rows").glob("*.json"))]
    vectors = [_vector(entry) for file in files for entry in file["vectors"]]
    return [vector for vector in vectors if not expect or vector.expect in expect]


def _vector(entry: dict[str, Any]) -> RowVector:
    known = dict(entry)
    for name in {"key", "row", "id", "tag", "tag_key"} & known.keys():
        known[name] = decode(known[name])
    for name in {"verified", "imported"} & known.keys():
        known[name] = [(one["key_id"], one["key_version"], decode(one["ciphertext"])) for one in known[name]]
    return RowVector(**known)
