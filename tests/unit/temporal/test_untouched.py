"""A payload that is held is left alone, and no other that looks like it."""

from __future__ import annotations

import gc

from temporalio.api.common.v1 import Payload

from envelope_codec.temporal import untouched
from envelope_codec.temporal.untouched import Untouched, any_untouched, is_untouched

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b"null")


def copied() -> Payload:
    payload = Payload()
    payload.CopyFrom(PLAIN)
    return payload


def test_only_the_very_object_is_held() -> None:
    held, equal = copied(), copied()
    holder = Untouched()
    holder.hold([held])
    assert is_untouched(held)
    assert not is_untouched(equal)
    assert any_untouched([equal, held])
    assert not any_untouched([equal])
    holder.hold([])


def test_what_is_held_next_takes_the_place_of_what_was_held_before() -> None:
    first, second = copied(), copied()
    holder = Untouched()
    holder.hold([first])
    holder.hold([second])
    assert not is_untouched(first)
    assert is_untouched(second)
    holder.hold([])
    assert not any_untouched([first, second])


def test_two_holders_are_independent() -> None:
    one, other = Untouched(), Untouched()
    first, second = copied(), copied()
    one.hold([first])
    other.hold([second])
    one.hold([])
    assert not is_untouched(first)
    assert is_untouched(second)
    other.hold([])


def test_nothing_is_kept_longer_than_its_holder() -> None:
    before = len(untouched._untouched)
    holder = Untouched()
    holder.hold([copied(), copied()])
    assert len(untouched._untouched) == before + 2
    del holder
    gc.collect()
    assert len(untouched._untouched) == before
