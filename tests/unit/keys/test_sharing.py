"""Sharing: processes seal with one wrapping key, and with none that anybody else could have planted."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from envelope_codec.envelope import NAMESPACE, Purpose
from envelope_codec.errors import KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.draft import Draft
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import KeystoreRow, make_tag, parse_row, row_key
from envelope_codec.keystore_sharing import MOST_AHEAD, Shared, auth_head, auth_row_key, is_slot, make_slot
from envelope_codec.kms import MasterKey, WrappedSecret
from envelope_codec.testing import FakeKeystore, FakeKms, ManualClock
from tests.support.forked_child import in_child
from tests.support.keyring_on_fakes import GRACE, LEASE, LIMITS, MAX_AGE, Jobs, Policy, Ring
from tests.support.rows_on_fake import FakeRows

SHARED_PURPOSE = ("envelope-codec:purpose", "shared-wrapping-key")


class Fleet:
    """Processes that share, over one KMS, keystore and clock.

    Args:
        masters: those that wrap; a new `FakeKms` if there are none.
        context: what is bound beside the namespace.
    """

    def __init__(self, *masters: MasterKey, context: dict[str, str] | None = None) -> None:
        self.kms = FakeKms()
        self.masters = masters or (self.kms,)
        self.context = context or {}
        self.clock, self.keystore = ManualClock(), FakeKeystore()
        self.rows = FakeRows(self.keystore)
        self.auth = self.init()

    def init(self, namespace: str = "default") -> Draft:
        """What `envelope-codec keystore init` does."""
        draft = Draft(Purpose.SHARED_WRAPPING_KEY, 0, {**self.context, NAMESPACE: namespace})
        self.rows.keep(publish(draft.record(draft.wrap_by(master).recipients[0] for master in self.masters)))
        return draft

    def member(self, *auth: Draft, keystore: FakeKeystore | None = None, **more: Any) -> Ring:
        """One more process."""
        pinned = [draft.id for draft in auth or (self.auth,)]
        rows = FakeRows(keystore or self.keystore)
        keys = more.pop("keys", None) or KeySet(self.masters[0], self.masters[1:], context=self.context)
        clock = more.pop("clock", self.clock)
        return Ring(keys, clock=clock, keystore=rows, keystore_auth=pinned, **more)

    @property
    def slot_key(self) -> bytes:
        return Shared("default", self.context, [master.key_id for master in self.masters]).slot_key

    @property
    def auth_key(self) -> bytes:
        return auth_row_key(auth_head("default", self.context), self.auth.id)

    def name(self, row: KeystoreRow) -> None:
        """Have the active slot name ``row``, which is put there."""
        self.rows.keep(row)
        self.keystore.kept[self.slot_key] = make_slot(row.key), f"named-{row.key.hex()}"

    def planted(self, *, auth: Draft | None = None, **changes: Any) -> KeystoreRow:
        """A row as a member would publish it, changed, with the tag under ``auth``."""
        given: dict[str, Any] = {
            "purpose": Purpose.SHARED_WRAPPING_KEY,
            "created": int(self.clock.time()),
            "context": {**self.context, NAMESPACE: "default"},
            "masters": self.masters,
            **changes,
        }
        draft = Draft(given["purpose"], given["created"], given["context"], secret=given.get("secret"))
        row = publish(draft.record(draft.wrap_by(master).recipients[0] for master in given["masters"]))
        return replace(row, tag=make_tag(row, (auth or self.auth).key))


def is_shared(key: SealingKey) -> bool:
    return key.record.purpose is Purpose.SHARED_WRAPPING_KEY


async def same(*members: Ring) -> bool:
    """Whether these seal with one record, byte for byte, and one key."""
    keys = [await member.seal() for member in members]
    return len({(key.record.wire, key.key) for key in keys}) == 1


# --- one key for all --------------------------------------------------------------------------------------------------


async def test_the_second_process_seals_with_the_key_of_the_first() -> None:
    fleet = Fleet()
    first, second = fleet.member(), fleet.member()
    key = await first.seal()
    assert is_shared(key)
    wraps = fleet.kms.wraps
    assert await same(first, second)
    assert fleet.kms.wraps == wraps


async def test_processes_that_bind_a_context_share_one_key_that_binds_it() -> None:
    fleet = Fleet(context={"tenant": "t"})
    first, second = fleet.member(), fleet.member()
    key = await first.seal()
    assert is_shared(key)
    assert dict(key.record.context)["tenant"] == "t"
    wraps = fleet.kms.wraps
    assert await same(first, second)
    assert fleet.kms.wraps == wraps


async def test_a_start_costs_each_process_two_unwraps_and_opening_what_others_sealed_none() -> None:
    fleet = Fleet()
    members = [fleet.member() for _ in range(8)]
    keys = [await member.seal() for member in members]
    assert fleet.kms.unwraps == 2 * len(members)
    for member in members:
        for key in keys:
            assert await member.open(key.record) == key.key
    assert fleet.kms.unwraps == 2 * len(members)


async def test_the_published_row_is_tagged_and_the_slot_names_it() -> None:
    fleet = Fleet()
    key = await fleet.member().seal()
    row = fleet.rows.row(key.record)
    assert row is not None
    assert row.tag == make_tag(row, fleet.auth.key)
    assert fleet.keystore.kept[fleet.slot_key][0] == make_slot(row_key(key.record))


async def test_a_reader_without_sharing_opens_what_was_sealed() -> None:
    fleet = Fleet()
    key = await fleet.member().seal()
    assert await Ring(fleet.kms).open(key.record) == key.key


async def test_several_master_keys_share_in_whatever_order_they_are_listed() -> None:
    one, two = FakeKms(), FakeKms()
    fleet = Fleet(one, two)
    reverse = fleet.member(keys=KeySet(two, (one,)))
    assert await same(fleet.member(), reverse)
    assert is_shared(await reverse.seal())


async def test_adopted_while_the_first_master_key_is_down_the_second_vouches() -> None:
    one, two = FakeKms(), FakeKms()
    fleet = Fleet(one, two)
    first = fleet.member()
    await first.seal()
    one.down = True
    assert await same(fleet.member(), first)


@pytest.mark.parametrize("fault", ["down", "denied"])
async def test_of_several_master_keys_each_vouches_for_an_adopted_key(fault: str) -> None:
    one, two = FakeKms(), FakeKms()
    fleet = Fleet(one, two)
    first, second = fleet.member(), fleet.member()
    key = await first.seal()
    assert await same(first, second)
    setattr(one, fault, True)
    for _ in range(round((GRACE + 2 * LEASE) / 30)):
        fleet.clock.advance(30)
        assert {(await member.seal()).record.id for member in (first, second)} == {key.record.id}


async def test_namespaces_and_key_sets_have_slots_of_their_own() -> None:
    fleet = Fleet()
    other = fleet.init("other")
    theirs = FakeKms()
    opening = KeySet(fleet.kms, (), (theirs,))
    member = fleet.member(fleet.auth, other, opening_key_sets=lambda namespace: opening)
    tenant = KeySet(theirs, context={"tenant": "t"})
    keys = [await member.seal("default"), await member.seal("other")]
    keys.append(await member.finish(member.keyring.sealing_key(("default", tenant))))
    assert len({key.record.id for key in keys}) == 3
    again = fleet.member(fleet.auth, other)
    assert [(await again.seal(name)).record.id for name in ("default", "other")] == [key.record.id for key in keys[:2]]


async def test_those_with_keys_from_a_resolver_share_among_each_other() -> None:
    fleet = Fleet()
    theirs = FakeKms()
    opening = KeySet(fleet.kms, (), (theirs,))
    scope = ("default", KeySet(theirs, context={"tenant": "t"}))
    members = [fleet.member(opening_key_sets=lambda namespace: opening) for _ in range(2)]
    keys = [await member.finish(member.keyring.sealing_key(scope)) for member in members]
    assert is_shared(keys[0])
    assert keys[0].record.wire == keys[1].record.wire
    assert dict(keys[0].record.context)["tenant"] == "t"


async def test_max_payloads_counts_for_each_process_and_who_has_sealed_enough_makes_the_next() -> None:
    fleet = Fleet()
    limits = replace(LIMITS, max_payloads=10)
    first, second = fleet.member(limits=limits), fleet.member(limits=limits)
    one = await first.seal()
    for _ in range(7):
        await second.seal()
    fleet.clock.advance(1)
    ids = [(await first.seal()).record.id for _ in range(20)]
    assert ids[0] == one.record.id
    assert len(set(ids)) == 3
    assert max(map(ids.count, ids)) <= 10


# --- who may not adopt ------------------------------------------------------------------------------------------------


def untagged(fleet: Fleet) -> KeystoreRow:
    return replace(fleet.planted(), tag=b"")


def tagged_by_others(fleet: Fleet) -> KeystoreRow:
    return fleet.planted(auth=Draft(Purpose.SHARED_WRAPPING_KEY, 0, {NAMESPACE: "default"}))


def changed_after_tag(fleet: Fleet) -> KeystoreRow:
    row = fleet.planted()
    return replace(row, verified=(replace(row.verified[0], ciphertext=b"made up"),))


PLANTED: dict[str, Callable[[Fleet], KeystoreRow]] = {
    "without a tag": untagged,
    "tagged by others": tagged_by_others,
    "changed after it was tagged": changed_after_tag,
    "of one writer": lambda fleet: fleet.planted(purpose=Purpose.WRAPPING_KEY),
    "of another namespace": lambda fleet: fleet.planted(context={NAMESPACE: "other"}),
    "of another context": lambda fleet: fleet.planted(context={NAMESPACE: "default", "tenant": "t"}),
    "with one recipient more": lambda fleet: fleet.planted(masters=(*fleet.masters, FakeKms())),
    "of another master key": lambda fleet: fleet.planted(masters=(FakeKms(),)),
    "of another key of that name": lambda fleet: fleet.planted(masters=(FakeKms(fleet.kms.key_id),)),
    "too old": lambda fleet: fleet.planted(created=int(fleet.clock.time() - 0.9 * MAX_AGE)),
    "from the future": lambda fleet: fleet.planted(created=int(fleet.clock.time()) + 61),
    "authenticating": lambda fleet: publish(fleet.auth.wrap_by(fleet.kms)),
}


@pytest.mark.parametrize("what", PLANTED)
async def test_a_key_that_breaks_a_rule_is_not_adopted_and_another_takes_its_place(what: str) -> None:
    fleet = Fleet()
    row = PLANTED[what](fleet)
    fleet.name(row)
    first = fleet.member()
    key = await first.seal()
    assert key.record.id != row.id
    assert is_shared(key)
    assert await same(first, fleet.member())


async def test_whoever_may_wrap_and_write_alone_reads_nothing() -> None:
    """The attack that tags are for: everything is genuine but the tag, and the secret is his."""
    fleet = Fleet()
    secret = os.urandom(32)
    row = untagged_of(fleet, secret)
    fleet.name(row)
    key = await fleet.member().seal()
    assert key.key != Draft(Purpose.SHARED_WRAPPING_KEY, row.created, dict(row.context), secret=secret).key


def untagged_of(fleet: Fleet, secret: bytes) -> KeystoreRow:
    return replace(fleet.planted(secret=secret), tag=b"")


@pytest.mark.parametrize("created", [-int(0.9 * MAX_AGE) + 1, 60])
async def test_a_key_just_within_its_age_is_adopted(created: int) -> None:
    fleet = Fleet()
    row = fleet.planted(created=int(fleet.clock.time()) + created)
    fleet.name(row)
    assert (await fleet.member().seal()).record.id == row.id


async def test_a_record_that_the_kms_refuses_is_not_adopted() -> None:
    kms = Policy()
    fleet = Fleet(kms)
    row = fleet.planted()
    fleet.name(row)
    kms.forbidden.add(("envelope-codec:id", row.id.hex()))
    key = await fleet.member().seal()
    assert key.record.id != row.id


async def test_the_authentication_record_never_seals_not_even_while_the_clock_says_1970() -> None:
    fleet = Fleet()
    fleet.clock = ManualClock(time=1.0)
    row = parse_row(fleet.auth_key, fleet.keystore.kept[fleet.auth_key][0])
    fleet.name(replace(row, tag=make_tag(row, fleet.auth.key)))
    key = await fleet.member().seal()
    assert key.record.id != fleet.auth.id
    assert key.key != fleet.auth.key


async def test_an_authentication_record_that_was_damaged_serves_again_once_it_is_mended() -> None:
    fleet = Fleet()
    first = fleet.member()
    await first.seal()
    mended = fleet.keystore.kept[fleet.auth_key]
    row = parse_row(fleet.auth_key, mended[0])
    made_up = tuple(replace(recipient, ciphertext=bytes(60)) for recipient in row.verified)
    fleet.keystore.kept[fleet.auth_key] = replace(row, verified=made_up).serialize(), "damaged"
    second = fleet.member()
    assert not is_shared(await second.seal())
    fleet.keystore.kept[fleet.auth_key] = mended
    fleet.clock.advance(LIMITS.refusal_ttl + 1)
    await second.finish(second.keyring.renew())
    assert is_shared(await second.seal())


async def test_two_authentication_records_count_during_a_change() -> None:
    fleet = Fleet()
    new = fleet.init()
    before, both, after = fleet.member(), fleet.member(fleet.auth, new), fleet.member(new, fleet.auth)
    assert await same(before, both, after)
    key = await fleet.member(new).seal()
    assert key.record.id != (await before.seal()).record.id


async def test_who_may_only_encrypt_makes_keys_of_his_own() -> None:
    fleet = Fleet()
    first = fleet.member()
    shared = await first.seal()
    key = await fleet.member(verify_wraps=False).seal()
    assert key.record.purpose is Purpose.WRAPPING_KEY
    assert key.record.id != shared.record.id
    row = fleet.rows.row(key.record)
    assert row is not None
    assert not row.tag


async def test_who_can_not_open_the_authentication_record_makes_keys_of_his_own() -> None:
    fleet = Fleet(Policy())
    stranger = fleet.member(Draft(Purpose.SHARED_WRAPPING_KEY, 0, {NAMESPACE: "default"}))
    key = await stranger.seal()
    assert key.record.purpose is Purpose.WRAPPING_KEY
    assert "NotShared" in stranger.events.of("share")


async def test_where_a_policy_allows_no_shared_keys_one_of_its_own_seals() -> None:
    kms = Policy()
    fleet = Fleet(kms)
    kms.forbidden.add(SHARED_PURPOSE)
    key = await fleet.member().seal()
    assert key.record.purpose is Purpose.WRAPPING_KEY


class Unshared(FakeKms):
    """Whose policy lets nobody here make shared wrapping keys, while it lets them unwrap some."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        if self.wraps and SHARED_PURPOSE in context.items():
            raise KeyDenied("permission to use the key is missing", operation="wrap", key_id=self.key_id)
        return super().wrap(secret, context)


