"""Data keys of another program: one call a lease, none after a denial, grace in an outage, and only what is listed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.foreign_keys import ForeignWrap, Service, decide_service
from envelope_codec.keys.keyset import ForeignMaster, KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import GRACE, LEASE, LIMITS, REFUSAL, Jobs, Ring, settle

NAME = "proxykms://key"
DATA_KEY = bytes(range(32))


class Foreign(Ring):
    """A ring whose namespaces open what another program had wrapped by a master key of its own.

    Attributes:
        other: that master key.
    """

    def __init__(self, *, lease: float | None = None, jobs: bool = False, direct: bool = False, **limits: int) -> None:
        self.other, mine = FakeKms(), FakeKms()
        listed = {NAME: (ForeignMaster(self.other, self.other.proxy_unwrapper(NAME)),)}
        sets = {
            "default": KeySet(mine, foreign=listed, lease=lease),
            "second": KeySet(mine, foreign=listed),
            "without": KeySet(mine),
        }
        more: dict[str, Any] = {"spawn": Jobs()} if jobs else {}
        super().__init__(sets, limits=replace(LIMITS, **limits), direct=direct, **more)

    def wrap(self, data_key: bytes = DATA_KEY) -> ForeignWrap:
        return ForeignWrap(NAME, self.other.wrap_for_proxy(data_key))

    async def get(self, wrap: ForeignWrap, namespace: str = "default") -> bytes:
        key = self.keyring.try_foreign_key(namespace, wrap)
        return await self.finish(self.keyring.foreign_key(namespace, wrap)) if key is None else key


async def test_a_key_costs_one_call_for_all_namespaces_that_list_it() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    assert ring.keyring.try_foreign_key("default", wrap) is None
    for _ in range(3):
        assert await ring.get(wrap) == await ring.get(wrap, "second") == DATA_KEY
    assert ring.other.unwraps == 1
    assert ring.events.of("unwrap") == ["ok"]


@pytest.mark.parametrize("namespace", ["without", "unknown"])
async def test_a_namespace_that_does_not_list_the_name_gets_nothing_even_if_the_key_is_at_hand(namespace: str) -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    assert not ring.keyring.opens_foreign(namespace, NAME)
    assert ring.keyring.try_foreign_key(namespace, wrap) is None
    with pytest.raises(KeyNotConfigured):
        await ring.get(wrap, namespace)
    assert ring.other.unwraps == 1


async def test_a_name_that_is_not_listed_leads_to_no_call() -> None:
    ring = Foreign()
    with pytest.raises(KeyNotConfigured):
        await ring.get(ForeignWrap("proxykms://other?endpoint=http://evil", ring.wrap().ciphertext))
    assert ring.other.unwraps == 0


async def test_a_thousand_callers_are_one_call() -> None:
    ring = Foreign(jobs=True)
    wrap = ring.wrap()
    callers = [asyncio.ensure_future(ring.keyring.foreign_key("default", wrap)) for _ in range(1000)]
    await settle()
    assert ring.jobs.run() == 1
    assert set(await asyncio.gather(*callers)) == {DATA_KEY}


async def test_a_key_in_use_is_asked_for_again_before_its_lease_ends_and_nobody_waits() -> None:
    ring = Foreign(jobs=True)
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.advance(0.74 * LEASE)
    ring.keyring.try_foreign_key("default", wrap)
    assert not ring.jobs
    ring.advance(0.02 * LEASE)
    assert [ring.keyring.try_foreign_key("default", wrap) for _ in range(9)] == [DATA_KEY] * 9
    assert ring.jobs.run() == 1
    ring.advance(0.7 * LEASE)
    assert ring.keyring.try_foreign_key("default", wrap) == DATA_KEY
    assert ring.other.unwraps == 2


async def test_a_key_that_was_not_used_is_not_used_after_its_lease_without_a_call() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.advance(LEASE)
    assert ring.keyring.try_foreign_key("default", wrap) is None
    ring.other.denied = True
    with pytest.raises(KeyDenied):
        await ring.get(wrap)
    assert ring.keyring._foreign._keys.values() == []


async def test_the_lease_of_a_namespace_holds_for_its_own_use() -> None:
    ring = Foreign(lease=30.0)
    wrap = ring.wrap()
    await ring.get(wrap, "second")
    ring.advance(31)
    assert ring.keyring.try_foreign_key("default", wrap) is None
    assert ring.keyring.try_foreign_key("second", wrap) == DATA_KEY


async def test_the_lease_of_a_namespace_holds_where_another_one_asks_at_the_same_time() -> None:
    """Whoever joins a call of another namespace must not get what only that one's lease lets serve in an outage."""
    ring = Foreign(lease=30.0, jobs=True)
    wrap = ring.wrap()
    await ring.get(wrap, "second")
    ring.other.down = True
    ring.advance(30 + GRACE)
    assert ring.keyring.try_foreign_key("default", wrap) is None
    second = asyncio.ensure_future(ring.keyring.foreign_key("second", wrap))
    first = asyncio.ensure_future(ring.keyring.foreign_key("default", wrap))
    await settle()
    ring.jobs.run()
    assert await second == DATA_KEY
    with pytest.raises(KmsUnavailable):
        await ring.finish(first)


