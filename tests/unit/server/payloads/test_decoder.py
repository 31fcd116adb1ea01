"""What comes out of compressed payloads counts against the caller's bytes, before it is decompressed."""

from __future__ import annotations

import threading

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, InvalidCiphertext
from envelope_codec.envelope import seal
from envelope_codec.server import ServerConfig
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.payloads.decoder import TooManyBytes, decode
from envelope_codec.server.web.admission import Admission
from envelope_codec.server.web.refusal import TOO_MANY_BYTES, failure_of
from envelope_codec.testing import FakeKms

TEXT = Payload(data=b"".join(b"%d lamps, " % number for number in range(5_000)))
SIZE = TEXT.ByteSize()


def admission(total: int = 10 * SIZE, each: int = 2 * SIZE + 100) -> Admission:
    return Admission(ServerConfig(body_limit=10, max_body_bytes=total, max_body_bytes_per_caller=each), Metrics())


@pytest.fixture
def codec() -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=FakeKms(), compression="zstd"))


async def test_what_fits_is_opened_and_counts_until_the_request_ends(codec: EnvelopeCodec) -> None:
    budgets = admission()
    visit = budgets.visit("ada")
    assert await decode(codec, await codec.encode([TEXT, TEXT]), visit) == [TEXT, TEXT]
    assert budgets._bytes.used == 2 * SIZE
    visit.leave()
    assert budgets._bytes.used == 0


async def test_one_request_with_too_many_takes_nothing_and_fails_by_name(codec: EnvelopeCodec) -> None:
    budgets = admission()
    visit = budgets.visit("mallory")
    sealed = await codec.encode([TEXT] * 3)
    with pytest.raises(TooManyBytes) as caught:
        await decode(codec, sealed, visit)
    assert failure_of(caught.value) == TOO_MANY_BYTES
    assert budgets._bytes.used == 0
    assert await decode(codec, sealed[:2], visit) == [TEXT] * 2


async def test_payloads_that_are_not_compressed_take_nothing(codec: EnvelopeCodec) -> None:
    budgets = admission()
    plain = EnvelopeCodec(codec.config.model_copy(update={"compression": "none"}), keyring=codec.keyring)
    await decode(codec, await plain.encode([TEXT] * 9), budgets.visit("ada"))
    assert budgets._bytes.used == 0


async def test_the_requests_of_all_are_bounded_together(codec: EnvelopeCodec) -> None:
    """And who takes much leaves something to the next: see `Budget`."""
    budgets = admission(total=4 * SIZE)
    sealed = await codec.encode([TEXT])
    opened = 0
    for caller in range(20):
        try:
            opened += len(await decode(codec, sealed, budgets.visit(str(caller))))
        except TooManyBytes:
            continue
    assert opened == 4
    assert budgets._bytes.used == 4 * SIZE


async def test_bytes_of_a_call_that_fails_later_are_given_back(codec: EnvelopeCodec) -> None:
    budgets = admission()
    good, bad = await codec.encode([TEXT, TEXT])
    bad.data = bad.data[:-1] + bytes([bad.data[-1] ^ 1])
    with pytest.raises(InvalidCiphertext):
        await decode(codec, [good, bad], budgets.visit("ada"))
    assert budgets._bytes.used == 0


def test_bytes_are_counted_right_in_threads() -> None:
    budgets = admission(total=10**9, each=10**9)
    visits = [budgets.visit(str(number % 3)) for number in range(8)]

    def work(number: int) -> None:
        for _ in range(2_000):
            visits[number].take_bytes(3)
            visits[number].give_back_bytes(2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budgets._bytes.used == 8 * 2_000
    for visit in visits:
        visit.leave()
    assert budgets._bytes.used == 0
    assert budgets._bytes.callers == 0


@pytest.mark.parametrize(("compression", "count"), [("none", 50_000), ("zstd", 1_000)])
async def test_entries_count_as_much_as_they_take_in_the_answer(compression: str, count: int) -> None:
    """Each of these takes two bytes in its payload. More than some 1,000 do not come out of compression."""
    codec = EnvelopeCodec(EnvelopeConfig.model_validate({"key": FakeKms(), "compression": compression}))
    honest = Payload(metadata={"encoding": b"json/plain"}, external_payloads=[Payload.ExternalPayloadDetails()] * 3)
    hostile = Payload(external_payloads=[Payload.ExternalPayloadDetails()] * count)
    budgets = admission(total=128 * count, each=64 * count)
    visit = budgets.visit("mallory")
    assert await decode(codec, await codec.encode([honest]), visit) == [honest]
    before = budgets._bytes.used
    with pytest.raises(TooManyBytes):
        await decode(codec, await codec.encode([honest, hostile]), visit)
    assert budgets._bytes.used == before


@pytest.mark.parametrize("size", [3_000, 2**21])
async def test_many_fields_count_before_they_are_parsed(size: int) -> None:
    codec = EnvelopeCodec(FakeKms())
    key = await codec.keyring.sealing_key("default")
    wrapped, data = seal(b"\x0a\x00" * (size // 2), key.record, key.key)
    assert wrapped is not None
    hostile = Payload(metadata={**key.record.metadata, "encryption-data-key": wrapped}, data=data)
    budgets = admission(total=6 * size, each=3 * size)
    visit = budgets.visit("mallory")
    assert await decode(codec, [hostile], visit) == [Payload(metadata={"": b""})]
    assert budgets._bytes.used == 3 * size
    with pytest.raises(TooManyBytes):
        await decode(codec, [hostile], visit)
    assert budgets._bytes.used == 3 * size
