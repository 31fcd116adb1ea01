"""A claim is sealed, names nothing, and swears to every byte of what is stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverClaim,
)

from envelope_codec import (
    MalformedEnvelope,
)
from envelope_codec.storage.claim import Claim
from envelope_codec.temporal.codec import EnvelopeCodec
from tests.support.memory_store import PLAIN, READING, Memory, driver_of


async def claim_of(codec: EnvelopeCodec, content: bytes, encoding: bytes = b"json/envelope-codec-claim") -> str:
    [payload] = await codec.encode([Payload(metadata={"encoding": encoding}, data=content)])
    return base64.b64encode(payload.SerializeToString()).decode()


GOOD = json.dumps({"id": "0" * 32, "sha256": "0" * 64, "size": 1}).encode()
UNSEALED = Payload(metadata={"encoding": b"json/envelope-codec-claim"}, data=GOOD)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"envelope": ""},
        {"envelope": "no base64!"},
        {"envelope": base64.b64encode(b"\xff").decode()},
        {"envelope": base64.b64encode(PLAIN.SerializeToString()).decode()},
        {"envelope": base64.b64encode(UNSEALED.SerializeToString()).decode()},
        {"envelope": "A" * 70_000},
        {"bucket": "b", "key": "k"},
    ],
)
async def test_a_claim_that_is_not_sealed_by_us_is_refused(data: dict[str, str]) -> None:
    memory = Memory()
    with pytest.raises(MalformedEnvelope):
        await driver_of(memory).retrieve(READING, [StorageDriverClaim(data)])
    assert memory.calls == 0


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"[]", b"json/envelope-codec-claim"),
        (b"{}", b"json/envelope-codec-claim"),
        (b"\xff", b"json/envelope-codec-claim"),
        (GOOD, b"json/plain"),
        (GOOD.replace(b"0" * 64, b"0"), b"json/envelope-codec-claim"),
        (b"[" * 40_000, b"json/envelope-codec-claim"),
    ],
)
async def test_a_sealed_payload_that_is_no_claim_is_refused(content: bytes, encoding: bytes) -> None:
    """Whoever can have anything sealed must not be able to make claims of his own."""
    driver = driver_of(Memory())
    text = await claim_of(driver.codec, content, encoding)
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await driver.retrieve(READING, [StorageDriverClaim({"envelope": text})])


@pytest.mark.parametrize("id", [7, None, "../../etc/passwd", "0" * 31, "G" * 32])
async def test_an_id_that_no_driver_made_is_refused(id: Any) -> None:
    driver = driver_of(Memory())
    content = json.dumps({"id": id, "sha256": "0" * 64, "size": 1}).encode()
    text = await claim_of(driver.codec, content)
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await Claim.open({"envelope": text}, driver.codec)


@pytest.mark.parametrize("size", [-1, 2**31, 10**400, True, 1.5, "1", None], ids=lambda size: str(size)[:9])
async def test_a_size_that_no_payload_has_is_refused(size: Any) -> None:
    """It says how long a call may take."""
    driver = driver_of(Memory())
    content = json.dumps({"id": "0" * 32, "sha256": "0" * 64, "size": size}).encode()
    with pytest.raises(MalformedEnvelope, match="not a reference"):
        await driver.retrieve(READING, [StorageDriverClaim({"envelope": await claim_of(driver.codec, content)})])


@pytest.mark.parametrize(("lamps", "opens"), [(100, True), (7_000, False)])
async def test_a_compressed_claim_yields_no_more_than_a_claim_has(lamps: int, opens: bool) -> None:
    driver = driver_of(Memory())
    codec = EnvelopeCodec(driver.codec.config.model_copy(update={"compression": "zstd"}), keyring=driver.codec.keyring)
    more = "".join(f"{number} lamps, " for number in range(lamps))
    text = await claim_of(codec, GOOD[:-1] + f', "more": "{more}"}}'.encode())
    assert len(text) < 65_536
    if opens:
        assert await Claim.open({"envelope": text}, driver.codec) == Claim("0" * 32, "0" * 64, 1)
    else:
        with pytest.raises(MalformedEnvelope, match="not a reference"):
            await Claim.open({"envelope": text}, driver.codec)
