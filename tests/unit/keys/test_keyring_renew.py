"""New wrapping keys on request: from then on they seal, nobody waits, and what fails leaves the old ones in use."""

from __future__ import annotations

import asyncio

import pytest

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Jobs, Ring, settle


async def test_every_key_in_use_is_replaced_by_one_of_the_new_version() -> None:
    kms = FakeKms()
    ring = Ring(kms)
    before = {namespace: await ring.seal(namespace) for namespace in ("one", "two")}
    kms.rotate()
    await ring.finish(ring.keyring.renew())
    for namespace, old in before.items():
        new = await ring.seal(namespace)
        assert new is not old
        assert (old.record.recipients[0].key_version, new.record.recipients[0].key_version) == ("1", "2")
        assert await ring.open(old.record) == old.key
    assert kms.wraps == 4


async def test_a_key_set_of_a_resolver_is_renewed_too() -> None:
    tenant = FakeKms()
    ring, place = Ring(KeySet(FakeKms(), decrypt_keys=(tenant,))), ("default", KeySet(tenant))
    old = await ring.finish(ring.keyring.sealing_key(place))
    await ring.finish(ring.keyring.renew())
    assert await ring.finish(ring.keyring.sealing_key(place)) is not old
    assert tenant.wraps == 2


async def test_nothing_in_use_is_nothing_to_renew() -> None:
    ring = Ring()
    await ring.finish(ring.keyring.renew())
    assert ring.calls == (0, 0)


async def test_sealing_does_not_wait_for_the_renewal() -> None:
    jobs = Jobs()
    ring = Ring(spawn=jobs)
    old = await ring.seal()
    task = asyncio.ensure_future(ring.keyring.renew())
    await settle()
    assert len(jobs) == 1
    assert ring.keyring.try_sealing_key("default") is old
    assert not task.done()
    jobs.run()
    await settle()
    assert task.done()
    assert ring.keyring.try_sealing_key("default") is not old


async def test_what_is_under_way_already_does_not_count() -> None:
    """It may have asked the KMS before the new key material was made."""
    kms, jobs = FakeKms(), Jobs()
    ring = Ring(kms, spawn=jobs)
    await ring.seal()
    first = asyncio.ensure_future(ring.keyring.renew())
    await settle()
    task = asyncio.ensure_future(ring.keyring.renew())
    await settle()
    kms.before_call = lambda operation: kms.rotate() if kms.wraps == 2 and operation == "unwrap" else None
    await ring.finish(asyncio.gather(first, task))
    assert kms.wraps == 3
    assert (await ring.seal()).record.recipients[0].key_version == "2"


async def test_two_renewals_at_once_both_end() -> None:
    ring = Ring()
    old = await ring.seal()
    await ring.finish(asyncio.gather(ring.keyring.renew(), ring.keyring.renew()))
    assert await ring.seal() is not old


async def test_in_an_outage_the_old_key_goes_on_and_the_renewal_is_caught_up() -> None:
    kms = FakeKms()
    ring = Ring(kms)
    old = await ring.seal()
    kms.down = True
    with pytest.raises(KmsUnavailable, match="goes on"):
        await ring.finish(ring.keyring.renew())
    assert await ring.seal() is old
    kms.down = False
    ring.advance(11)
    assert await ring.seal() is not old


async def test_a_refused_renewal_is_told_and_ends_sealing_as_any_refusal_does() -> None:
    kms = FakeKms()
    ring = Ring(kms)
    await ring.seal()
    kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.finish(ring.keyring.renew())
    with pytest.raises(KeyDenied):
        await ring.seal()
    kms.denied = False
    ring.advance(6)
    assert await ring.seal()


async def test_renewal_works_from_another_loop() -> None:
    ring = Ring()
    old = await ring.seal()
    await asyncio.to_thread(lambda: asyncio.run(ring.keyring.renew()))
    assert await ring.seal() is not old


async def test_a_closed_keyring_renews_nothing() -> None:
    ring = Ring()
    await ring.seal()
    ring.keyring.close()
    await ring.keyring.renew()
    with pytest.raises(KmsUnavailable):
        await ring.keyring.sealing_key("default")


async def test_a_renewal_takes_place_although_a_backup_key_is_out() -> None:
    first, second = FakeKms(), FakeKms()
    ring = Ring(KeySet(first, (second,)))
    old = await ring.seal()
    second.down = True
    await ring.finish(ring.keyring.renew())
    new = await ring.seal()
    assert new is not old
    assert [recipient.key_id for recipient in new.record.recipients] == [first.key_id]