async def test_where_a_policy_allows_to_adopt_and_not_to_make_shared_keys_one_of_its_own_seals() -> None:
    fleet = Fleet(Unshared())
    member = fleet.member()
    assert (await member.seal()).record.purpose is Purpose.WRAPPING_KEY
    assert member.events.of("share").count("NotShared") == 1


async def test_a_key_that_this_configuration_could_not_open_again_is_not_adopted() -> None:
    fleet = Fleet()
    theirs = FakeKms()
    scope = ("default", KeySet(theirs))
    opening = KeySet(fleet.kms, (), (theirs,))
    first = fleet.member(opening_key_sets=lambda namespace: opening)
    await first.finish(first.keyring.sealing_key(scope))
    second = fleet.member()
    with pytest.raises(KeyNotConfigured):
        await second.finish(second.keyring.sealing_key(scope))


@pytest.mark.parametrize("number", [1, 2], ids=["for the authentication record", "for the shared key"])
async def test_one_lost_answer_of_the_kms_is_no_reason_to_give_sharing_up(number: int) -> None:
    fleet = Fleet()
    first = fleet.member()
    await first.seal()
    calls: list[str] = []

    def lose(operation: str) -> None:
        calls.append(operation)
        if len(calls) == number:
            raise KmsUnavailable("the KMS did not answer")

    fleet.kms.before_call = lose
    assert await same(first, fleet.member())


