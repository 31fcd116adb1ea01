"""The decisions of the keyring, as tables: one row a case."""

from __future__ import annotations

import itertools

import pytest

from envelope_codec.keys.decisions import (
    Choice,
    Renewal,
    Start,
    Use,
    believe,
    choose_key,
    decide_renewal,
    decide_use,
    may_go_on,
    opens,
    start_after_refusal,
    start_for_caller,
    start_in_background,
)
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.sealing_key import AtNextUse, Stage

FRESH, RIPE, SPENT, OVERDRAWN = Stage.FRESH, Stage.RIPE, Stage.SPENT, Stage.OVERDRAWN
NOTHING, PREPARE, TRY, WAIT = AtNextUse.NOTHING, AtNextUse.PREPARE, AtNextUse.TRY, AtNextUse.WAIT


@pytest.mark.parametrize(
    ("stage", "at_next_use", "over", "near_end", "use"),
    [
        # Most are sealed: each payload asks for the next key.
        (FRESH, NOTHING, False, True, Use(seals=True, tries=False, prepares=True, then=NOTHING)),
        (RIPE, NOTHING, False, True, Use(seals=True, tries=False, prepares=True, then=NOTHING)),
        # Its time came while it was not in use.
        (FRESH, PREPARE, False, False, Use(seals=True, tries=False, prepares=True, then=PREPARE)),
        (RIPE, PREPARE, False, False, Use(seals=True, tries=False, prepares=True, then=PREPARE)),
        (RIPE, PREPARE, False, True, Use(seals=True, tries=False, prepares=True, then=PREPARE)),
        # Trials that sleep begin, and that is all for a fresh key that is not near its end.
        (FRESH, TRY, False, False, Use(seals=True, tries=True, prepares=False, then=NOTHING)),
        (FRESH, TRY, False, True, Use(seals=True, tries=True, prepares=True, then=PREPARE)),
        (RIPE, TRY, False, False, Use(seals=True, tries=True, prepares=True, then=PREPARE)),
        (OVERDRAWN, TRY, True, True, Use(seals=True, tries=True, prepares=True, then=PREPARE)),
        # In an outage the timer asks.
        (FRESH, WAIT, False, True, Use(seals=True, tries=False, prepares=False, then=WAIT)),
        (RIPE, WAIT, False, True, Use(seals=True, tries=False, prepares=False, then=WAIT)),
        (OVERDRAWN, WAIT, True, True, Use(seals=True, tries=False, prepares=False, then=WAIT)),
    ],
)
def test_what_a_payload_sets_off(stage: Stage, at_next_use: AtNextUse, over: bool, near_end: bool, use: Use) -> None:
    assert decide_use(stage, at_next_use, over=over, near_end=near_end) == use


@pytest.mark.parametrize(("stage", "at_next_use"), [*itertools.product([FRESH, RIPE, SPENT], AtNextUse)])
def test_a_payload_after_the_last_is_not_sealed(stage: Stage, at_next_use: AtNextUse) -> None:
    use = decide_use(stage, at_next_use, over=True, near_end=True)
    assert use == Use(seals=False, tries=False, prepares=False, then=at_next_use)


@pytest.mark.parametrize(
    ("outage", "due", "vouched", "goes_on"),
    [
        (True, True, True, True),
        (True, False, True, True),
        (False, False, True, True),
        (False, True, True, False),
        (True, True, False, False),
        (True, False, False, False),
        (False, False, False, False),
        (False, True, False, False),
    ],
)
def test_whether_the_key_in_use_goes_on(outage: bool, due: bool, vouched: bool, goes_on: bool) -> None:
    assert may_go_on(outage=outage, due=due, vouched=vouched) is goes_on


