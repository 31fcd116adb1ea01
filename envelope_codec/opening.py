"""Keys for opening: a TTL cache of unwrapped keys, each used only under a live lease."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from cachetools import TTLCache

from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.flight import Flight
from envelope_codec.keyset import KeySet, decisive
from envelope_codec.kmscall import KmsCalls, closed
from envelope_codec.lease import Lease, Leases

_HOT_ENTRIES = 1_024


class _OpeningKey:
    __slots__ = ("expires", "head", "key", "leases", "strict")

    def __init__(self, record: Record, key: bytes, leases: tuple[Lease, ...], expires: float) -> None:
        self.head = record.head
        self.key = key
        # Only recipients that opened this very record vouch for it: a record's list of them is not authenticated.
        self.leases = leases
        self.expires = expires
        self.strict = record.purpose is Purpose.DATA_KEY  # direct mode knows no grace

    def live(self, monotonic: float, time: float) -> bool:
        for lease in self.leases:
            if lease.live(monotonic, time, strict=self.strict):
                lease.used = True
                return True
        return False


class OpeningKeys:
    """The keys at hand for opening, and the way to get others.

    Args:
        key_sets: namespace to its master keys, or None where none are configured.
        calls: makes the calls.
        leases: vouch.
        ttl: seconds for which an unwrapped key is kept.
        size: how many are kept.
        refusal_ttl: seconds for which a record that could not be opened is refused without asking again.
    """

    def __init__(
        self,
        key_sets: Callable[[str], KeySet | None],
        calls: KmsCalls,
        leases: Leases,
        *,
        ttl: float,
        size: int,
        refusal_ttl: float,
    ) -> None:
        self._key_sets = key_sets
        self._calls = calls
        self._clock = calls.clock
        self._leases = leases
        self._ttl = ttl
        self._keys: TTLCache[bytes, _OpeningKey] = TTLCache(size, ttl, calls.clock.monotonic)
        self._refused: TTLCache[bytes, EnvelopeError] = TTLCache(size, refusal_ttl, calls.clock.monotonic)
        self._flights: dict[bytes, Flight[bytes]] = {}
        # What was used last, in a plain dict that is read without the lock. Entries know when they end.
        self._hot: dict[bytes, _OpeningKey] = {}

    def at_hand(self, record: Record) -> bytes | None:
        """The key that ``record`` carries, if it is at hand. Never waits."""
        entry = self._hot.get(record.id)
        if entry is None or entry.head != record.head:
            return None
        monotonic = self._clock.monotonic()
        if monotonic < entry.expires and entry.live(monotonic, self._clock.time()):
            return entry.key
        return None

    async def get(self, record: Record, deadline: float) -> bytes:
        """The key that ``record`` carries, by ``deadline`` (monotonic seconds). Errors as in `Keyring.opening_key`."""
        reference = sha256(record.header_tail).digest()
        renewed: set[Lease] = set()
        while True:
            with self._calls.lock:
                if self._calls.closed:
                    raise closed()
                entry = self._entry(record)
                if entry is not None and entry.live(self._clock.monotonic(), self._clock.time()):
                    self._heat(record.id, entry)
                    return entry.key
                refusal = self._refused.get(reference)
                if refusal is not None:
                    raise refusal.fresh()
                # One call renews a lease for all keys under it; only if that fails is this record asked for alone.
                lapsed = [lease for lease in entry.leases if lease not in renewed] if entry is not None else []
                flight, new = (None, False) if lapsed else self._flight(record, reference, deadline)
            if flight is None:
                renewal = self._leases.renewal(lapsed, renewed, deadline)
                if renewal is None:
                    renewed.update(lapsed)
                else:
                    await renewal.wait(self._clock, deadline)
                continue
            if new:
                self._calls.fly(flight, lambda: self._flights.pop(reference, None))
            return await flight.wait(self._clock, deadline)

    def drop_denied(self) -> None:
        """Forget the keys that no lease vouches for any more."""
        with self._calls.lock:
            self._hot.clear()
            for name, entry in list(self._keys.items()):
                if all(lease.ended for lease in entry.leases):
                    self._keys.pop(name, None)  # not del, which raises for what has just expired

    def clear(self) -> None:
        """Forget every key."""
        with self._calls.lock:
            self._hot.clear()
            self._keys.clear()

    def _flight(self, record: Record, reference: bytes, deadline: float) -> tuple[Flight[bytes], bool]:
        """The flight that opens ``record``, joined, and whether it is new. Called under the lock."""
        flight = self._flights.get(reference)
        new = flight is None
        if flight is None:
            flight = self._flights[reference] = Flight(lambda: self._ask(record, reference), deadline)
        flight.join(deadline)
        return flight, new

    def _ask(self, record: Record, reference: bytes) -> bytes:
        """One attempt: ask each configured recipient until one yields the key. Runs in a thread."""
        kept = self._kept(record)
        if kept is not None:  # since the last attempt, another record has renewed the lease for all
            return kept
        key_set = self._key_sets(record.namespace)
        errors: list[EnvelopeError] = []
        for recipient in record.recipients:
            try:
                masters = key_set.accepting(recipient.key_id) if key_set else []
            except EnvelopeError as error:
                errors.append(error)
                continue
            for master in masters:
                try:
                    key, lease = self._leases.unwrap(record, recipient, master)
                except EnvelopeError as error:
                    errors.append(error)
                    continue
                self._keep(record, key, lease)
                return key
        outcome = decisive(errors, "open")
        if not isinstance(outcome, KmsUnavailable):
            with self._calls.lock:
                self._refused[reference] = outcome.fresh()
        raise outcome

    def _kept(self, record: Record) -> bytes | None:
        with self._calls.lock:
            entry = self._entry(record)
            return entry.key if entry and entry.live(self._clock.monotonic(), self._clock.time()) else None

    def _entry(self, record: Record) -> _OpeningKey | None:
        entry = self._keys.get(record.id)
        return entry if entry is not None and entry.head == record.head else None

    def _keep(self, record: Record, key: bytes, lease: Lease) -> None:
        lease.used = True
        with self._calls.lock:
            if self._calls.closed or lease.ended:
                return
            known = self._entry(record)
            others = tuple(other for other in known.leases if other is not lease and not other.ended) if known else ()
            entry = _OpeningKey(record, key, (lease, *others[:7]), self._clock.monotonic() + self._ttl)
            self._keys[record.id] = entry
            self._heat(record.id, entry)

    def _heat(self, record_id: bytes, entry: _OpeningKey) -> None:
        if len(self._hot) >= min(_HOT_ENTRIES, self._keys.maxsize):  # so it never holds what the cache has evicted
            self._hot.clear()
        self._hot[record_id] = entry
