"""A user's own data converter: whatever it makes of a failure leaves sealed."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import traceback
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    ExternalStorage,
    PayloadConverter,
    SerializationContext,
    StorageDriver,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from envelope_codec import (
    ConfigurationError,
    EncryptionRequired,
    EnvelopePlugin,
    ExtensionFailed,
    KeyDenied,
    envelope_data_converter,
)
from envelope_codec.envelope import ENCODING
from envelope_codec.temporal.caching_converter import CachingConverter
from envelope_codec.temporal.codec import is_envelope
from envelope_codec.temporal.failure_attributes import is_hidden
from envelope_codec.temporal.payload_walk import payloads_in
from envelope_codec.testing import FakeKms

SECRET = "marigold"
CONTEXT = WorkflowSerializationContext(namespace="default", workflow_id="w")
STORE = StorageDriverStoreContext(target=StorageDriverWorkflowInfo(id="w", namespace="default"))


class Idle(StorageDriver):
    def name(self) -> str:
        return "idle"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise NotImplementedError

    async def retrieve(self, context: Any, claims: Any) -> Any:
        raise NotImplementedError


class Leaving(DataConverter):
    """Writes a message into what the SDK has sealed."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        await super().encode_failure(exception, failure)
        failure.message = f"of mine: {exception}"
        failure.cause.stack_trace = str(exception)


class ByHand(DataConverter):
    """Asks neither failure converter nor codec."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = str(exception)
        failure.application_failure_info.type = "ByHand"
        failure.application_failure_info.details.payloads.append(self.payload_converter.to_payload(SECRET))
        failure.cause.canceled_failure_info.details.payloads.append(self.payload_converter.to_payload(SECRET))


class Failing(DataConverter):
    """Fails when the work is half done."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = str(exception)
        raise RuntimeError(f"no way with {SECRET}")


class InClear(DefaultFailureConverter):
    """What one class puts there, past the setting."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        failure.message = f"in clear: {exception}"


class Putting(DataConverter):
    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "failure_converter", InClear())


class Forgetting(DataConverter):
    """Makes another of its own for a context, and forgets who made this one."""

    def with_context(self, context: SerializationContext) -> Any:
        return Forgetting(self.payload_converter_class, self.payload_codec, InClear)

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = str(exception)


@dataclass(frozen=True)
class WithField(Leaving):
    """Has a setting of its own."""

    mine: int = 7


@dataclass(frozen=True, slots=True)
class Slotted(DataConverter):
    """Keeps its state elsewhere."""

    mine: int = 7

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = str(exception)


class Closed(DataConverter):
    """Lets nobody extend it."""

    def __init_subclass__(cls) -> None:
        raise TypeError("closed")

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = str(exception)


class Odd(BaseException):
    """No `Exception`."""


class Cancelling(DataConverter):
    """Says that the task was cancelled, which nobody has asked for."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        raise asyncio.CancelledError(SECRET) if sys.version_info >= (3, 11) else Odd(SECRET)


class Ending(DataConverter):
    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        failure.message = SECRET
        raise Odd(SECRET)


class Posing(DataConverter):
    """Makes details that look like what the server writes, or like envelopes."""

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        details = failure.application_failure_info.details.payloads
        details.append(self.payload_converter.to_payload({"message": "", "details": SECRET}))
        details.add(metadata={"encoding": ENCODING}, data=SECRET.encode())


class InContext(DataConverter):
    """Has a failure converter of its own for each context."""

    def with_context(self, context: SerializationContext) -> Any:
        made = dataclasses.replace(super().with_context(context))
        object.__setattr__(made, "failure_converter", InClear())
        return made


CONVERTERS = [
    Leaving,
    ByHand,
    Failing,
    Putting,
    Forgetting,
    WithField,
    Slotted,
    Cancelling,
    Ending,
    InContext,
]