class Quicker(FakeKeystore):
    """Where somebody gives a row another recipient before its writer comes."""

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        if revision is None and not is_slot(data) and key not in self.kept:
            row = parse_row(key, data)
            other = replace(row.verified[0], key_id="fakekms://new")
            self.kept[key] = replace(row, verified=(other,), tag=b"").serialize(), "quicker"
        return await super().put(key, data, revision)


async def test_the_row_of_a_key_that_others_have_changed_gets_no_tag() -> None:
    fleet = Fleet()
    quicker = Quicker()
    quicker.kept = fleet.keystore.kept
    key = await fleet.member(keystore=quicker).seal()
    row = fleet.rows.row(key.record)
    assert row is not None
    assert len(row.verified) == 2
    assert not row.tag


async def test_a_key_that_lacks_a_recipient_gets_no_slot() -> None:
    one, two = FakeKms(), FakeKms()
    fleet = Fleet(one, two)
    two.down = True
    first, second = fleet.member(), fleet.member()
    assert (await first.seal()).record.id != (await second.seal()).record.id
    assert fleet.slot_key not in fleet.keystore.kept


# --- how long a shared key seals --------------------------------------------------------------------------------------


async def test_an_adopted_key_ends_at_the_age_that_it_has_and_not_later() -> None:
    fleet = Fleet()
    row = fleet.planted(created=int(fleet.clock.time() - MAX_AGE / 2))
    fleet.name(row)
    member = fleet.member()
    assert (await member.seal()).record.id == row.id
    fleet.keystore.down = True
    member.advance(MAX_AGE / 2 - 1, step=LEASE / 10, use=lambda: member.keyring.try_sealing_key("default"))
    current = member.keyring._sealing._slots.by_scope["default"].current
    assert current is not None
    assert current.record.id == row.id
    assert current.term.due.time == row.created + MAX_AGE