async def test_a_suspended_machine_does_not_prolong_a_lease() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.clock.suspend(LEASE)
    assert ring.keyring.try_foreign_key("default", wrap) is None


async def test_a_denial_ends_the_use_at_the_next_attempt_and_counts_for_seconds() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.other.denied = True
    ring.advance(0.8 * LEASE)
    ring.keyring.try_foreign_key("default", wrap)  # begins the renewal, which is denied
    assert ring.keyring.try_foreign_key("default", wrap) is None
    calls = ring.other.unwraps
    for _ in range(9):
        with pytest.raises(KeyDenied):
            await ring.get(wrap)
    assert ring.other.unwraps == calls
    ring.other.denied = False
    ring.advance(REFUSAL)
    assert await ring.get(wrap) == DATA_KEY


async def test_what_is_at_hand_serves_through_an_outage_for_the_grace_and_no_longer() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.other.down = True
    ring.advance(LEASE + 1)
    assert await ring.get(wrap) == DATA_KEY
    calls = ring.other.unwraps
    assert [ring.keyring.try_foreign_key("default", wrap) for _ in range(99)] == [DATA_KEY] * 99
    assert ring.other.unwraps == calls, "one attempt for all, every few seconds"
    ring.advance(REFUSAL)
    assert ring.keyring.try_foreign_key("default", wrap) == DATA_KEY
    assert ring.other.unwraps == calls + 1
    ring.advance(GRACE)
    assert ring.keyring.try_foreign_key("default", wrap) is None
    with pytest.raises(KmsUnavailable):
        await ring.get(wrap)


async def test_an_outage_ends_and_grace_does_not_begin_again_by_itself() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.other.down = True
    ring.advance(LEASE + 1)
    await ring.get(wrap)
    ring.other.down = False
    ring.advance(REFUSAL)
    ring.keyring.try_foreign_key("default", wrap)
    ring.advance(LEASE)
    assert ring.keyring.try_foreign_key("default", wrap) is None, "no outage is known since the last success"


async def test_direct_mode_knows_no_grace() -> None:
    ring = Foreign(direct=True)
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.other.down = True
    ring.advance(LEASE)
    with pytest.raises(KmsUnavailable):
        await ring.get(wrap)


async def test_what_does_not_unwrap_is_asked_once_in_seconds() -> None:
    ring = Foreign()
    for _ in range(9):
        with pytest.raises(InvalidCiphertext):
            await ring.get(ForeignWrap(NAME, b"made up"))
    assert ring.other.unwraps == 1


async def test_an_outage_at_first_is_waited_out() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    ring.other.fail_next(KmsUnavailable("down"), KmsUnavailable("down"))
    assert await ring.get(wrap) == DATA_KEY


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
async def test_a_data_key_of_another_length_is_none(length: int) -> None:
    ring = Foreign()
    with pytest.raises(InvalidCiphertext):
        await ring.get(ring.wrap(bytes(length)))


async def test_the_next_master_key_of_a_name_is_asked_where_one_does_not_open() -> None:
    former, current = FakeKms(), FakeKms()
    masters = tuple(ForeignMaster(master, master.proxy_unwrapper(NAME)) for master in (current, former))
    ring = Ring({"default": KeySet(FakeKms(), foreign={NAME: masters})})
    wrap = ForeignWrap(NAME, former.wrap_for_proxy(DATA_KEY))
    assert await ring.finish(ring.keyring.foreign_key("default", wrap)) == DATA_KEY
    current.denied = former.denied = True
    other = ForeignWrap(NAME, former.wrap_for_proxy(os.urandom(32)))
    with pytest.raises(KeyDenied):
        await ring.finish(ring.keyring.foreign_key("default", other))


async def test_what_is_kept_has_a_bound() -> None:
    ring = Foreign(cache_size=10)
    for _ in range(50):
        await ring.get(ring.wrap(os.urandom(32)))
    assert len(ring.keyring._foreign._keys) == 10


async def test_a_closed_keyring_has_nothing() -> None:
    ring = Foreign()
    wrap = ring.wrap()
    await ring.get(wrap)
    ring.keyring.close()
    assert ring.keyring.try_foreign_key("default", wrap) is None
    with pytest.raises(KmsUnavailable):
        await ring.keyring.foreign_key("default", wrap)


@pytest.mark.parametrize(
    ("age", "silent", "paused", "expected"),
    [
        (0.0, False, False, Service.SERVES),
        (74.9, True, False, Service.SERVES),
        (75.0, False, False, Service.RENEWS),
        (99.9, False, True, Service.SERVES),
        (100.0, False, False, Service.OVER),
        (100.0, False, True, Service.OVER),
        (100.0, True, False, Service.RENEWS),
        (149.9, True, True, Service.SERVES),
        (150.0, True, True, Service.OVER),
    ],
)
def test_a_key_serves_within_its_lease_and_in_a_known_outage_through_the_grace(
    age: float, silent: bool, paused: bool, expected: Service
) -> None:
    assert decide_service(age, lease=100.0, grace=50.0, silent=silent, paused=paused) is expected
