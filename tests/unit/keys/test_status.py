"""What a keyring says of itself."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from envelope_codec.errors import EnvelopeError, KeyDenied
from envelope_codec.keys import BreakerStatus, KeyringStatus, KeySet, LeaseStatus
from envelope_codec.keys.status import join_leases
from envelope_codec.testing import FakeKms, ManualClock
from tests.support.forked_child import in_child
from tests.support.keyring_on_fakes import GRACE, LEASE, Ring, Untold, wrapped_by
from tests.support.rows_on_fake import FakeRows


def only_lease(ring: Ring) -> LeaseStatus:
    [lease] = ring.keyring.status().leases
    return lease


def lease(stage: Any, since: float, left: float = 0.0, **more: Any) -> LeaseStatus:
    return LeaseStatus("unwrap", "key", "default", stage, since, left, LEASE, 1)._replace(**more)


def test_a_new_keyring_has_nothing_to_tell() -> None:
    status = Ring().keyring.status()
    assert status == KeyringStatus(
        status.time, closed=False, direct=False, sealing_keys=(), leases=(), breakers=(), keys_cached=0,
        foreign_keys_cached=0, keystore_queued=0, keystore_lag=0.0,
    )  # fmt: skip


async def test_the_sealing_key_is_told_with_its_age_uses_and_recipients() -> None:
    key, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(KeySet(key, (backup,)))
    sealing = await ring.seal()
    await ring.seal()
    ring.advance(100.0)
    [told] = ring.keyring.status().sealing_keys
    assert (told.namespace, told.key_id, told.record_id) == ("default", key.key_id, sealing.record.id.hex())
    assert 100.0 <= told.age < 101.0  # a record has whole seconds
    assert (told.uses, told.recipients, told.lacking) == (2, 1, 1)
    assert (told.usable, told.refused) == (True, False)


async def test_a_refused_scope_is_told_without_a_key() -> None:
    ring = Ring()
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.seal()
    [told] = ring.keyring.status().sealing_keys
    assert (told.record_id, told.usable, told.refused, told.uses) == ("", False, True, 0)
    assert told.key_id == ring.kms.key_id


async def test_direct_mode_has_no_sealing_keys() -> None:
    ring = Ring(direct=True)
    await ring.seal()
    status = ring.keyring.status()
    assert (status.direct, status.sealing_keys, status.leases) == (True, (), ())
    assert status.breakers == (BreakerStatus(ring.kms.key_id, "closed"),)


async def test_a_lease_grows_old_is_renewed_while_in_use_and_idles_when_it_is_not() -> None:
    ring = Ring()
    key = await ring.seal()
    assert only_lease(ring) == LeaseStatus("unwrap", ring.kms.key_id, "default", "live", 0.0, 0.0, LEASE, 1)
    ring.advance(100.0)
    assert only_lease(ring).since_success == pytest.approx(100.0)
    ring.use(key.record)
    ring.advance(LEASE - 100.0)
    assert only_lease(ring).since_success == pytest.approx(0.2 * LEASE)  # it was renewed after 80 % of its time
    assert only_lease(ring).stage == "live"
    ring.advance(LEASE)
    assert only_lease(ring).stage == "idle"


async def test_an_outage_shows_as_grace_that_runs_out_and_as_an_open_breaker() -> None:
    ring = Ring()
    await ring.seal()
    ring.kms.down = True
    ring.advance(LEASE + 60.0, step=10.0, use=lambda: ring.keyring.try_sealing_key("default"))
    told = only_lease(ring)
    assert told.stage == "grace"
    assert told.since_success == pytest.approx(LEASE + 60.0)
    assert told.grace_left == pytest.approx(GRACE - 60.0)
    [breaker] = ring.keyring.status().breakers
    assert breaker.state in ("open", "half_open")
    ring.advance(GRACE, step=10.0, use=lambda: ring.keyring.try_sealing_key("default"))
    told = only_lease(ring)
    assert (told.stage, told.grace_left) == ("ended", 0.0)
    assert told.since_success > LEASE + GRACE
    ring.kms.down = False
    await ring.seal()
    assert only_lease(ring).stage == "live"
    assert ring.keyring.status().breakers[0].state == "closed"


async def test_a_denied_lease_is_gone() -> None:
    ring = Ring()
    await ring.seal()
    ring.kms.denied = True
    ring.advance(LEASE, step=10.0, use=lambda: ring.keyring.try_sealing_key("default"))
    assert ring.keyring.status().leases == ()


async def test_a_suspended_machine_has_not_heard_of_the_kms_for_as_long_as_the_wall_clock_says() -> None:
    ring = Ring()
    await ring.seal()
    ring.clock.suspend(1_000.0)
    assert only_lease(ring).since_success == pytest.approx(1_000.0)
    assert only_lease(ring).stage == "idle"


async def test_records_with_leases_of_their_own_are_told_together() -> None:
    kms = Untold()
    ring = Ring(kms)
    for _ in range(3):
        record, _ = wrapped_by(kms)
        await ring.open(record)
        ring.advance(10.0)
    told = only_lease(ring)
    assert told.leases == 3
    assert told.since_success == pytest.approx(30.0)
    assert ring.keyring.status().keys_cached == 3


def test_the_most_telling_of_several_leases_speaks() -> None:
    [told] = join_leases([lease("idle", 900.0), lease("live", 20.0), lease("live", 50.0)])
    assert told == lease("live", 50.0, leases=3)
    [told] = join_leases([lease("live", 20.0), lease("grace", 400.0, 100.0), lease("grace", 350.0, 150.0)])
    assert told == lease("grace", 400.0, 100.0, leases=3)
    [told] = join_leases([lease("ended", 5_000.0), lease("idle", 400.0), lease("ended", 4_000.0)])
    assert told == lease("ended", 400.0, leases=3)
    others = join_leases([lease("live", 1.0, namespace="b"), lease("live", 2.0, namespace="a")])
    assert [told.namespace for told in others] == ["a", "b"]


async def test_what_waits_for_the_keystore_is_told_with_the_time_it_has_waited() -> None:
    rows = FakeRows()
    rows.keystore.down = True
    ring = Ring(keystore=rows, publishing_required=False)
    await ring.seal("a")
    ring.advance(40.0)
    await ring.seal("b")
    ring.advance(10.0)
    status = ring.keyring.status()
    assert status.keystore_queued == 2
    assert status.keystore_lag == pytest.approx(50.0)
    rows.keystore.down = False
    ring.advance(120.0)
    status = ring.keyring.status()
    assert (status.keystore_queued, status.keystore_lag) == (0, 0.0)


async def test_it_is_taken_without_a_call_and_while_others_hold_the_lock() -> None:
    ring = Ring()
    await ring.seal()
    before, told = ring.calls, []
    with ring.keyring._calls.lock:
        thread = threading.Thread(target=lambda: told.append(ring.keyring.status()))
        thread.start()
        thread.join(30.0)
    assert len(told) == 1
    assert ring.calls == before


async def test_it_never_raises() -> None:
    class Nameless(FakeKms):
        nameless = False

        @property
        def key_id(self) -> str:
            if self.nameless:
                raise RuntimeError("no name")
            return super().key_id

    kms = Nameless()
    ring = Ring(kms)
    await ring.seal()
    kms.nameless = True
    status = ring.keyring.status()
    assert (status.sealing_keys[0].key_id, status.leases[0].key_id, status.breakers[0].key_id) == ("", "", "")

    def raising(namespace: str) -> KeySet:
        raise EnvelopeError("no key sets")

    ring.keyring._inventory._maker._key_sets = raising
    assert [told.key_id for told in ring.keyring.status().sealing_keys] == [""]


async def test_it_is_taken_while_threads_change_what_it_reads() -> None:
    kms = Untold()
    ring = Ring(kms)
    for _ in range(50):
        await ring.open(wrapped_by(kms)[0])
    tries = iter([RuntimeError("dictionary changed size during iteration")] * 3)
    real = ring.keyring._calls.breakers

    def changed() -> Any:
        for error in tries:
            raise error
        return real()

    ring.keyring._calls.breakers = changed  # type: ignore[method-assign]
    assert len(ring.keyring.status().breakers) == 1


async def test_it_goes_into_json_and_has_no_secret() -> None:
    ring = Ring()
    key = await ring.seal()
    await ring.open(key.record)
    status = ring.keyring.status()
    text = json.dumps(status.as_dict(), allow_nan=False)
    assert json.loads(text)["leases"][0]["key_id"] == ring.kms.key_id
    assert json.loads(text)["sealing_keys"][0]["uses"] == 1
    json.dumps(status, allow_nan=False)
    for shown in (repr(status), text):
        assert key.key.hex() not in shown
        assert repr(key.key) not in shown


async def test_a_closed_keyring_says_so_and_holds_nothing() -> None:
    ring = Ring()
    await ring.seal()
    ring.keyring.close()
    status = ring.keyring.status()
    assert (status.closed, status.keys_cached) == (True, 0)
    assert [told.record_id for told in status.sealing_keys] == [""]


async def test_a_forked_child_starts_with_an_empty_status() -> None:
    ring = Ring(clock=ManualClock())
    await ring.seal()

    def child() -> None:
        status = ring.keyring.status()
        assert (status.sealing_keys, status.leases, status.breakers, status.keys_cached) == ((), (), (), 0)

    in_child(child)
    assert len(ring.keyring.status().leases) == 1
