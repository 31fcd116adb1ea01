"""Keys for opening: a cache of unwrapped keys, each used only under a live lease."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial

from envelope_codec.envelope import MAX_RECIPIENTS, Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, Threads, keyring_closed
from envelope_codec.keys.decisions import opens
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.inquiry import Inquiry, Refusals, log_unconfigured
from envelope_codec.keys.keycache import KeyCache
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.lookups import Lookups
from envelope_codec.keys.opening_key import OpeningKey, digest_of
from envelope_codec.keys.refusal_cache import RefusalCache
from envelope_codec.keys.sealing_key import Wrapped
from envelope_codec.keys.vouching import Leases
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Event, report

_HOT_ENTRIES = 4_096
_AHEAD = 8  # records: a caller with hostile ones must leave most threads to others
_AHEAD_FITS = 4 * _AHEAD  # keys: a smaller cache would lose what was fetched ahead before it is used
_WIPED_AT_ONCE = 128  # keys; after so many, other threads get a turn


class OpeningKeys:
    """The keys at hand for opening, and the way to get others.

    Args:
        key_sets: namespace to its master keys, or None where none are configured.
        calls: makes the calls.
        leases: vouch.
        limits: times and bounds.
        lookups: find what a keystore has of records whose own recipients do not serve.
    """

    def __init__(
        self,
        key_sets: Callable[[str], KeySet | None],
        calls: KmsCalls,
        leases: Leases,
        limits: Limits,
        lookups: Lookups,
    ) -> None:
        self._key_sets = key_sets
        self._lookups = lookups
        self._calls = calls
        self._clock = calls.clock
        self._leases = leases
        self._limits = limits
        self._keys: KeyCache[OpeningKey] = KeyCache(limits.cache_size, calls.clock.monotonic)
        self._refused = RefusalCache(limits.cache_size, limits.refusal_ttl, calls.clock.monotonic)
        self._flights: dict[bytes, Flight[bytes]] = {}
        self._ahead: set[bytes] = set()
        # What was used last, in a plain dict that is read without the lock. Entries know when they end.
        self._hot: dict[bytes, OpeningKey] = {}

    def at_hand(self, record: Record) -> bytes | None:
        """Return the key that ``record`` carries, if it is at hand. Never waits."""
        entry = self._hot.get(record.id)
        if entry is None or not entry.allows(record):
            return None
        lease = entry.live_lease(self._clock.monotonic(), self._clock.time())
        if lease is None:
            return None
        entry.serving = lease
        return entry.key

    @property
    def kept(self) -> int:
        """How many keys are kept, usable or not. Needs no lock."""
        return len(self._keys)

    def note_use(self, record: Record) -> None:
        """Take note that a payload has been opened with the key that was at hand: its lease is in use."""
        entry = self._hot.get(record.id)
        if entry is not None and entry.serving is not None:
            entry.serving.used = True

    async def get(self, record: Record, deadline: float) -> bytes:
        """Return the key that ``record`` carries, by ``deadline`` (monotonic seconds).

        Errors as in `Keyring.opening_key`.
        """
        key = self._recall(record)
        return key if key is not None else await self._fetch(record, deadline)

    def _recall(self, record: Record) -> bytes | None:
        """Look for the key in the cache, and where it is not, for a refusal. Report both."""
        with self._calls.lock:
            key = None if self._calls.closed else self._usable_key(record)
            refused = key is None and self._refused.get(digest_of(record)) is not None
        self._report_recall("opening", record, hit=key is not None)
        if key is None:
            self._report_recall("refusal", record, hit=refused)
        return key

    def _report_recall(self, cache: str, record: Record, *, hit: bool) -> None:
        report(self._calls.observer, Event("recall", "ok", record.namespace, cache=cache, hit=hit))

    async def _fetch(self, record: Record, deadline: float) -> bytes:
        """Return the key, asking the KMS for it if need be. Errors as `get`."""
        reference = digest_of(record)
        renewed: set[Lease] = set()
        while True:
            with self._calls.lock:
                if self._calls.closed:
                    raise keyring_closed()
                key = self._usable_key(record)
                if key is not None:
                    return key
                self._refused.check(reference)
                lapsed = self._lapsed(record, renewed)
                flight, new = (None, False) if lapsed else self._flight(record, reference)
                if flight is not None:
                    flight.join(deadline)
            if flight is not None:
                if new:
                    self._calls.fly(flight, lambda: self._land(reference))
                return await flight.wait(self._clock, deadline)
            await self._renew(lapsed, renewed, deadline)

    def get_here(self, record: Record) -> bytes:
        """Return the key that ``record`` carries. One attempt, made here in this thread. Errors as `get`."""
        key, reference = self.at_hand(record), digest_of(record)
        if key is not None:
            return key
        with self._calls.lock:
            self._refused.check(reference)
        return self._ask(record, reference)

    def fetch_ahead(self, record: Record) -> bool:
        """Begin to fetch the key of ``record``, for which a caller is about to ask. Never waits, never raises.

        It is asked for once, and for the caller to ask again if that fails. Nothing is begun for a key that was at hand
        before, whose lease one call renews for all; for a record that was just refused; while a master key of its
        namespace does not answer; or for a cache that has no room for several.

        Returns:
            Whether more may be begun: so many records at a time, for all callers together.
        """
        if self._limits.cache_size < _AHEAD_FITS:
            return False
        if self.at_hand(record) is not None or not self._all_answer(record.namespace):
            return True
        reference = digest_of(record)
        with self._calls.lock:
            if self._calls.closed or len(self._ahead) >= _AHEAD:
                return False
            known = self._entry(record) is not None or self._refused.get(reference) is not None
            if known or reference in self._flights:
                return True
            self._ahead.add(reference)
            flight, _ = self._flight(record, reference)
        self._calls.fly(flight, lambda: self._land(reference))
        return True

    def _all_answer(self, namespace: str) -> bool:
        """Say whether ``namespace`` has master keys, each of which answered when it was last asked."""
        key_set = self._key_sets(namespace)
        return key_set is not None and not any(self._calls.breaker(master).is_open for master in key_set.masters)

    def keep_own(self, made: Wrapped) -> None:
        """Keep a new wrapping key of this process, so that what it seals opens here without another call.

        Only what an unwrap has proved counts: the leases of the unwraps that checked the new record, where opening
        would have asked the same master key for a lease of the same length. A record that was not checked is not kept.
        """
        key_set = self._key_sets(made.record.namespace)
        if key_set is None:
            return
        masters = {id(master) for master in key_set.masters}
        seconds = self._limits.lease if key_set.lease is None else key_set.lease
        self._keep(made.record, made.key, [lease for lease in made.leases if opens(lease.name, masters, seconds)])

    def wipe(self, lease: Lease) -> None:
        """Forget the keys that nothing but this lease, which was denied, vouched for. Runs in a thread.

        Without the lock, since event loops wait for that.
        """
        for number in itertools.count(1):
            try:
                record_id = lease.records.pop()
            except KeyError:
                return
            entry = self._keys.peek(record_id)
            if entry is not None and entry.is_denied():
                self._keys.discard(record_id)
                self._hot.pop(record_id, None)
            if number % _WIPED_AT_ONCE == 0:
                time.sleep(0.001)

    def clear(self) -> None:
        """Forget every key."""
        with self._calls.lock:
            self._hot.clear()
            self._keys.clear()

    def _serves(self, entry: OpeningKey) -> bool:
        """Say whether ``entry`` may be used now, and remember the lease by which it may."""
        lease = entry.live_lease(self._clock.monotonic(), self._clock.time())
        if lease is not None:
            entry.serving = lease
        return lease is not None

    def _usable_key(self, record: Record) -> bytes | None:
        """Return the key of ``record``, if it may be used now. Called under the lock."""
        entry = self._entry(record)
        if entry is None or not self._serves(entry) or not entry.allows(record):
            return None
        self._heat(record.id, entry)
        return entry.key

    def _lapsed(self, record: Record, renewed: set[Lease]) -> list[Lease]:
        """List the leases to renew for the key of ``record``: one call renews a lease for all keys under it.

        Only if that fails is the record asked for alone. A renewal is not waited for where the KMS is known to be out
        of reach and there is another recipient to ask.
        """
        entry = self._entry(record)
        if entry is None or self._serves(entry):
            return []
        several = len(record.recipients) > 1 or self._may_have_others(record)
        return [lease for lease in entry.leases if lease not in renewed and not (lease.outage and several)]

    def _may_have_others(self, record: Record) -> bool:
        """Say whether the record's row may have a recipient of a master key that is within reach."""
        key_set = self._key_sets(record.namespace) if self._lookups.cover(record) else None
        return key_set is not None and not all(self._calls.breaker(master).is_open for master in key_set.masters)

    async def _renew(self, lapsed: list[Lease], renewed: set[Lease], deadline: float) -> None:
        renewal = self._leases.renew_first(lapsed, renewed, deadline)
        if renewal is None:
            renewed.update(lapsed)
        else:
            await renewal.wait(self._clock, deadline)

    def _flight(self, record: Record, reference: bytes) -> tuple[Flight[bytes], bool]:
        """Return the flight that opens ``record``, and whether it is new. Called under the lock."""
        flight = self._flights.get(reference)
        if flight is not None:
            return flight, False
        refusals: Refusals = {}
        flight = self._flights[reference] = Flight(lambda: self._ask(record, reference, refusals))
        return flight, True

    def _land(self, reference: bytes) -> None:
        """Take note that a flight has ended. Called under the lock."""
        self._flights.pop(reference, None)
        self._ahead.discard(reference)

    def _ask(self, record: Record, reference: bytes, refusals: Refusals | None = None) -> bytes:
        """Ask each configured master key until one yields the key. One attempt; runs in a thread."""
        key_set = self._key_sets(record.namespace)
        inquiry = self._inquiry(record, key_set, {} if refusals is None else refusals)
        kept = self._kept(record, reference, inquiry)
        if kept is not None:
            return kept
        unreachable: list[tuple[Recipient, MasterKey]] = []
        for recipient, master in inquiry.pairs():
            if self._calls.breaker(master).is_open:
                unreachable.append((recipient, master))
            elif (key := self._ask_one(record, inquiry, recipient, master)) is not None:
                self._probe(record, unreachable)
                return key
        for recipient, master in inquiry.pairs({id(master) for _, master in unreachable}):
            if (key := self._ask_one(record, inquiry, recipient, master)) is not None:
                return key
        raise self._record_refusal(record, reference, inquiry.outcome())

    def _ask_one(self, record: Record, inquiry: Inquiry, recipient: Recipient, master: MasterKey) -> bytes | None:
        """Ask one master key. Return and keep the key that it yields, if it yields one."""
        found = inquiry.ask(recipient, master)
        if found is None:
            return None
        key, lease = found
        self._keep(record, key, [lease])
        return key

    def _record_refusal(self, record: Record, reference: bytes, outcome: EnvelopeError) -> EnvelopeError:
        """Take note of ``outcome``, and return it."""
        if isinstance(outcome, KeyNotConfigured):
            log_unconfigured(record)
        if not isinstance(outcome, KmsUnavailable):
            with self._calls.lock:
                self._refused[reference] = outcome.fresh()
        return outcome

    def _inquiry(self, record: Record, key_set: KeySet | None, refusals: Refusals) -> Inquiry:
        ttl = self._limits.refusal_ttl
        return Inquiry(self._calls, self._leases, self._lookups, record, key_set, refusals, ttl)

    def _probe(self, record: Record, unreachable: list[tuple[Recipient, MasterKey]]) -> None:
        """Find out in the background whether one of these master keys answers again."""
        for recipient, master in unreachable:
            if self._calls.breaker(master).take_probe(self._clock.monotonic()):
                inquiry = self._inquiry(record, self._key_sets(record.namespace), {})
                probe = partial(self._ask_one, record, inquiry, recipient, master)
                self._calls.fly(Flight(probe), lambda: None, threads=Threads.URGENT)

    def _kept(self, record: Record, reference: bytes, inquiry: Inquiry) -> bytes | None:
        """Return the key, if it is at hand by now: another record has renewed the lease for all since the last attempt.

        Or this is another spelling of a record that was opened before. Then one of its recipients must be configured,
        or one of those that the keystore has of it.

        Raises:
            EnvelopeError: none of its recipients is configured.
        """
        with self._calls.lock:
            entry = self._entry(record)
            if entry is None or not self._serves(entry):
                return None
        if not entry.allows(record):
            if not inquiry.is_configured():
                raise self._record_refusal(record, reference, inquiry.outcome())
            entry.allow(record, reference)
            with self._calls.lock:
                self._heat(record.id, entry)
        return entry.key

    def _entry(self, record: Record) -> OpeningKey | None:
        entry = self._keys.get(record.id)
        return entry if entry is not None and entry.head == record.head else None

    def _keep(self, record: Record, key: bytes, leases: list[Lease]) -> None:
        """Keep a key that opened under these ``leases``, those aside that have been denied since."""
        with self._calls.lock:
            live = [lease for lease in leases if not lease.ended]
            if self._calls.closed or not live:
                return
            known = self._entry(record)
            others = [lease for lease in known.leases if lease not in live and not lease.ended] if known else []
            kept = tuple([*live, *others][:MAX_RECIPIENTS])
            entry = OpeningKey(record, key, kept, self._clock.monotonic() + self._limits.cache_ttl)
            if known is not None:
                entry.follow(known)
            entry.allow(record, digest_of(record))
            entry.serving = live[0]
            self._keys[record.id] = entry
            self._heat(record.id, entry)

    def _heat(self, record_id: bytes, entry: OpeningKey) -> None:
        if len(self._hot) >= min(_HOT_ENTRIES, self._keys.maxsize):  # so it never holds what the cache has evicted
            self._hot.clear()
        self._hot[record_id] = entry
