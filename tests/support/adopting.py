"""What the library says to a shared wrapping key that a writer might adopt, in the words of the vectors of sharing."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.envelope import unlock_head
from envelope_codec.errors import InvalidCiphertext
from envelope_codec.keystore_row import MalformedRow, parse_row
from envelope_codec.keystore_sharing import Shared
from tests.vectors.shared_files import AuthRecord, SharedVector


def adopt(vector: SharedVector, auth: Mapping[bytes, AuthRecord], row: bytes | None = None) -> str:
    """Return ``adopt``, or what forbids it, with ``row`` in the place of the vector's if it is given."""
    try:
        parsed = parse_row(vector.key, vector.row if row is None else row)
    except MalformedRow:
        return "absent"
    context = dict(vector.context)
    shared = Shared(context.pop("temporal-namespace"), context, vector.key_ids)
    keys = [auth[record_id].key for record_id in vector.pinned]
    obstacle = shared.find_obstacle(parsed, keys, vector.now, vector.max_age)
    if obstacle is not None:
        return obstacle.value
    try:
        unlock_head(parsed.head, parsed.id, vector.secret)
    except InvalidCiphertext:
        return "id"
    return "adopt"
