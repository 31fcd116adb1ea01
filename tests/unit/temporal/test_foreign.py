"""What an application's own codec, driver or selector raises is told by nobody but the log."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    PayloadCodec,
    SerializationContext,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverStoreContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from envelope_codec import (
    EnvelopeConfig,
    EnvelopeError,
    Event,
    ExtensionFailed,
    InvalidCiphertext,
    KeyNotConfigured,
    SealingContext,
    StoreUnavailable,
    envelope_data_converter,
)
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.temporal.chain import CodecChain
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

SECRET = "ada-owes-12.50"
CONTEXT = WorkflowSerializationContext(namespace="default", workflow_id="w")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"ada-owes-12.50"')


class Odd(BaseException):
    """No `Exception`."""


class Posing(EnvelopeError):
    """Says that it is one of ours."""


RAISED: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: ValueError(SECRET),
    "an order to fail the workflow": lambda: ApplicationError(SECRET, SECRET, non_retryable=True),
    "a cancellation that nobody asked for": lambda: asyncio.CancelledError(SECRET),
    "no Exception": lambda: Odd(SECRET),
    "the end of a generator": lambda: GeneratorExit(SECRET),
    "one that poses as ours": lambda: Posing(SECRET),
    "one whose text can't be had": lambda: Mute(),
    "one that can't be printed": lambda: Noted(SECRET),
    "one whose class can't be asked": lambda: Classless(SECRET),
    "one in a group": lambda: Grouped(SECRET),
}


class Noted(Exception):
    @property
    def __notes__(self) -> Any:
        raise ValueError(SECRET)


class Classless(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError(SECRET)


class Grouped(Exception):
    @property
    def exceptions(self) -> Any:
        raise ValueError(SECRET)


class Mute(Exception):
    """Raises again where it is shown."""

    def __str__(self) -> str:
        raise ValueError(SECRET)


class Failing(PayloadCodec, WithSerializationContext):
    """Raises, in the method that is named."""

    def __init__(self, where: str, make: Callable[[], BaseException]) -> None:
        self.where, self.make = where, make

    def _at(self, where: str) -> None:
        if where == self.where:
            raise self.make()

    def with_context(self, context: SerializationContext) -> Failing:
        self._at("with_context")
        return Failing("encode", self.make) if self.where == "later" else self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        self._at("encode")
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        self._at("decode")
        return list(payloads)


def converter(codec: PayloadCodec | None = None, **settings: Any) -> DataConverter:
    return envelope_data_converter(FakeKms(), base=DataConverter(payload_codec=codec, **settings))


async def round_trip(used: DataConverter) -> None:
    used = used.with_context(CONTEXT)
    await used.decode(await used.encode([SECRET]))


def told_nothing(error: BaseException) -> None:
    """The error holds none of their words, at any depth, and no frame of ours shows the payloads."""
    assert type(error) is ExtensionFailed
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(error))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        assert not _ours(frame) or SECRET not in repr(frame.f_locals)


def _ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("envelope_codec")


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says, traceback included. Its frames are all theirs."""
    for record in caplog.records:
        if record.exc_info and record.exc_info[1] is not None:
            assert not any(_ours(frame) for frame, _ in traceback.walk_tb(record.exc_info[2]))
    return caplog.text


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("where", ["encode", "decode", "with_context", "later"])
async def test_a_codec_that_fails(
    where: str, make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EnvelopeError) as caught:
        await round_trip(converter(Failing(where, make)))
    told_nothing(caught.value)
    assert str(caught.value) == "the application's payload codec failed"
    assert "the application's payload codec Failing failed" in logged(caplog)


async def test_the_log_has_their_words(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ExtensionFailed):
        await converter(Failing("encode", RAISED["an error"])).encode(["x"])
    assert f"ValueError: {SECRET}" in logged(caplog)
    assert "test_foreign.py" in caplog.text, "and where they were said"


async def test_errors_of_ours_pass() -> None:
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms()))
    with pytest.raises(InvalidCiphertext, match="a legacy codec could not open the payload"):
        await CodecChain([Failing("decode", _of_ours), codec]).decode(await codec.encode([PLAIN]))


def _of_ours() -> BaseException:
    return InvalidCiphertext("a legacy codec could not open the payload", operation="open")


@pytest.mark.parametrize("answer", [None, 7, [SECRET], [None]])
async def test_an_answer_of_no_use(answer: Any) -> None:
    class Useless(PayloadCodec):
        async def encode(self, payloads: Any) -> Any:
            return answer

        async def decode(self, payloads: Any) -> Any:
            return answer

    for call in (CodecChain([Useless()]).encode, CodecChain([Useless()]).decode):
        with pytest.raises(ExtensionFailed) as caught:
            await call([PLAIN])
        told_nothing(caught.value)