async def test_a_younger_key_is_adopted_at_the_next_renewal_of_the_lease() -> None:
    fleet = Fleet()
    first, second = fleet.member(), fleet.member()
    await first.seal()
    await second.seal()
    fleet.clock.advance(1)
    await first.finish(first.keyring.renew())
    new = await first.seal()
    assert not await same(first, second)
    second.advance(LEASE, step=LEASE / 20, use=lambda: second.keyring.try_sealing_key("default"))
    assert (await second.seal()).record.id == new.record.id


async def test_the_slot_is_read_once_at_each_renewal_of_the_lease() -> None:
    fleet = Fleet()
    member = fleet.member()
    await member.seal()
    gets, unwraps = fleet.keystore.gets, fleet.kms.unwraps
    member.advance(LEASE * 10, step=LEASE / 20, use=lambda: member.keyring.try_sealing_key("default"))
    assert fleet.kms.unwraps > unwraps
    assert fleet.keystore.gets - gets == fleet.kms.unwraps - unwraps


async def test_no_older_key_is_gone_back_to() -> None:
    fleet = Fleet()
    member = fleet.member()
    old = fleet.planted(created=int(fleet.clock.time()) - 100)
    key = await member.seal()
    fleet.name(old)
    member.advance(LEASE, step=LEASE / 20, use=lambda: member.keyring.try_sealing_key("default"))
    assert (await member.seal()).record.id == key.record.id
    await member.finish(member.keyring.renew())
    fleet.name(old)
    fleet.kms.denied = True
    member.advance(LEASE + 1)
    with pytest.raises(KeyDenied):
        await member.seal(timeout=1)
    fleet.kms.denied = False
    fleet.clock.advance(10)
    assert (await member.seal()).record.id != old.id


