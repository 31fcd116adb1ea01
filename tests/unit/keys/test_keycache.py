"""The cache of keys for opening: bounds in number and time, and the leases that know what it keeps."""

from __future__ import annotations

import pytest

from envelope_codec.keys.keycache import KeyCache
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.lease_name import LeaseName, Request
from envelope_codec.keys.moment import Moment
from envelope_codec.testing import ManualClock

TTL = 100.0


class Entry:
    def __init__(self, expires: float, *leases: Lease) -> None:
        self.expires = expires
        self.leases = leases


class Shelf:
    """A cache, its clock, and entries that are kept for `TTL` seconds."""

    def __init__(self, size: int = 3) -> None:
        self.clock = ManualClock()
        self.cache: KeyCache[Entry] = KeyCache(size, self.clock.monotonic)

    def put(self, *names: bytes, leases: tuple[Lease, ...] = ()) -> list[Entry]:
        entries = [Entry(self.clock.monotonic() + TTL, *leases) for _ in names]
        for name, entry in zip(names, entries, strict=True):
            self.cache[name] = entry
        return entries

    def kept(self, *names: bytes) -> list[bytes]:
        return [name for name in names if self.cache.peek(name) is not None]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def new_lease() -> Lease:
    return Lease(LeaseName(Request("unwrap", 1, "key", ()), "1", b"", 300.0), Moment(1_000.0, 1_700_000_000.0))


def test_a_key_is_found_until_it_expires(shelf: Shelf) -> None:
    [entry] = shelf.put(b"a")
    assert shelf.cache.get(b"a") is entry
    assert shelf.cache.get(b"b") is None
    assert shelf.cache.values() == [entry]
    shelf.clock.advance(TTL - 0.5)
    assert shelf.cache.get(b"a") is entry
    shelf.clock.advance(0.5)
    assert shelf.cache.get(b"a") is None, "at the very moment"
    assert shelf.cache.values() == []
    assert shelf.cache.peek(b"a") is entry


def test_as_many_are_kept_as_the_size_says_and_the_least_recently_used_goes(shelf: Shelf) -> None:
    shelf.put(b"a", b"b", b"c")
    assert len(shelf.cache) == 3
    shelf.cache.get(b"a")
    shelf.cache.peek(b"b")
    shelf.put(b"d")
    assert shelf.kept(b"a", b"b", b"c", b"d") == [b"a", b"c", b"d"]
    assert len(shelf.cache) == 3


def test_a_key_that_is_put_again_is_the_newest_and_takes_no_more_room(shelf: Shelf) -> None:
    shelf.put(b"a", b"b")
    shelf.clock.advance(TTL / 2)
    [entry] = shelf.put(b"a")
    assert len(shelf.cache) == 2
    shelf.clock.advance(TTL / 2)
    shelf.put(b"c")
    assert shelf.kept(b"a", b"b", b"c") == [b"a", b"c"], "the old one has expired, the new one has not"
    assert shelf.cache.get(b"a") is entry


def test_what_has_expired_goes_when_another_comes_64_at_a_time() -> None:
    shelf = Shelf(size=1_000)
    shelf.put(*(bytes([number]) for number in range(70)))
    shelf.clock.advance(TTL)
    shelf.put(b"new")
    assert len(shelf.cache) == 7
    shelf.put(b"newer")
    assert len(shelf.cache) == 2, "those that have not expired stay"


def test_the_leases_of_a_key_know_of_it_as_long_as_it_is_kept(shelf: Shelf) -> None:
    one, two = new_lease(), new_lease()
    shelf.put(b"a", b"b", leases=(one, two))
    shelf.put(b"c", leases=(two,))
    assert (one.records, two.records) == ({b"a", b"b"}, {b"a", b"b", b"c"})
    shelf.cache.discard(b"a")
    shelf.cache.discard(b"a")
    assert (one.records, two.records) == ({b"b"}, {b"b", b"c"})
    shelf.put(b"b", leases=(two,))
    assert (one.records, two.records) == (set(), {b"b", b"c"})
    assert shelf.kept(b"a", b"b", b"c") == [b"b", b"c"]


def test_a_cleared_cache_is_as_a_new_one(shelf: Shelf) -> None:
    shelf.put(b"a", b"b", b"c")
    shelf.cache.clear()
    assert len(shelf.cache) == 0
    shelf.clock.advance(TTL)
    [entry] = shelf.put(b"a")
    assert shelf.cache.values() == [entry]