class Waiting(PayloadCodec):
    """Waits, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), False

    async def encode(self, payloads: Any) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def decode(self, payloads: Any) -> Any:
        return await self.encode(payloads)


async def test_the_callers_own_cancellation_passes_and_ends_the_codec() -> None:
    codec = Waiting()
    task = asyncio.ensure_future(converter(codec).encode(["x"]))
    await codec.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert codec.cancelled


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_passes(end: type[BaseException]) -> None:
    with pytest.raises(end):
        asyncio.run(converter(Failing("encode", end)).encode(["x"]))


# --- external storage -------------------------------------------------------------------------------------------------


class Driver(StorageDriver):
    """Keeps payloads, and fails in the method that is named."""

    def __init__(self, where: str = "", make: Callable[[], BaseException] = Odd, claims: Any = None) -> None:
        self.where, self.make, self.claims = where, make, claims
        self.kept: list[Payload] = []

    def name(self) -> str:
        return "theirs"

    async def store(self, context: Any, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        if self.where == "store":
            raise self.make()
        if self.claims is not None:
            return list(self.claims)
        self.kept.extend(payloads)
        return [StorageDriverClaim({"at": str(self.kept.index(payload))}) for payload in payloads]

    async def retrieve(self, context: Any, claims: Sequence[StorageDriverClaim]) -> list[Payload]:
        if self.where == "retrieve":
            raise self.make()
        return [self.kept[int(claim.claim_data["at"])] for claim in claims]


def stored_by(driver: Driver, select: Any = None) -> DataConverter:
    return converter(
        external_storage=ExternalStorage(drivers=[driver], driver_selector=select, payload_size_threshold=0)
    )


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("where", ["store", "retrieve"])
async def test_a_driver_that_fails_where_our_own_storage_is_off(
    where: str, make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    used = stored_by(Driver(where, make)).with_context(CONTEXT)
    with pytest.raises(EnvelopeError) as caught:
        await used.decode(await used.encode([SECRET]))
    told_nothing(caught.value)
    assert "the application's storage driver Driver failed" in logged(caplog)


async def test_a_driver_that_works_goes_on_working() -> None:
    driver = Driver()
    used = stored_by(driver)
    assert await used.with_context(CONTEXT).decode(await used.encode([SECRET, 7])) == [SECRET, 7]
    assert len(driver.kept) == 2


@pytest.mark.parametrize("claims", [[], [SECRET], [StorageDriverClaim({"at": 7})], [7, 7]])  # type: ignore[dict-item]
async def test_claims_of_no_use(claims: Any) -> None:
    with pytest.raises(ExtensionFailed) as caught:
        await stored_by(Driver(claims=claims)).encode([SECRET])
    told_nothing(caught.value)


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
async def test_a_selector_that_fails(make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def select(context: Any, payload: Payload) -> StorageDriver | None:
        raise make()

    with pytest.raises(EnvelopeError) as caught:
        await stored_by(Driver(), select).encode([SECRET])
    told_nothing(caught.value)
    assert "the application's driver selector" in logged(caplog)


async def test_a_selector_may_leave_a_payload_or_choose_what_is_not_there() -> None:
    [inline] = await stored_by(Driver(), lambda context, payload: None).encode([SECRET])
    assert inline.metadata["encoding"] == b"binary/envelope-v1"
    with pytest.raises(ExtensionFailed):
        await stored_by(Driver(), lambda context, payload: Driver()).encode([SECRET])


# --- codecs from before -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("where", ["decode", "with_context"])
async def test_a_legacy_codec_that_fails(
    where: str, make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    used = envelope_data_converter(FakeKms(), legacy_codecs=[Failing(where, make)])
    with pytest.raises(EnvelopeError) as caught:
        await used.with_context(CONTEXT).decode([PLAIN])
    assert type(caught.value) in (ExtensionFailed, InvalidCiphertext)
    assert caught.value.__context__ is None
    assert "legacy codec Failing failed" in logged(caplog)


# --- whatever else the application brings -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
async def test_an_observer_that_fails_fails_no_payload(make: Callable[[], BaseException]) -> None:
    class Observing:
        def on_event(self, event: Event) -> None:
            raise make()

    used = envelope_data_converter(FakeKms(), observer=Observing())
    assert await used.decode(await used.encode([SECRET])) == [SECRET]


@pytest.mark.parametrize("name", ["an error", "a cancellation that nobody asked for", "no Exception"])
async def test_a_resolver_that_fails(name: str, caplog: pytest.LogCaptureFixture) -> None:
    def resolve(context: SealingContext) -> None:
        raise RAISED[name]()

    used = envelope_data_converter(FakeKms(), resolver=resolve)
    with pytest.raises(KeyNotConfigured, match="the resolver gave no master key to seal with"):
        await used.encode([SECRET])
    assert "the resolver failed" in caplog.text


@pytest.mark.parametrize("name", ["a cancellation that nobody asked for", "no Exception", "the end of a generator"])
async def test_a_store_that_fails(name: str) -> None:
    class Failed:
        async def put(self, id: str, data: bytes) -> None:
            raise RAISED[name]()

        async def close(self) -> None:
            pass

    class Url:
        name = "failing"

        def open(self) -> Any:
            return Failed()

    driver = EnvelopeDriver(Pool(Url()), EnvelopeCodec(EnvelopeConfig(key=FakeKms(), timeout=0.2)))  # type: ignore[arg-type]
    [envelope] = await driver.codec.encode([PLAIN])
    with pytest.raises(StoreUnavailable):
        await driver.store(StorageDriverStoreContext(), [envelope])