async def test_what_was_seen_before_a_younger_key_came_into_use_is_not_gone_back_to() -> None:
    """The slot is being read, and meanwhile this process is told to renew."""
    fleet = Fleet()
    first, second = fleet.member(), fleet.member()
    await first.seal()
    await second.seal()
    fleet.clock.advance(1)
    await first.finish(first.keyring.renew())
    fleet.clock.advance(1)
    gets: list[str] = []

    def meanwhile(operation: str) -> None:
        gets.append(operation)
        if gets == ["get", "get"]:
            thread = threading.Thread(target=lambda: asyncio.run(second.keyring.renew()))
            thread.start()
            thread.join()

    fleet.keystore.before_call = meanwhile
    second.keyring._lookout.watch(["default"])  # type: ignore[union-attr]
    fleet.keystore.before_call = lambda operation: None
    assert len(gets) > 2
    assert (await second.seal()).record.id == (await fleet.member().seal()).record.id


async def test_renewing_makes_a_new_key_whatever_the_slot_names() -> None:
    fleet = Fleet()
    first, second = fleet.member(), fleet.member()
    await first.seal()
    await second.seal()
    await first.finish(first.keyring.renew())
    await second.finish(second.keyring.renew())
    keys = [await first.seal(), await second.seal()]
    assert keys[0].record.id != keys[1].record.id
    assert (await fleet.member().seal()).record.id == keys[1].record.id


