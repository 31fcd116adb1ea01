"""Answers that count for a few seconds: how long, how many, and what makes room."""

from __future__ import annotations

from envelope_codec.keys.brief_cache import BriefCache
from envelope_codec.testing import ManualClock

TTL = 5.0


def new_cache(size: int = 3) -> tuple[BriefCache[str], ManualClock]:
    clock = ManualClock()
    return BriefCache(size, TTL, clock.monotonic), clock


def test_an_answer_counts_for_its_time() -> None:
    cache, clock = new_cache()
    cache[b"a"] = "answer"
    assert (cache.get(b"a"), cache.get(b"b")) == ("answer", None)
    clock.advance(TTL - 0.5)
    assert cache.get(b"a") == "answer"
    clock.advance(0.5)
    assert cache.get(b"a") is None, "at the very moment"


def test_the_oldest_makes_room_and_one_that_is_given_anew_is_the_youngest() -> None:
    cache, _ = new_cache()
    for digest in (b"a", b"b", b"c"):
        cache[digest] = "first"
    assert len(cache) == 3
    cache[b"a"] = "second"
    cache[b"d"] = "first"
    assert [cache.get(digest) for digest in (b"a", b"b", b"c", b"d")] == ["second", None, "first", "first"]
    assert len(cache) == 3


def test_an_answer_that_is_given_anew_counts_from_then() -> None:
    cache, clock = new_cache()
    cache[b"a"] = "first"
    clock.advance(TTL - 1)
    cache[b"a"] = "second"
    clock.advance(TTL - 1)
    assert cache.get(b"a") == "second"


def test_what_counts_no_more_goes_when_another_comes_64_at_a_time() -> None:
    cache, clock = new_cache(size=1_000)
    for number in range(70):
        cache[bytes([number])] = "old"
    clock.advance(TTL)
    cache[b"new"] = "new"
    assert len(cache) == 7
    cache[b"newer"] = "new"
    assert len(cache) == 2, "those that count stay"


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache, _ = new_cache(size=0)
    cache[b"a"] = "answer"
    assert (len(cache), cache.get(b"a")) == (0, None)
