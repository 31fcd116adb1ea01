"""The second reader as the reader of test vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from tests.support.second_reader import open_envelope
from tests.support.second_row_reader import read_row
from tests.vectors.vector_files import Vector


def opened(vector: Vector, *, any_configuration: bool = False) -> bytes:
    """The serialized inner Payload of a vector. ValueError: it is refused."""

    def unwrap(key_id: str, key_version: str, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        if not any_configuration and not vector.is_configured(context["temporal-namespace"], key_id):
            raise ValueError("not configured for the record's namespace")
        try:
            return vector.unwrap(key_id, key_version, ciphertext, context)
        except LookupError as refused:
            raise ValueError(str(refused)) from None

    def find_row(head: bytes, commitment: bytes) -> list[tuple[str, str, bytes]]:
        key = hashlib.sha256(head + commitment).digest()
        with suppress(KeyError, ValueError):  # there is none, or none that is valid
            row = read_row(key, vector.keystore[key])
            return [*row.verified, *row.imported]
        return []

    return open_envelope(vector.metadata, vector.data, unwrap, vector.max_payload or 2**26, find_row)
