"""A store is opened once in each event loop, and closed with the pool or with the loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.converter import (
    StorageDriverClaim,
)

from envelope_codec import (
    EnvelopeConfig,
    StoreUnavailable,
)
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import PayloadStore, StoreUrl, parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.memory_store import ANYWHERE, PLAIN, READING, Memory


async def test_a_store_that_can_not_be_opened_any_more_is_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A profile of the AWS configuration, for instance, is gone when a new event loop or a child wants it."""
    pytest.importorskip("botocore")
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    config.write_text("[profile shop]\nregion = us-east-1\n")
    url = parse_store_url("s3://bucket?profile=shop&endpoint=http://127.0.0.1:1")
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms("fakekms://k"), timeout=0.3))
    driver = EnvelopeDriver(Pool(url), codec)
    [sealed] = await codec.encode([PLAIN])
    claim = StorageDriverClaim({"bucket": "bucket", "hash_algorithm": "sha256", "key": "k", "hash_value": ""})
    config.write_text("")
    for call in (driver.store(ANYWHERE, [sealed]), driver.retrieve(READING, [claim])):
        with pytest.raises(StoreUnavailable, match="can't be opened any more") as caught:
            await call
        assert "shop" not in str(caught.value)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "shop" in record.getMessage()
    config.write_text("[profile shop]\nregion = us-east-1\n")
    with pytest.raises(StoreUnavailable, match="AWS credentials"):  # so it was opened
        await driver.store(ANYWHERE, [sealed])
    codec.close()


class Opened(StoreUrl):
    """Opens a `Memory` each time, and takes them down."""

    stores: list[Memory]

    def open(self) -> PayloadStore:
        self.stores.append(Memory())
        return self.stores[-1]


def opened() -> Opened:
    url = Opened("mine", "memory://")
    url.stores = []
    return url


def test_each_event_loop_has_a_store_of_its_own_and_closes_it() -> None:
    url = opened()
    pool = Pool(url)
    assert len(url.stores) == 1, "what is wrong with a URL is told at once"

    async def use(close: bool) -> None:
        assert pool.open_here() is pool.open_here()
        if close:
            await pool.aclose()
            await pool.aclose()

    for close in (True, False, False, False):
        asyncio.run(use(close))
    assert [memory.closed for memory in url.stores[1:]] == [1, 1, 1, 1]
    assert len(pool._stores.get()._stores) <= 1, "loops that have ended are forgotten"


def test_a_pool_that_is_closed_or_forgotten_closes_the_store_of_a_running_loop() -> None:
    async def wait_for(memory: Memory) -> None:
        while not memory.closed:  # noqa: ASYNC110 - the memory is no event
            await asyncio.sleep(0)

    async def closed() -> None:
        url = opened()
        pool = Pool(url)
        pool.open_here()
        pool.close()
        pool.close()
        await asyncio.wait_for(wait_for(url.stores[-1]), 60)
        assert url.stores[-1].closed == 1

    async def forgotten() -> None:
        url = opened()
        Pool(url).open_here()
        await asyncio.wait_for(wait_for(url.stores[-1]), 60)

    asyncio.run(closed())
    asyncio.run(forgotten())