class SetClock(ManualClock):
    """Whose time of day can be set.

    Attributes:
        ahead: seconds by which it is wrong.
    """

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def test_renewing_makes_a_new_key_after_the_clock_was_set_back_too() -> None:
    clock = SetClock()
    member = Fleet().member(clock=clock)
    clock.ahead = 7_200.0
    key = await member.seal()
    clock.ahead = 0.0
    await member.keyring.renew()
    assert (await member.seal()).record.id != key.record.id


@pytest.mark.parametrize("ahead", [7_200.0, -7_200.0])
async def test_a_clock_that_is_set_while_a_key_is_made_does_not_prolong_its_age(ahead: float) -> None:
    fleet, clock = Fleet(), SetClock()
    fleet.keystore.before_call = lambda operation: setattr(clock, "ahead", ahead)
    member = fleet.member(clock=clock)
    key = await member.seal()
    fleet.keystore.before_call = lambda operation: None
    clock.ahead = 0.0
    member.advance(MAX_AGE + MOST_AHEAD, step=LEASE / 2, use=lambda: member.keyring.try_sealing_key("default"))
    assert (await member.seal()).record.id != key.record.id
    slot = member.keyring._sealing._slots.by_scope["default"]
    assert slot.current is not None
    assert key.term.due.monotonic <= 1_000.0 + MAX_AGE + MOST_AHEAD  # type: ignore[attr-defined]


async def test_a_key_made_in_the_same_second_counts_as_younger() -> None:
    fleet = Fleet()
    member = fleet.member()
    first = await member.seal()
    await member.finish(member.keyring.renew())
    assert (await member.seal()).record.created == first.record.created + 1


async def test_the_next_key_is_made_once_for_all() -> None:
    fleet = Fleet()
    members = [fleet.member(jitter=number / 8) for number in range(8)]
    for member in members:
        await member.seal()
    wraps = fleet.kms.wraps

    def use() -> None:
        for member in members:
            member.keyring.try_sealing_key("default")

    for _ in range(int(MAX_AGE / 100)):
        fleet.clock.advance(100)
        use()
    assert await same(*members)
    assert fleet.kms.wraps == wraps + 1


# --- who is quicker ---------------------------------------------------------------------------------------------------


async def test_the_loser_adopts_the_key_of_the_winner() -> None:
    fleet = Fleet()
    first, second = fleet.member(), fleet.member()
    won: list[SealingKey] = []

    def race(operation: str) -> None:
        if operation == "wrap" and not won:
            fleet.kms.before_call = lambda operation: None
            thread = threading.Thread(target=lambda: won.append(asyncio.run(first.seal())))
            thread.start()
            thread.join()

    fleet.kms.before_call = race
    key = await second.seal()
    assert key.record.wire == won[0].record.wire


async def test_endless_conflicts_end_with_a_key_of_its_own() -> None:
    fleet = Fleet()
    member = fleet.member()

    def meddle(operation: str) -> None:
        if operation == "put":
            fleet.keystore.kept[fleet.slot_key] = make_slot(os.urandom(32)), os.urandom(8).hex()

    fleet.keystore.before_call = meddle
    key = await member.seal()
    assert is_shared(key)
    assert fleet.keystore.gets + fleet.keystore.puts < 16


# --- a keystore that is slow, down or hostile -------------------------------------------------------------------------


async def test_best_effort_seals_with_a_key_of_its_own_while_the_keystore_is_down() -> None:
    fleet = Fleet()
    member = fleet.member(publishing_required=False)
    fleet.keystore.down = True
    key = await member.seal()
    assert key.record.purpose is Purpose.WRAPPING_KEY
    gets = fleet.keystore.gets
    for number in range(20):
        await member.seal(f"other-{number}")
    assert fleet.keystore.gets <= gets + 1


async def test_where_publishing_is_required_a_keystore_that_is_down_is_told_as_without_sharing() -> None:
    fleet = Fleet()
    fleet.keystore.down = True
    with pytest.raises(KmsUnavailable, match="the keystore") as caught:
        await fleet.member().seal(timeout=5)
    assert caught.value.code == "keystore-unavailable"


async def test_a_key_in_use_goes_on_while_the_keystore_is_down() -> None:
    fleet = Fleet()
    member = fleet.member()
    key = await member.seal()
    fleet.keystore.down = True
    member.advance(LEASE * 20, step=LEASE / 20, use=lambda: member.keyring.try_sealing_key("default"))
    assert (await member.seal()).record.id == key.record.id


