"""Large payloads are worked on in threads, and calls of many payloads in shares: the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, InvalidCiphertext
from envelope_codec.envelope import seal
from envelope_codec.observe import Event
from envelope_codec.temporal import large_payloads, zstd_frame
from envelope_codec.temporal.inner_payload import COMPRESSED
from envelope_codec.temporal.large_payloads import EACH, LARGE, SHARE, work_in_thread, work_on
from envelope_codec.testing import FakeKms
from tests.support.forked_child import in_child
from tests.support.frame_walker import Sentinels, leaks

SECRET = b"marigold"
SMALL = Payload(metadata={"encoding": b"json/plain"}, data=b"small")


def large(fill: bytes = b"x", size: int = LARGE + 1) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=(fill * size)[:size])


@pytest.fixture(params=["wrapping-key", "direct"])
def codec(request: pytest.FixtureRequest) -> Iterator[EnvelopeCodec]:
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), wrapping=request.param))
    yield codec
    codec.close()


class Turns:
    """Counts how often the event loop did other work while something was awaited."""

    async def during(self, work: Awaitable[Any]) -> Any:
        self.count, self._over = 0, False
        self._take()
        try:
            return await work
        finally:
            self._over = True

    def _take(self) -> None:
        if not self._over:
            self.count += 1
            asyncio.get_running_loop().call_soon(self._take)


async def warm(codec: EnvelopeCodec) -> None:
    await codec.decode(await codec.encode([SMALL]))


async def test_order_and_content_stay(codec: EnvelopeCodec) -> None:
    plain = [large(b"a"), SMALL, large(b"b", LARGE + 100), SMALL, large(b"c", LARGE), Payload()]
    before = [payload.SerializeToString() for payload in plain]
    sealed = await codec.encode(plain)
    assert await codec.decode(sealed) == plain
    assert [payload.SerializeToString() for payload in plain] == before
    assert len({payload.data for payload in sealed}) == len(plain)


async def test_loop_goes_on_while_a_large_payload_is_worked_on() -> None:
    codec, turns = EnvelopeCodec(FakeKms()), Turns()
    await warm(codec)
    [sealed] = await turns.during(codec.encode([large()]))
    assert turns.count > 1
    assert await turns.during(codec.decode([sealed])) == [large()]
    assert turns.count > 1
    codec.close()


async def test_other_payloads_need_no_turn_of_the_loop() -> None:
    codec, turns = EnvelopeCodec(FakeKms()), Turns()
    await warm(codec)
    sealed = await turns.during(codec.encode([large(size=LARGE - 1_000), SMALL]))
    assert turns.count == 1
    await turns.during(codec.decode(sealed))
    assert turns.count == 1
    codec.close()


@pytest.mark.parametrize("size", [1, 100_000])
async def test_loop_gets_its_turns_during_a_call_of_many_payloads(size: int) -> None:
    codec, turns = EnvelopeCodec(FakeKms()), Turns()
    await warm(codec)
    most = SHARE // (size + EACH) + 1  # payloads from one turn to the next
    plain = [large(b"y", size)] * (3 * most + 1)
    sealed = await turns.during(codec.encode(plain))
    assert turns.count == 1 + 3
    assert await turns.during(codec.decode(sealed)) == plain
    assert turns.count >= 1 + 3
    codec.close()


MANY_FIELDS = {
    "entries": b"\x0a\x00",
    "long varints": b"\xa0\x80\x80\x80\x00" + b"\x80" * 9 + b"\x00",
}


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("field", MANY_FIELDS.values(), ids=MANY_FIELDS)
async def test_loop_gets_its_turns_while_somebody_looks_at_many_fields(field: bytes, compressed: bool) -> None:
    codec, turns = EnvelopeCodec(FakeKms()), Turns()
    await warm(codec)
    content = field * 1_024
    if compressed:
        data = b"".join(zstd_frame.compress(content))
        content = Payload(metadata={"encoding": COMPRESSED}, data=data).SerializeToString()
    key = await codec.keyring.sealing_key("default")
    wrapped, sealed = seal(content, key.record, key.key)
    assert wrapped is not None
    envelope = Payload(metadata={**key.record.metadata, "encryption-data-key": wrapped}, data=sealed)
    reader = codec if compressed else codec.with_budget(lambda size: None)
    await turns.during(reader.decode([envelope] * 20))
    assert turns.count >= 10
    codec.close()


async def test_loop_gets_its_turns_while_payloads_of_many_fields_are_compressed() -> None:
    codec, turns = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression="zstd")), Turns()
    await warm(codec)
    await turns.during(codec.encode([Payload(metadata={f"{number:03x}": b"" for number in range(1_000)})] * 20))
    assert turns.count >= 7
    codec.close()


WORDS = b"".join(b'{"id": %d, "lamp": "green"},' % number for number in range(100_000))


def text(size: int) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=WORDS[:size])


OWN = Payload(metadata={"encoding": COMPRESSED}, data=WORDS[:200_000])


@pytest.mark.parametrize(("plain", "compression"), [(text(200_000), "zstd"), (OWN, "none"), (OWN, "zstd")])
async def test_loop_goes_on_while_a_payload_is_compressed(plain: Payload, compression: Any) -> None:
    codec, turns = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression=compression)), Turns()
    await warm(codec)
    [sealed] = await turns.during(codec.encode([plain]))
    assert turns.count > 1
    assert await codec.decode([sealed]) == [plain]
    codec.close()


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_loop_goes_on_while_a_small_envelope_yields_much(wrapping: Any) -> None:
    codec, turns = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression="zstd", wrapping=wrapping)), Turns()
    await warm(codec)
    plain = text(2 * LARGE)
    [sealed] = await codec.encode([plain])
    assert len(sealed.data) < LARGE
    await codec.decode([sealed])
    assert await turns.during(codec.decode([sealed])) == [plain]
    assert turns.count > 1
    codec.close()


async def test_loop_goes_on_while_a_frame_of_many_blocks_yields_little() -> None:
    """Each block takes its time. There are 300,000 empty ones here."""
    codec, turns = EnvelopeCodec(FakeKms()), Turns()
    await warm(codec)
    plain = SMALL.SerializeToString()
    blocks = b"\x00\x00\x00" * 300_000 + (len(plain) << 3 | 1).to_bytes(3, "little") + plain
    data = len(plain).to_bytes(4, "big") + b"\x28\xb5\x2f\xfd\x00\x38" + blocks
    key = await codec.keyring.sealing_key("default")
    inner = Payload(metadata={"encoding": COMPRESSED}, data=data).SerializeToString()
    wrapped, sealed = seal(inner, key.record, key.key)
    assert wrapped is not None
    envelope = Payload(metadata={**key.record.metadata, "encryption-data-key": wrapped}, data=sealed)
    assert len(envelope.data) < LARGE
    assert await turns.during(codec.decode([envelope])) == [SMALL]
    assert turns.count > 1
    codec.close()


async def test_what_comes_out_of_compression_counts_for_the_turns_of_the_loop() -> None:
    codec, turns = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression="zstd")), Turns()
    await warm(codec)
    plain = [text(100_000)] * 40
    sealed = await turns.during(codec.encode(plain))
    assert turns.count > 40 * 100_000 // SHARE + 1
    assert sum(len(payload.data) for payload in sealed) < SHARE
    assert await turns.during(codec.decode(sealed)) == plain
    assert turns.count > 40 * 100_000 // SHARE + 1
    codec.close()


async def test_event_of_compression_asks_protobuf_for_no_sizes() -> None:
    """It would write each payload once more, on the event loop."""
    seen: list[Event] = []

    class Events:
        def on_event(self, event: Event) -> None:
            seen.append(event)

    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression="zstd"), observer=Events())
    await warm(codec)
    seen.clear()
    plain = [text(LARGE + 1), SMALL]
    before = sum(len(payload.SerializeToString()) for payload in plain)
    writes: list[int] = []

    class Counting:
        """A payload that tells when it is asked for its size."""

        def __init__(self, payload: Payload) -> None:
            self._payload = payload

        def ByteSize(self) -> int:
            writes.append(1)
            return self._payload.ByteSize()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._payload, name)

    given: Any = [Counting(payload) for payload in plain]
    await codec.encode(given)
    [event] = [event for event in seen if event.operation == "compress"]
    assert (event.payloads, event.bytes_before) == (2, before)
    assert not writes
    codec.close()


async def test_error_is_as_it_is_for_small_payloads(codec: EnvelopeCodec) -> None:
    [sealed] = await codec.encode([large(SECRET)])
    bad = Payload()
    bad.CopyFrom(sealed)
    bad.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    with pytest.raises(InvalidCiphertext, match=r"^the payload is not what was sealed$") as raised:
        await codec.decode([sealed, bad])
    assert not leaks(raised.value, Sentinels(SECRET * 3))
    assert await codec.decode([sealed]) == [large(SECRET)]


@pytest.mark.parametrize("operation", ["encode", "decode"])
async def test_cancelled_caller_leaves_nothing_behind(codec: EnvelopeCodec, operation: str) -> None:
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    await warm(codec)
    [sealed] = await codec.encode([large()])
    bad = Payload()
    bad.CopyFrom(sealed)
    bad.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    call, given = (codec.encode, large()) if operation == "encode" else (codec.decode, bad)
    task = asyncio.create_task(call([given]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    assert await codec.decode(await codec.encode([large()])) == [large()]
    gc.collect()
    assert not said


async def test_result_belongs_to_the_caller_alone() -> None:
    """A thread's future would keep it until Python looks for circles."""
    codec = EnvelopeCodec(FakeKms())
    gc.disable()
    try:
        [sealed] = await codec.encode([large()])
        [opened] = await codec.decode([sealed])
        plain = Payload()
        own = sys.getrefcount(plain)
        deadline = time.monotonic() + 60
        while {sys.getrefcount(sealed), sys.getrefcount(opened)} != {own}:  # the thread may not have let go yet
            assert time.monotonic() < deadline, "something keeps it"
            await asyncio.sleep(0)
    finally:
        gc.enable()
        codec.close()