async def client(converter: DataConverter, plugin: EnvelopePlugin) -> Client:
    return await Client.connect("127.0.0.1:1", lazy=True, plugins=[plugin], data_converter=converter)


def variants(converter: DataConverter) -> list[DataConverter]:
    """As the SDK makes them, for each activity."""
    return [converter, converter.with_context(CONTEXT), converter._with_contexts(CONTEXT, STORE)]


@pytest.mark.parametrize("kind", CONVERTERS)
@pytest.mark.parametrize("storage", [None, ExternalStorage([Idle()])], ids=["", "storage"])
async def test_failure_leaves_sealed(kind: type[DataConverter], storage: ExternalStorage | None) -> None:
    error = ApplicationError(SECRET, Decimal(1), type="Declined")
    with EnvelopePlugin(FakeKms()) as plugin:
        made = (await client(kind(external_storage=storage), plugin)).data_converter
        for converter in variants(made):
            failure = Failure()
            await converter.encode_failure(error, failure)
            assert SECRET.encode() not in failure.SerializeToString()
            assert is_hidden(failure)
            assert all(map(is_envelope, payloads_in(failure)))
            again = await converter.decode_failure(failure)
            assert SECRET in str(again)


@pytest.mark.parametrize("kind", CONVERTERS)
async def test_converter_stays_of_the_users_class_and_is_made_once(kind: type[DataConverter]) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        made = await client(kind(), plugin)
        plugin.verify(made)
        assert isinstance(made.data_converter, kind)
        again = Client(**made.config(active_config=True))
        assert again.data_converter is made.data_converter
        copied = dataclasses.replace(made.data_converter, external_storage=ExternalStorage([Idle()]))
        assert type(copied) is type(made.data_converter)
        assert getattr(copied, "mine", 7) == 7


@pytest.mark.parametrize("kind", [WithField, Slotted])
async def test_state_of_a_converter_is_kept(kind: Any) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        made: Any = (await client(kind(mine=8), plugin)).data_converter
        assert isinstance(made, kind)
        assert made.mine == 8
        contextual = made.with_context(CONTEXT)
        assert isinstance(contextual, kind)
        assert contextual.mine == 8


async def test_class_that_can_not_be_extended_is_refused() -> None:
    said = "class Closed can't be extended: closed"
    with EnvelopePlugin(FakeKms()) as plugin, pytest.raises(ConfigurationError, match=said):
        await client(Closed(), plugin)


async def test_nothing_that_poses_as_sealed_stays_in_clear() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        made = (await client(Posing(), plugin)).data_converter
        failure = Failure()
        await made.encode_failure(ApplicationError(SECRET), failure)
    assert SECRET.encode() not in failure.SerializeToString()
    assert all(map(is_envelope, payloads_in(failure)))


async def test_a_contexts_failure_converter_hides() -> None:
    """The SDK asks it past the data converter, in workflows and Nexus operations."""
    with EnvelopePlugin(FakeKms()) as plugin:
        made = (await client(InContext(), plugin)).data_converter
        for converter in variants(made):
            failure = Failure()
            converter.failure_converter.to_failure(ValueError(SECRET), converter.payload_converter, failure)
            assert is_hidden(failure)


class Refusing(DefaultPayloadConverter, WithSerializationContext):
    """Fails when it is made for a context."""

    def with_context(self, context: SerializationContext) -> Any:
        raise ValueError(SECRET)


class Used(DefaultPayloadConverter):
    """Can't be made any more once it was."""

    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        if self.made:
            raise Odd(SECRET)
        super().__init__()


class RefusingItself(DataConverter):
    def with_context(self, context: SerializationContext) -> Any:
        raise ValueError(SECRET)