@pytest.mark.parametrize(
    ("denied", "usable", "old", "old_lacks", "new_lacks", "choice"),
    [
        (True, True, FRESH, 0, 0, Choice.NEITHER),
        (True, False, None, 0, 0, Choice.NEITHER),
        (False, False, None, 0, 3, Choice.NEW),
        (False, True, FRESH, 0, 0, Choice.NEW),
        (False, True, FRESH, 2, 1, Choice.NEW),
        (False, True, FRESH, 1, 1, Choice.OLD),
        (False, True, FRESH, 1, 2, Choice.OLD),
        (False, True, FRESH, 0, 1, Choice.OLD),
        (False, False, FRESH, 0, 1, Choice.NEW),
        (False, True, RIPE, 0, 1, Choice.NEW),
        (False, True, SPENT, 0, 1, Choice.NEW),
        (False, True, OVERDRAWN, 0, 1, Choice.NEW),
    ],
)
def test_which_key_seals_from_now_on(
    denied: bool, usable: bool, old: Stage | None, old_lacks: int, new_lacks: int, choice: Choice
) -> None:
    found = choose_key(denied=denied, usable=usable, old=old, old_lacks=old_lacks, new_lacks=new_lacks)
    assert found is choice


@pytest.mark.parametrize(
    ("in_use", "refused", "start"),
    [
        (True, False, Start.CALL),
        (True, True, Start.NONE),
        (False, False, Start.NONE),
        (False, True, Start.NONE),
    ],
)
def test_when_the_next_key_is_asked_for_in_the_background(in_use: bool, refused: bool, start: Start) -> None:
    assert start_in_background(in_use=in_use, refused=refused) is start


@pytest.mark.parametrize(
    ("usable", "refused", "start"),
    [
        (True, False, Start.NONE),
        (True, True, Start.NONE),
        (False, True, Start.REFUSE),
        (False, False, Start.CALL),
    ],
)
def test_when_a_key_is_asked_for_by_a_caller(usable: bool, refused: bool, start: Start) -> None:
    assert start_for_caller(usable=usable, refused=refused) is start


@pytest.mark.parametrize(
    ("in_use", "refused", "seen", "start"),
    [
        (True, False, False, Start.NONE),
        (True, True, True, Start.NONE),
        (False, False, True, Start.NONE),
        (False, False, False, Start.NONE),
        (False, True, True, Start.CALL),
        (False, True, False, Start.REFUSE),
    ],
)
def test_when_one_who_waits_out_a_refusal_asks_again(in_use: bool, refused: bool, seen: bool, start: Start) -> None:
    assert start_after_refusal(in_use=in_use, refused=refused, seen=seen) is start


@pytest.mark.parametrize(
    ("retries", "early", "used", "near_end", "renewal"),
    [
        (True, True, False, False, Renewal.RENEW),
        (True, False, False, True, Renewal.RENEW),
        (False, True, True, False, Renewal.RESCHEDULE),
        (False, True, False, False, Renewal.RESCHEDULE),
        (False, False, True, False, Renewal.RENEW),
        (False, False, True, True, Renewal.RENEW),
        (False, False, False, False, Renewal.LOOK_AGAIN),
        (False, False, False, True, Renewal.LAPSE),
    ],
)
def test_what_becomes_of_a_lease_when_its_timer_fires(
    retries: bool, early: bool, used: bool, near_end: bool, renewal: Renewal
) -> None:
    assert decide_renewal(retries=retries, early=early, used=used, near_end=near_end) is renewal


@pytest.mark.parametrize(
    ("denied", "doubtful", "contested", "believed"),
    [
        (False, False, False, True),
        (False, False, True, True),
        (False, True, False, False),
        (False, True, True, True),
        (True, False, False, False),
        (True, False, True, False),
        (True, True, False, False),
        (True, True, True, False),
    ],
)
def test_whether_a_success_counts(denied: bool, doubtful: bool, contested: bool, believed: bool) -> None:
    assert believe(denied=denied, doubtful=doubtful, contested=contested) is believed


@pytest.mark.parametrize(
    ("operation", "master", "seconds", "counts"),
    [
        ("unwrap", 1, 300.0, True),
        ("unwrap", 2, 300.0, True),
        ("wrap", 1, 300.0, False),  # it proves that the key may seal
        ("unwrap", 3, 300.0, False),  # opening may not ask that one
        ("unwrap", 1, 60.0, False),  # opening has a lease of another length
    ],
)
def test_which_lease_of_a_new_key_counts_for_opening(operation: str, master: int, seconds: float, counts: bool) -> None:
    name = LeaseName(Request(operation, master, "key", ()), "1", b"", seconds)
    assert opens(name, {1, 2}, 300.0) is counts