# --- turns ------------------------------------------------------------------------------------------------------------


class Work:
    """Work that goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.go = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._begins = asyncio.Semaphore(0)

    def __call__(self, key: int) -> int:
        self.begun.append(key)
        self._loop.call_soon_threadsafe(self._begins.release)
        assert self.go.wait(60)
        return key

    async def begins(self, times: int) -> None:
        for _ in range(times):
            await self._begins.acquire()


async def never() -> int:
    raise AssertionError("no key is needed")


async def test_few_are_worked_on_at_a_time() -> None:
    work, most = Work(), large_payloads._THREADS
    tasks = [asyncio.create_task(work_in_thread(work, n, lambda n=n: n, never)) for n in range(20)]  # type: ignore[misc]
    await work.begins(most)
    for _ in range(100):
        await asyncio.sleep(0)
    assert sorted(work.begun) == list(range(most))
    work.go.set()
    assert await asyncio.gather(*tasks) == list(range(20))


async def test_key_whose_lease_ended_in_the_queue_is_not_used() -> None:
    """And who waits for the KMS keeps nobody from a thread."""
    work, most = Work(), large_payloads._THREADS
    tasks = [asyncio.create_task(work_in_thread(work, n, lambda: None, never)) for n in range(most)]
    await work.begins(most)
    asked, answer = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def get() -> str:
        asked.set()
        return str(await answer)

    waiting = asyncio.create_task(work_in_thread(str, "old", lambda: None, get))
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*tasks) == list(range(most))
    await asked.wait()
    others = [work_in_thread(str, f"other {n}", lambda: "no", never) for n in range(most)]  # type: ignore[arg-type]
    assert await asyncio.gather(*others) == [f"other {n}" for n in range(most)]
    answer.set_result("new")
    assert await waiting == "new"


async def test_cancelled_callers_give_their_turns_back() -> None:
    work, most = Work(), large_payloads._THREADS
    tasks = [asyncio.create_task(work_in_thread(work, n, lambda: None, never)) for n in range(most + 5)]
    await work.begins(most)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    work.go.set()
    assert await work_in_thread(str, 1, lambda: None, never) == "1"
    assert len(work.begun) == most


@pytest.mark.parametrize("operation", ["encode", "decode"])
async def test_callers_that_wait_for_a_turn_hold_no_copy(codec: EnvelopeCodec, operation: str) -> None:
    """`tracemalloc` sees what Python holds, and not the payloads of protobuf themselves."""
    await warm(codec)
    given = [large()] if operation == "encode" else await codec.encode([large()])
    call = codec.encode if operation == "encode" else codec.decode
    await call(given)
    work, most = Work(), large_payloads._THREADS
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(work_in_thread(work, n, lambda n=n: n, never))  # type: ignore[misc]
        for n in range(most)
    ]
    await work.begins(most)
    tracemalloc.start()
    try:
        waiting = [asyncio.create_task(call(given)) for _ in range(5)]
        for _ in range(20):
            await asyncio.sleep(0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    work.go.set()
    await asyncio.gather(*tasks, *waiting)
    assert held < LARGE


async def test_process_that_starts_no_threads_any_more_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    threads = large_payloads._Threads()
    assert await threads.run(lambda key: (key, threading.current_thread()), 1) == (1, threading.current_thread())


async def test_base_exception_of_a_thread_is_raised_where_it_was_asked_for() -> None:
    class Odd(BaseException):
        pass

    def fail(key: int) -> int:
        raise Odd

    with pytest.raises(Odd):
        await work_in_thread(fail, 1, lambda: 1, never)


async def test_large_bytes_are_worked_on_in_a_thread() -> None:
    here = threading.current_thread()
    assert await work_on(lambda data: threading.current_thread(), bytes(LARGE)) is here
    assert await work_on(lambda data: threading.current_thread(), bytes(LARGE + 1)) is not here
    with pytest.raises(ValueError, match="no"):
        await work_on(lambda data: int("no"), bytes(LARGE + 1))


def test_two_loops_in_two_threads() -> None:
    codec = EnvelopeCodec(FakeKms())
    found: list[Any] = []

    def run() -> None:
        found.append(asyncio.run(_there_and_back(codec)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codec.close()
    assert found == [True] * 4


def test_forked_child_has_threads_of_its_own() -> None:
    codec = EnvelopeCodec(FakeKms())
    assert asyncio.run(_there_and_back(codec))
    assert in_child(lambda: asyncio.run(_there_and_back(codec)))
    codec.close()


async def _there_and_back(codec: EnvelopeCodec) -> bool:
    return await codec.decode(await codec.encode([large(), SMALL])) == [large(), SMALL]