@pytest.mark.parametrize(
    "slot", [b"", b"\0\1short", b"\xff" * 34, b"\1" * 70_000], ids=["empty", "short", "other", "huge"]
)
async def test_what_is_no_slot_is_replaced(slot: bytes) -> None:
    fleet = Fleet()
    fleet.keystore.kept[fleet.slot_key] = slot, "1"
    assert await same(fleet.member(), fleet.member())


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\1" * 1_000_000], ids=["empty", "junk", "huge"])
async def test_what_is_no_row_is_absent_and_counted(data: bytes) -> None:
    fleet = Fleet()
    fleet.keystore.kept[bytes(32)] = data, "1"
    fleet.keystore.kept[fleet.slot_key] = make_slot(bytes(32)), "1"
    member = fleet.member()
    assert is_shared(await member.seal())
    assert member.events.of("share").count("MalformedRow") == 1


async def test_a_slot_that_names_itself_or_nothing_is_replaced() -> None:
    fleet = Fleet()
    for named in (fleet.slot_key, os.urandom(32)):
        fleet.keystore.kept[fleet.slot_key] = make_slot(named), os.urandom(4).hex()
        assert is_shared(await fleet.member().seal())


async def test_planted_rows_cost_a_running_process_no_call_of_the_kms_and_no_key() -> None:
    fleet = Fleet()
    member = fleet.member()
    key = await member.seal()
    fleet.clock.advance(1)
    fleet.name(tagged_by_others(fleet))
    wraps = fleet.kms.wraps
    member.advance(LEASE * 5, step=LEASE / 20, use=lambda: member.keyring.try_sealing_key("default"))
    assert (await member.seal()).record.id == key.record.id
    assert fleet.kms.wraps == wraps


async def test_a_keystore_that_answers_slowly_holds_up_no_renewal_of_a_lease() -> None:
    fleet = Fleet()
    jobs = Jobs()
    member = fleet.member(spawn=jobs)
    await member.seal()
    fleet.keystore.before_call = lambda operation: waited.append(operation)
    waited: list[str] = []
    for _ in range(30):
        member.advance(LEASE / 20)
        member.keyring.try_sealing_key("default")
        while jobs and not fleet_looks(jobs):
            jobs.run_one()
    assert not waited
    assert member.keyring.try_sealing_key("default") is not None


def fleet_looks(jobs: Jobs) -> bool:
    """Whether the job that comes next is a look at the slot: it is left waiting, as if it hung."""
    flight = jobs[0].__closure__
    return flight is not None and any("Lookout" in repr(getattr(cell.cell_contents, "work", "")) for cell in flight)


async def test_the_kms_being_down_is_no_reason_to_give_sharing_up() -> None:
    fleet = Fleet()
    first = fleet.member()
    await first.seal()
    fleet.kms.down = True
    second = fleet.member()
    start = asyncio.ensure_future(second.keyring.prewarm("default"))
    await asyncio.sleep(0)
    for _ in range(5):
        second.advance(10)
        await asyncio.sleep(0)
    fleet.kms.down = False
    await second.finish(start)
    assert await same(first, second)


async def test_the_hot_path_asks_neither_the_keystore_nor_the_kms() -> None:
    fleet = Fleet()
    member = fleet.member()
    await member.seal()
    before = fleet.keystore.gets, fleet.keystore.puts, fleet.kms.wraps, fleet.kms.unwraps
    for _ in range(1_000):
        await member.seal()
    assert before == (fleet.keystore.gets, fleet.keystore.puts, fleet.kms.wraps, fleet.kms.unwraps)


async def test_without_an_authentication_record_nothing_is_shared_and_nothing_read() -> None:
    fleet = Fleet()
    member = Ring(fleet.kms, clock=fleet.clock, keystore=fleet.rows)
    key = await member.seal()
    assert key.record.purpose is Purpose.WRAPPING_KEY
    assert (fleet.keystore.gets, fleet.keystore.puts) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_child_adopts_the_key_of_its_parent() -> None:
    fleet = Fleet()
    member = fleet.member()
    key = await member.seal()

    def work() -> tuple[bytes, int]:
        wraps = fleet.kms.wraps
        return asyncio.run(member.seal()).record.wire, fleet.kms.wraps - wraps

    assert in_child(work) == (key.record.wire, 0)
