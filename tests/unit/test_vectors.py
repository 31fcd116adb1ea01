"""The codec opens every good test vector, and refuses every bad one with the error that the vector names."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import errors
from envelope_codec.envelope import Purpose, Recipient, _seal_with, build_record, commit, record_head
from tests.support.vector_reader import VectorReader
from tests.vectors.vector_files import FOLDER, Vector, load

VECTORS = {vector.name: vector for vector in load()}


async def decoded(vector: Vector) -> Payload:
    """What a reader makes of ``vector``, having opened the one that it comes after, if any."""
    before = [VECTORS[vector.after]] if vector.after else []
    reader = VectorReader(*before, vector)
    try:
        await reader.warm_up(*before)
        return await reader.read(Payload(metadata=vector.metadata, data=vector.data))
    finally:
        reader.close()


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "ok"), ids=lambda vector: vector.name)
async def test_a_good_vector_opens(vector: Vector) -> None:
    payload = await decoded(vector)
    assert vector.payload is not None
    assert dict(payload.metadata) == vector.payload.metadata
    assert payload.data == vector.payload.data


@pytest.mark.parametrize("vector", load(lambda vector: vector.expect == "untouched"), ids=lambda vector: vector.name)
async def test_a_payload_of_another_encoding_passes_untouched(vector: Vector) -> None:
    assert await decoded(vector) == Payload(metadata=vector.metadata, data=vector.data)


BAD = load(lambda vector: vector.expect not in ("ok", "untouched"))


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector.name)
async def test_a_bad_vector_is_refused_by_name(vector: Vector) -> None:
    kind = getattr(errors, vector.expect)
    with pytest.raises(errors.EnvelopeError) as caught:
        await decoded(vector)
    assert type(caught.value) is kind


def test_there_are_as_many_vectors_as_the_specification_promises() -> None:
    assert len([vector for vector in VECTORS.values() if vector.expect == "ok"]) >= 12
    assert len(BAD) >= 30


def test_the_private_seam_writes_the_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import worked_example  # type: ignore[import-not-found]

    example, vector = worked_example.draft(), VECTORS["worked-example"]
    (recipient,) = example.recipients
    context = {name.decode(): value.decode() for name, value in example.context}
    head = record_head(Purpose.WRAPPING_KEY, example.created, context)
    key, record_id = commit(example.secret, head)
    listed = [Recipient(recipient.key_id.decode(), recipient.key_version.decode(), recipient.ciphertext)]
    record = build_record(head, record_id, listed)
    wrapped, data = _seal_with(example.inner, record, example.data_key, key, example.nonce)
    assert {**record.metadata, "encryption-data-key": wrapped} == vector.metadata
    assert data == vector.data
