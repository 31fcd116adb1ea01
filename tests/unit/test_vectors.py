"""The codec opens every good test vector, and refuses every bad one with the error that the vector names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec import errors
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import Purpose, Recipient, _seal_with, build_record, commit, record_head
from envelope_codec.errors import InvalidCiphertext
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.temporal.codec import EnvelopeCodec
from tests.support.rows_on_fake import FakeRows
from tests.vectors.vector_files import FOLDER, Vector, load

VECTORS = {vector.name: vector for vector in load()}


class VectorKey:
    """One master key of the KMSs of some vectors."""

    def __init__(self, vectors: list[Vector], key_id: str) -> None:
        self._vectors = vectors
        self.key_id = key_id

    def accepts(self, key_id: str) -> bool:
        return key_id == self.key_id

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        raise AssertionError("nothing is sealed here")

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        for vector in self._vectors:
            with suppress(LookupError):
                secret = vector.unwrap(wrapped.key_id, wrapped.key_version, wrapped.ciphertext, context)
                return Unwrapped(secret, wrapped.key_version)
        raise InvalidCiphertext("the KMS refused", operation="unwrap")

    def close(self) -> None:
        pass


async def decoded(vector: Vector) -> Payload:
    """What a reader makes of ``vector``, having opened the one that it comes after, if any."""
    before = [VECTORS[vector.after]] if vector.after else []
    vectors = [*before, vector]
    key_sets = {
        namespace: KeySet(
            VectorKey(vectors, key_ids[0]),
            decrypt_keys=tuple(VectorKey(vectors, key_id) for key_id in key_ids[1:]),
        )
        for namespace, key_ids in vector.configured.items()
        if key_ids
    }
    rows = FakeRows() if any(one.keystore for one in vectors) else None
    for one in vectors:
        for number, (key, data) in enumerate(one.keystore.items()):
            assert rows is not None
            rows.keystore.kept[key] = data, str(number)
    keyring = Keyring(key_sets.get, keystore=rows)
    try:
        config = EnvelopeConfig(key="localfile:///unused")
        if vector.max_payload is not None:  # smaller than the setting may be
            config = config.model_copy(update={"max_payload": vector.max_payload})
        codec = EnvelopeCodec(config, keyring=keyring)
        for earlier in before:
            await codec.decode([Payload(metadata=earlier.metadata, data=earlier.data)])
        if vector.namespace is not None:
            codec = codec.with_context(WorkflowSerializationContext(vector.namespace, "w"))
        [payload] = await codec.decode([Payload(metadata=vector.metadata, data=vector.data)])
        return payload
    finally:
        keyring.close()


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
