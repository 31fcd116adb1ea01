"""The data converter is copied once for each variant of the codec, and never where more than that may differ."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    ExternalStorage,
    JSONPlainPayloadConverter,
    NexusSerializationContext,
    PayloadCodec,
    SerializationContext,
    StorageDriver,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec import envelope_data_converter
from envelope_codec.temporal import caching_converter
from envelope_codec.temporal.caching_converter import CachingConverter
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.converter import apply_codec, merge_codec
from envelope_codec.testing import FakeKms

FLOW = WorkflowSerializationContext(namespace="default", workflow_id="w")
OTHER_FLOW = WorkflowSerializationContext(namespace="default", workflow_id="other")
NEXUS = NexusSerializationContext("e", "s", "o")
STEP = ActivitySerializationContext(
    namespace="default",
    activity_id="1",
    activity_type=None,
    activity_task_queue=None,
    workflow_id="w",
    workflow_type=None,
    is_local=False,
)


class Plain(PayloadCodec):
    """A codec of the application's."""

    async def encode(self, payloads: Any) -> Any:
        return payloads

    async def decode(self, payloads: Any) -> Any:
        return payloads


@dataclasses.dataclass
class Unhashable(Plain):
    """As each class is that compares by value and may change."""

    level: int = 1


class PlainInContext(Plain, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Any:
        return PlainInContext()


class JsonInContext(JSONPlainPayloadConverter, WithSerializationContext):
    """Knows the workflow that its values belong to."""

    workflow_id = ""

    def with_context(self, context: SerializationContext) -> Any:
        made = JsonInContext()
        made.workflow_id = getattr(context, "workflow_id", "")
        return made


class PayloadsInContext(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(JsonInContext())


class FailuresInContext(DefaultFailureConverter, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Any:
        return FailuresInContext()


class Own(DataConverter):
    """A data converter of the application's."""


class Counted(DefaultPayloadConverter):
    """Counts how often it is made. The SDK makes one for each copy, and does not use it."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.made += 1


class Idle(StorageDriver):
    def name(self) -> str:
        return "idle"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise NotImplementedError

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class StorageInContext(ExternalStorage, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Any:
        return StorageInContext([Idle()])


class NoStores:
    """For a converter without datastores: see `converter.Stores`."""

    def add_to(self, theirs: ExternalStorage | None, codec: EnvelopeCodec) -> ExternalStorage | None:
        return theirs

    restore_in = add_to

    def remove_from(self, storage: ExternalStorage | None) -> ExternalStorage | None:
        return storage


@pytest.fixture
def made() -> Iterator[list[DataConverter]]:
    made: list[DataConverter] = []
    yield made
    for converter in made:
        converter.payload_codec.close()  # type: ignore[union-attr]


@pytest.fixture
def make(made: list[DataConverter]) -> Any:
    def make(base: DataConverter = DataConverter.default, **settings: Any) -> DataConverter:
        converter = envelope_data_converter(FakeKms(), base=base, **settings)
        made.append(converter)
        return converter

    return make


KEPT = {
    "default": DataConverter(),
    "payload converter": DataConverter(payload_converter_class=Counted),
    "codec": DataConverter(payload_codec=Plain()),
    "codec that can't be hashed": DataConverter(payload_codec=Unhashable()),
    "failure converter": DataConverter(failure_converter_class=type("Mine", (DefaultFailureConverter,), {})),
}


@pytest.mark.parametrize("base", KEPT.values(), ids=KEPT.keys())
@pytest.mark.parametrize("sealing", [True, False], ids=["sealing", "reading"])
def test_there_is_one_copy_for_each_variant(base: DataConverter, sealing: bool, make: Any) -> None:
    converter = make(base, sealing=sealing)
    flow, step = converter.with_context(FLOW), converter.with_context(STEP)
    assert len({id(one) for one in (converter, flow, step)}) == 3
    begun = Counted.made
    for one in (converter, flow, step):
        assert one.with_context(FLOW) is flow
        assert one.with_context(OTHER_FLOW) is flow
        assert one.with_context(STEP) is step
        assert one.with_context(NEXUS) is converter
    assert Counted.made == begun


@pytest.mark.parametrize("theirs", [None, ExternalStorage([Idle()])], ids=["ours alone", "beside the application's"])
@pytest.mark.parametrize("storing", [True, False], ids=["storing", "reading"])
def test_there_is_one_copy_for_each_variant_where_payloads_are_stored(
    storing: bool, theirs: ExternalStorage | None, make: Any, tmp_path: Path
) -> None:
    name = "storage" if storing else "former_storage"
    converter = make(DataConverter(external_storage=theirs), **{name: f"file://{tmp_path}"})
    flow, step, nexus = (converter.with_context(context) for context in (FLOW, STEP, NEXUS))
    assert len({id(one.external_storage) for one in (converter, flow, step, nexus)}) == 4
    for one in (converter, flow, step, nexus):
        assert one.with_context(FLOW) is one.with_context(OTHER_FLOW) is flow
        assert one.with_context(STEP) is step
        assert one.with_context(NEXUS) is nexus
    assert len(converter._kept) == 3
    target = StorageDriverStoreContext(target=StorageDriverWorkflowInfo(namespace="default", id="w"))
    bound = flow._with_store_context(target)
    assert bound is not flow
    assert flow.external_storage._store_context.target is None, "a target is for one store alone"
    assert bound.with_context(STEP).external_storage is not step.external_storage


def test_application_storage_alone_takes_no_context(make: Any) -> None:
    converter = make(DataConverter(external_storage=ExternalStorage([Idle()])))
    assert converter.with_context(FLOW) is converter.with_context(OTHER_FLOW)
    assert converter.with_context(FLOW).external_storage is converter.external_storage


@pytest.mark.parametrize("base", KEPT.values(), ids=KEPT.keys())
def test_copy_is_what_the_sdk_makes(base: DataConverter, make: Any) -> None:
    converter = make(base)
    for context in (FLOW, STEP, NEXUS):
        for _ in range(2):
            kept, theirs = converter.with_context(context), DataConverter.with_context(converter, context)
            assert type(kept) is type(converter)
            for name in ("payload_converter_class", "failure_converter_class", "payload_converter"):
                assert getattr(kept, name) is getattr(theirs, name) is getattr(converter, name)
            assert getattr(kept.payload_codec, "codecs", 0) == getattr(theirs.payload_codec, "codecs", 0)


IN_CONTEXT = {
    "payload converter": DataConverter(payload_converter_class=PayloadsInContext),
    "failure converter": DataConverter(failure_converter_class=FailuresInContext),
    "storage": DataConverter(external_storage=StorageInContext([Idle()])),
    "codec": DataConverter(payload_codec=PlainInContext()),
}


@pytest.mark.parametrize("base", IN_CONTEXT.values(), ids=IN_CONTEXT.keys())
def test_part_that_takes_a_context_is_asked_each_time(base: DataConverter, make: Any) -> None:
    converter = make(base)
    for one in (converter, converter.with_context(STEP)):
        first, second = one.with_context(FLOW), one.with_context(FLOW)
        assert first is not second
        differ = [
            field.name
            for field in dataclasses.fields(DataConverter)
            if getattr(first, field.name) is not getattr(second, field.name)
        ]
        assert differ
    assert len(converter._kept) <= 3


def test_payloads_are_converted_in_their_own_context(make: Any) -> None:
    converter = make(DataConverter(payload_converter_class=PayloadsInContext))

    def workflow_of(one: DataConverter) -> Any:
        inner: Any = one.payload_converter
        return inner._inner_payload_converter.converters[b"json/plain"].workflow_id

    for context in (FLOW, OTHER_FLOW, FLOW):
        assert workflow_of(converter.with_context(context)) == context.workflow_id


@pytest.mark.parametrize(
    "settings",
    [{"legacy_codecs": [PlainInContext()]}, {"resolver": lambda context: None}],
    ids=["legacy codecs", "resolver"],
)
def test_codec_with_endless_variants_leaves_none_behind(settings: dict[str, Any], make: Any, tmp_path: Path) -> None:
    converter = make(**settings, storage=f"file://{tmp_path}")
    assert converter.with_context(FLOW) is not converter.with_context(FLOW)
    storage = converter.external_storage
    assert storage.with_context(FLOW) is not storage.with_context(FLOW)
    assert not converter._kept
    assert not storage._kept
    assert not storage.drivers[0]._variants


class Restless(EnvelopeCodec):
    """A codec of the application's own, with a variant for each call."""

    def with_context(self, context: SerializationContext) -> Any:
        return copy.copy(super().with_context(context))


@pytest.mark.parametrize("base", [None, Plain()], ids=["alone", "in a chain"])
def test_subclass_with_endless_variants_leaves_none_behind(base: PayloadCodec | None, make: Any) -> None:
    codec = Restless(FakeKms())
    converter = merge_codec(DataConverter(payload_codec=base), codec, NoStores())
    assert isinstance(converter, CachingConverter)
    assert converter.with_context(FLOW) is not converter.with_context(FLOW)
    assert not converter._kept
    codec.close()


def test_legacy_codec_without_contexts_does_no_harm(make: Any) -> None:
    converter = make(legacy_codecs=[Plain()])
    assert converter.with_context(FLOW) is converter.with_context(OTHER_FLOW)


def test_turns_from_one_context_to_another_do_not_add_up(make: Any) -> None:
    converter = one = make(DataConverter(payload_codec=Plain()))
    for _ in range(100):
        one = one.with_context(FLOW).with_context(STEP)
    gc.collect()
    codec = converter.payload_codec
    living = [each for each in gc.get_objects() if type(each) in (CachingConverter, type(codec))]
    ours = [each for each in living if each is converter or getattr(each, "_kept", 0) in (converter._kept, codec._kept)]
    assert len(ours) <= 6
    assert len(converter._kept) <= 3


def test_converter_of_the_applications_own_class_stays_as_it_is(make: Any) -> None:
    converter = make(Own())
    assert isinstance(converter, Own)
    assert not isinstance(converter, CachingConverter)
    assert converter.with_context(FLOW) is not converter.with_context(FLOW)


def test_sdk_with_a_part_that_is_not_known_keeps_no_copies(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that a later SDK adds may depend on the context."""
    monkeypatch.setattr(caching_converter, "_PARTS", caching_converter._PARTS - {"external_storage"})
    assert type(make()) is DataConverter


def test_cache_is_no_part_of_the_converters_value(make: Any) -> None:
    converter = make()
    before, said = hash(converter), repr(converter)
    twin = copy.copy(converter)
    converter.with_context(FLOW)
    assert converter == twin
    assert hash(converter) == before
    assert repr(converter) == said


def test_replaced_converter_begins_with_an_empty_cache(make: Any) -> None:
    converter = make()
    flow = converter.with_context(FLOW)
    other = dataclasses.replace(converter, payload_converter_class=Counted)
    assert type(other) is CachingConverter
    again = other.with_context(FLOW)
    assert again is not flow
    assert again.payload_converter is other.payload_converter
    assert other.with_context(FLOW) is again
    assert converter.with_context(FLOW) is flow


def test_part_that_is_changed_in_place_is_seen(make: Any) -> None:
    """As a class does that has its own converter whatever the settings say."""
    converter = make()
    converter.with_context(FLOW)
    payloads = DefaultPayloadConverter()
    object.__setattr__(converter, "payload_converter", payloads)
    assert converter.with_context(FLOW).payload_converter is payloads


async def test_failures_of_kept_copies_leave_sealed(make: Any) -> None:
    converter = make(DataConverter(payload_converter_class=Counted))
    for one in (converter, converter.with_context(FLOW), converter.with_context(FLOW)):
        failure = Failure()
        await one.encode_failure(ValueError("marigold"), failure)
        assert b"marigold" not in failure.SerializeToString()
        assert "marigold" in str(await one.decode_failure(failure))


async def test_copies_for_two_contexts_open_each_others_payloads(make: Any) -> None:
    converter = make()
    [sealed] = await converter.with_context(FLOW).encode(["marigold"])
    assert isinstance(sealed, Payload)
    assert await converter.with_context(STEP).decode([sealed]) == ["marigold"]


def test_codec_that_is_applied_again_finds_the_same_converter(make: Any) -> None:
    converter = make()
    codec = converter.payload_codec
    again = EnvelopeCodec(codec.config, namespace=codec.namespace, keyring=codec.keyring)
    assert apply_codec(converter, again, NoStores()) is converter
    other = EnvelopeCodec(codec.config, namespace="other", keyring=codec.keyring)
    moved = apply_codec(converter, other, NoStores())
    assert moved.with_context(FLOW) is moved.with_context(OTHER_FLOW)
