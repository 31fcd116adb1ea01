"""A refusal to seal is waited out where user code has run, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys import patience
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.keys.stop import AT_SHUTDOWN, Stop, stopping
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import LEASE, REFUSAL, Jobs, Ring, settle


@pytest.fixture(params=[False, True], ids=["wrapping key", "direct"])
def direct(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(autouse=True)
def after_user_code() -> Iterator[None]:
    with patience.after_user_code():
        yield


class Refused:
    """A ring that has sealed, whose only master key then refuses, and that has noticed."""

    def __init__(self, direct: bool, *, backup: bool = False, jobs: Jobs | None = None) -> None:
        self.kms = FakeKms()
        self.backup = FakeKms()
        options: dict[str, Any] = {} if jobs is None else {"spawn": jobs}
        self.ring = Ring(KeySet(self.kms, (self.backup,) if backup else ()), direct=direct, **options)

    async def begin(self) -> None:
        await self.ring.seal()
        self.kms.denied = self.backup.denied = True
        self.ring.keyring._sealing._slots.by_scope.clear()  # as at the end of the lease
        self.kms.wraps = self.backup.wraps = 0

    def ask(self, count: int = 1, *, timeout: float | None = None) -> list[asyncio.Task[SealingKey]]:
        return [asyncio.ensure_future(self.ring.keyring.sealing_key("default", timeout=timeout)) for _ in range(count)]


async def test_it_is_waited_out(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    (task,) = refused.ask()
    await settle()
    for tries in (1, 2, 3):
        assert (task.done(), refused.kms.wraps) == (False, tries)
        refused.ring.clock.advance(REFUSAL)
        await settle()
    refused.kms.denied = False
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert task.done()
    assert (await task).record.recipients[0].key_id == refused.kms.key_id


async def test_both_of_two_master_keys_are_asked_each_time(direct: bool) -> None:
    refused = Refused(direct, backup=True)
    await refused.begin()
    (task,) = refused.ask()
    await settle()
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert (refused.kms.wraps, refused.backup.wraps) == (2, 2)
    refused.backup.denied = False
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert [recipient.key_id for recipient in (await task).record.recipients] == [refused.backup.key_id]


async def test_a_thousand_that_wait_make_one_call_each_time() -> None:
    refused = Refused(False)
    await refused.begin()
    tasks = refused.ask(1_000)
    await settle()
    for tries in range(1, 5):
        assert refused.kms.wraps == tries
        refused.ring.clock.advance(REFUSAL)
        await settle()
    refused.kms.denied = False
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert len({id(key) for key in await asyncio.gather(*tasks)}) == 1
    assert refused.kms.wraps == 6


async def test_a_thousand_that_wait_in_direct_mode_make_one_call_each_time() -> None:
    refused = Refused(True)
    await refused.begin()
    tasks = refused.ask(1_000)
    await settle()
    assert refused.kms.wraps == 1_000
    for tries in range(1, 5):
        refused.ring.clock.advance(REFUSAL)
        await settle()
        assert refused.kms.wraps == 1_000 + tries
    refused.kms.denied = False
    refused.ring.clock.advance(REFUSAL)
    await settle()
    await asyncio.gather(*tasks)
    assert refused.kms.wraps == 1_005 + 1_000


async def test_the_error_at_the_end_is_the_last_real_one(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    (task,) = refused.ask(timeout=3 * REFUSAL - 1)
    await settle()
    refused.kms.fail_next(KeyDenied("the second", operation="wrap"), KeyDenied("the third", operation="wrap"))
    for seconds in (REFUSAL, REFUSAL, REFUSAL - 1):
        assert not task.done()
        refused.ring.clock.advance(seconds)
        await settle()
    with pytest.raises(KeyDenied, match="the third"):
        await task


async def test_an_outage_that_follows_is_told_as_one(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    (task,) = refused.ask(timeout=2 * REFUSAL)
    await settle()
    refused.kms.down = True
    refused.ring.clock.advance(2 * REFUSAL)
    await settle()
    with pytest.raises(KmsUnavailable):
        await task


async def test_a_remembered_refusal_is_no_try() -> None:
    refused = Refused(False)
    await refused.begin()
    with pytest.raises(KeyDenied):
        await asyncio.get_running_loop().create_task(_impatient(refused))
    assert refused.kms.wraps == 1
    (task,) = refused.ask()
    await settle()
    refused.kms.denied = False
    assert (task.done(), refused.kms.wraps) == (False, 1)
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert (task.done(), refused.kms.wraps) == (True, 2)


async def _impatient(refused: Refused) -> None:
    patience._code_has_run.set(False)
    await refused.ring.keyring.sealing_key("default")


async def test_before_user_code_has_run_it_is_told_at_once(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    with pytest.raises(KeyDenied):
        await asyncio.get_running_loop().create_task(_impatient(refused))
    assert not refused.ring.keyring._waits._pauses._flights


async def test_where_this_process_has_never_sealed_it_is_told_at_once(direct: bool) -> None:
    ring = Ring(direct=direct)
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.keyring.sealing_key("default")
    assert ring.calls == (1, 0)


async def test_one_place_having_sealed_means_nothing_for_another(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    with pytest.raises(KeyDenied):
        await refused.ring.keyring.sealing_key("another namespace")


async def test_who_has_waited_in_vain_does_not_wait_again_to_report_that(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()

    async def seal_twice() -> float:
        with pytest.raises(KeyDenied):
            await refused.ring.keyring.sealing_key("default")
        begun = refused.ring.clock.monotonic()
        with pytest.raises(KeyDenied):
            await refused.ring.keyring.sealing_key("default")
        return refused.ring.clock.monotonic() - begun

    assert await refused.ring.finish(seal_twice()) == 0


async def test_cancelling_one_that_waits_ends_its_wait_alone(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    one, other = refused.ask(2)
    await settle()
    one.cancel()
    await settle()
    assert one.cancelled()
    refused.kms.denied = False
    refused.ring.clock.advance(REFUSAL)
    await settle()
    assert (await other).record


async def test_a_workers_shutdown_ends_it_in_seconds(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    stop = Stop()
    token = stopping.set(stop)
    waiting, late = refused.ask(), []
    await settle()
    stop.set()
    late = refused.ask()
    stopping.reset(token)
    await settle()
    refused.ring.clock.advance(AT_SHUTDOWN)
    await settle()
    for task in (*waiting, *late):
        assert task.done()
        with pytest.raises(KeyDenied):
            await task


async def test_closing_the_keyring_ends_it(direct: bool) -> None:
    refused = Refused(direct)
    await refused.begin()
    (task,) = refused.ask()
    await settle()
    refused.ring.keyring.close()
    await settle()
    with pytest.raises(KmsUnavailable, match="closed"):
        await task


async def test_nothing_is_sealed_while_it_lasts() -> None:
    """Neither by the key that was in use, nor by grace, nor by another key set."""
    ring = Ring()
    await ring.seal()
    ring.kms.denied = True
    ring.advance(LEASE, step=10, use=lambda: ring.keyring.try_sealing_key("default"))
    task = asyncio.ensure_future(ring.keyring.sealing_key("default"))
    for _ in range(25):
        await settle()
        assert not task.done()
        assert ring.keyring.try_sealing_key("default") is None
        ring.clock.advance(1)
    task.cancel()


async def test_a_try_under_way_is_shared_with_those_who_do_not_wait() -> None:
    jobs = Jobs()
    refused = Refused(False, jobs=jobs)
    await refused.ring.finish(refused.ring.keyring.sealing_key("default"))
    refused.kms.denied, refused.kms.wraps = True, 0
    refused.ring.keyring._sealing._slots.by_scope.clear()
    (task,) = refused.ask()
    await settle()
    jobs.run()
    await settle()
    refused.ring.clock.advance(REFUSAL)
    await settle()
    other = asyncio.ensure_future(_impatient(refused))
    await settle()
    jobs.run()
    await settle()
    assert refused.kms.wraps == 2
    with pytest.raises(KeyDenied):
        await other
    assert not task.done()
    task.cancel()
