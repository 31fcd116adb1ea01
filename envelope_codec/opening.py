"""Keys for opening: a TTL cache of unwrapped keys, each used only under a live lease."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256

from cachetools import TTLCache

from envelope_codec.envelope import Purpose, Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyNotConfigured, KmsUnavailable
from envelope_codec.flight import Flight
from envelope_codec.keyset import KeySet, decisive
from envelope_codec.kms import MasterKey
from envelope_codec.kmscall import KmsCalls, closed, told
from envelope_codec.lease import Lease, Leases
from envelope_codec.observe import logger

_HOT_ENTRIES = 4_096


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


class _Asking:
    """The recipients of one record, asked one after another."""

    def __init__(self, calls: KmsCalls, leases: Leases, record: Record) -> None:
        self._calls = calls
        self._leases = leases
        self._record = record
        self._errors: list[EnvelopeError] = []
        self._unsure: list[tuple[str, EnvelopeError]] = []
        self._accepted: set[str] = set()

    def ask(self, recipient: Recipient, master: MasterKey) -> tuple[bytes, Lease] | None:
        """The key and the lease that this recipient yields, if ``master`` opens it. Takes note of every failure."""
        try:
            if not master.accepts(recipient.key_id):  # may ask the KMS
                return None
        except BaseException as error:
            failure = told(error, "open", master)
            self._calls.heard(master, failure)
            self._unsure.append((recipient.key_id, failure))
            return None
        self._accepted.add(recipient.key_id)
        try:
            return self._leases.unwrap(self._record, recipient, master)
        except EnvelopeError as error:
            self._errors.append(error)
            return None

    def outcome(self) -> EnvelopeError:
        """What it all comes to, none having yielded the key. Who could not say whether a recipient is its own does not
        matter where another knew that it is.
        """
        unsure = [error for key_id, error in self._unsure if key_id not in self._accepted]
        return decisive([*self._errors, *unsure], "open")


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
                # One call renews a lease for all keys under it; only if that fails is this record asked for alone. It
                # is not waited for where it is known to be in vain and there is another recipient to ask.
                several = len(record.recipients) > 1
                lapsed = [
                    lease
                    for lease in (entry.leases if entry is not None else ())
                    if lease not in renewed and not (lease.outage and several)
                ]
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
        asking = _Asking(self._calls, self._leases, record)
        unreachable: list[tuple[Recipient, MasterKey]] = []
        for recipient in record.recipients:
            for master in key_set.opening(recipient.key_id) if key_set else ():
                if self._calls.breaker(master).is_open:
                    unreachable.append((recipient, master))
                elif (found := asking.ask(recipient, master)) is not None:
                    self._keep(record, *found)
                    self._probe(record, unreachable)
                    return found[0]
        for recipient, master in unreachable:
            if (found := asking.ask(recipient, master)) is not None:
                self._keep(record, *found)
                return found[0]
        outcome = asking.outcome()
        if isinstance(outcome, KeyNotConfigured):
            # In the log alone, and quoted: whoever can write to Temporal can make these names up.
            named = [recipient.key_id for recipient in record.recipients]
            text = (
                "no master key of %.600r is configured for namespace %.200r: add it to decrypt_keys, if it is one of "
            )
            text += "yours, and check with `envelope-codec doctor`"
            logger.warning(text, named, record.namespace)
        if not isinstance(outcome, KmsUnavailable):
            with self._calls.lock:
                self._refused[reference] = outcome.fresh()
        raise outcome

    def _probe(self, record: Record, unreachable: list[tuple[Recipient, MasterKey]]) -> None:
        """Find out in the background whether one of these master keys answers again."""
        for recipient, master in unreachable:
            if self._calls.breaker(master).take_probe(self._clock.monotonic()):
                asking = _Asking(self._calls, self._leases, record)

                def probe(
                    recipient: Recipient = recipient, master: MasterKey = master, asking: _Asking = asking
                ) -> None:
                    if (found := asking.ask(recipient, master)) is not None:
                        self._keep(record, *found)

                self._calls.fly(Flight(probe, -math.inf), lambda: None, urgent=True)

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