@pytest.mark.parametrize("storage", [None, ExternalStorage([Idle()])], ids=["", "storage"])
@pytest.mark.parametrize(
    "base",
    [DataConverter(payload_converter_class=Refusing), DataConverter(payload_converter_class=Used), RefusingItself()],
    ids=["payload converter", "its making", "data converter"],
)
async def test_what_is_raised_while_the_sdk_encodes_is_ours(
    base: DataConverter, storage: ExternalStorage | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes a converter for the context of each command, and stores the words of what is raised meanwhile."""
    with EnvelopePlugin(FakeKms()) as plugin:
        made = (await client(dataclasses.replace(base, external_storage=storage), plugin)).data_converter
        plugin.verify(await client(made, plugin))
        monkeypatch.setattr(Used, "made", [1])
        with pytest.raises(ExtensionFailed, match=r"^the application's data converter failed$") as raised:
            made._with_contexts(CONTEXT, STORE)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


class Harmless(DataConverter):
    """Changes nothing of failures."""

    async def encode(self, values: Any) -> list[Payload]:
        return await super().encode(values)


@pytest.mark.parametrize(("kind", "expected"), [(DataConverter, CachingConverter), (Harmless, Harmless)])
async def test_class_that_leaves_failures_alone_is_not_extended(
    kind: type[DataConverter], expected: type[DataConverter]
) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        assert type((await client(kind(), plugin)).data_converter) is expected


async def test_class_stays_the_same_without_sealing() -> None:
    with EnvelopePlugin(FakeKms(), sealing=False) as plugin:
        made = (await client(ByHand(), plugin)).data_converter
        assert type(made) is ByHand
        failure = Failure()
        await made.encode_failure(ValueError(SECRET), failure)
        assert failure.message == SECRET


async def test_converter_of_ones_own_seals_failures_as_well() -> None:
    made = envelope_data_converter(FakeKms(), base=ByHand())
    failure = Failure()
    await made.encode_failure(ValueError(SECRET), failure)
    assert SECRET.encode() not in failure.SerializeToString()


async def test_key_that_can_not_be_had_is_told() -> None:
    kms = FakeKms()
    kms.denied = True
    with EnvelopePlugin(kms) as plugin:
        for kind in CONVERTERS:
            failure = Failure()
            with pytest.raises(KeyDenied):
                await (await client(kind(), plugin)).data_converter.encode_failure(ValueError(SECRET), failure)
            assert failure == Failure()


async def test_words_of_a_failing_converter_get_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        failure = Failure()
        await (await client(Failing(), plugin)).data_converter.encode_failure(ValueError(SECRET), failure)
    assert is_hidden(failure)
    assert "the data converter Failing failed: RuntimeError" in caplog.text


async def test_later_plugin_that_takes_the_class_away_is_detected() -> None:
    with EnvelopePlugin(FakeKms()) as plugin:
        config: Any = (await client(ByHand(), plugin)).config(active_config=True)
        sealed = config["data_converter"]
        assert isinstance(sealed, ByHand)
        other = ByHand(sealed.payload_converter_class, sealed.payload_codec, sealed.failure_converter_class)
        changed = Client(**{**config, "plugins": [], "interceptors": [], "data_converter": other})
        with pytest.raises(ConfigurationError, match="leaves messages and stack traces in clear"):
            plugin.verify(changed)


async def test_text_of_a_failure_in_clear_is_believed_and_no_payload_in_it_is() -> None:
    """The server and the SDK's core write failures in clear themselves, so their texts are not to be refused."""
    converter = envelope_data_converter(FakeKms(), require_encryption=True)
    made_up = Failure(message="pay mallory", stack_trace="line 1")
    made_up.application_failure_info.type = "Paid"
    error = await converter.decode_failure(made_up)
    assert isinstance(error, ApplicationError)
    assert (error.message, error.type) == ("pay mallory", "Paid")

    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'{"message": "pay mallory", "stack_trace": ""}')
    in_details, in_attributes = Failure(), Failure(encoded_attributes=plain)
    in_details.application_failure_info.details.payloads.add().CopyFrom(plain)
    for failure in (in_details, in_attributes):
        with pytest.raises(EncryptionRequired):
            await converter.decode_failure(failure)
