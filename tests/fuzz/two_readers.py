"""The library and the second reader of `tests.support`, side by side over one payload."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import Record, open_envelope, parse, unlock
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope
from envelope_codec.temporal.inner_payload import InnerFormat
from envelope_codec.temporal.sealed_payload import finish_inner_payload, strip
from tests.fuzz.known_key import secret_of
from tests.support import second_reader


def read(metadata: Mapping[str, bytes], data: bytes, inner: InnerFormat) -> Payload | None:
    """Return what the envelope holds, as the library reads it. None: no envelope, or one that is refused."""
    try:
        envelope = parse(metadata, data)
        if envelope is None:
            assert not metadata.get("encoding", b"").startswith(b"binary/envelope-")
            assert "encryption-wrapped-key" not in metadata
            return None
        content = open_envelope(envelope, _unlock(envelope.record))
        return finish_inner_payload(inner.parse(content), inner)
    except (MalformedEnvelope, InvalidCiphertext):
        return None


def read_second(metadata: Mapping[str, bytes], data: bytes, max_payload: int) -> Payload | None:
    """Return the same as the second reader reads it."""
    try:
        content = second_reader.open_envelope(
            metadata, data, lambda key_id, version, ciphertext, context: secret_of(ciphertext), max_payload
        )
    except ValueError:
        return None
    payload = Payload.FromString(content)
    strip(payload.metadata)  # of the mark of the SDK's core, of which the format knows nothing
    return payload


def _unlock(record: Record) -> bytes:
    for recipient in record.recipients:
        try:
            return unlock(record, secret_of(recipient.ciphertext))
        except InvalidCiphertext:
            continue
    raise InvalidCiphertext("no recipient leads to the id")
