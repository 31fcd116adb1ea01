"""Keys for opening: a cache of unwrapped keys, each used only under a live lease."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Container, Iterator

from envelope_codec.envelope import Recipient, Record
from envelope_codec.errors import EnvelopeError, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, closed, told
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.keycache import KeyCache, OpeningKey, RefusalCache, spelling
from envelope_codec.keys.keyset import KeySet, decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.vouching import Leases
from envelope_codec.kms import MasterKey
from envelope_codec.observe import logger

_HOT_ENTRIES = 4_096
_WIPED_AT_ONCE = 128  # keys; after so many, other threads get a turn

Refusals = dict[int, tuple[EnvelopeError, float]]
"""By identity of a master key: what it said of a record, and until when (monotonic seconds) it is not asked again."""


class _Asking:
    """The master keys for one record, asked one after another, each once at most.

    Args:
        calls: makes the calls.
        leases: vouch.
        record: to be opened.
        key_set: of the record's namespace, if there is one.
        refusals: what earlier attempts came to.
        refusal_ttl: seconds for which a denial is not asked for again.
    """

    def __init__(
        self,
        calls: KmsCalls,
        leases: Leases,
        record: Record,
        key_set: KeySet | None,
        refusals: Refusals,
        refusal_ttl: float,
    ) -> None:
        self._calls = calls
        self._leases = leases
        self._record = record
        self._key_set = key_set
        self._refusals = refusals
        self._refusal_ttl = refusal_ttl
        self._errors: list[EnvelopeError] = []
        self._unsure: list[tuple[str, EnvelopeError]] = []
        self._accepted: set[str] = set()
        self._asked: set[int] = set()

    def pairs(self, only: Container[int] | None = None) -> Iterator[tuple[Recipient, MasterKey]]:
        """Who may be asked for what, of all master keys or of those with these identities.

        In the record's order. A master key that is named keeps for that recipient. Once one has been asked for a
        recipient, the other recipients come first: those that accept the same key ids are not all spent on one.
        """
        if self._key_set is None:
            return
        named = {recipient.key_id for recipient in self._record.recipients}
        waiting = [(recipient, iter(self._key_set.opening(recipient.key_id))) for recipient in self._record.recipients]
        while waiting:
            turn, waiting = waiting, []
            for recipient, masters in turn:
                for master in masters:
                    if id(master) in self._asked or (only is not None and id(master) not in only):
                        continue
                    if master.key_id == recipient.key_id or master.key_id not in named:
                        yield recipient, master
                    if id(master) in self._asked:
                        waiting.append((recipient, masters))
                        break

    def accepts(self, recipient: Recipient, master: MasterKey) -> bool:
        """Whether ``master`` opens such recipients. May ask the KMS. Takes note of a failure."""
        try:
            accepted = master.accepts(recipient.key_id)
        except BaseException as error:
            failure = told(error, "open", master)
            self._calls.heard(master, failure)
            self._unsure.append((recipient.key_id, failure))
            return False
        if accepted:
            self._accepted.add(recipient.key_id)
        return accepted

    def ask(self, recipient: Recipient, master: MasterKey) -> tuple[bytes, Lease] | None:
        """The key and the lease that this recipient yields, if ``master`` opens it. Takes note of every failure."""
        if id(master) in self._asked or not self.accepts(recipient, master):
            return None
        self._asked.add(id(master))
        now = self._calls.clock.monotonic()
        refusal, until = self._refusals.get(id(master), (None, -math.inf))
        if refusal is not None and now < until:
            self._errors.append(refusal.fresh())
            return None
        seconds = self._key_set.lease if self._key_set is not None else None
        try:
            return self._leases.unwrap(self._record, recipient, master, seconds)
        except EnvelopeError as error:
            self._errors.append(error)
            if not isinstance(error, KmsUnavailable):
                asked_again = now + self._refusal_ttl if isinstance(error, KeyDenied) else math.inf
                self._refusals[id(master)] = error.fresh(), asked_again
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
        self._refusal_ttl = refusal_ttl
        self._keys = KeyCache(size, calls.clock.monotonic)
        self._refused = RefusalCache(size, refusal_ttl, calls.clock.monotonic)
        self._flights: dict[bytes, Flight[bytes]] = {}
        # What was used last, in a plain dict that is read without the lock. Entries know when they end.
        self._hot: dict[bytes, OpeningKey] = {}

    def at_hand(self, record: Record) -> bytes | None:
        """The key that ``record`` carries, if it is at hand. Never waits."""
        entry = self._hot.get(record.id)
        if entry is not None and entry.allows(record) and entry.live(self._clock.monotonic(), self._clock.time()):
            return entry.key
        return None

    def opened(self, record: Record) -> None:
        """Take note that a payload has been opened with the key that was at hand: its lease is in use."""
        entry = self._hot.get(record.id)
        if entry is not None and entry.serving is not None:
            entry.serving.used = True

    async def get(self, record: Record, deadline: float) -> bytes:
        """The key that ``record`` carries, by ``deadline`` (monotonic seconds). Errors as in `Keyring.opening_key`."""
        reference = spelling(record)
        renewed: set[Lease] = set()
        while True:
            with self._calls.lock:
                if self._calls.closed:
                    raise closed()
                entry = self._entry(record)
                live = entry is not None and entry.live(self._clock.monotonic(), self._clock.time())
                if entry is not None and live and entry.allows(record):
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
                    for lease in (entry.leases if entry is not None and not live else ())
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
            if entry is not None and all(one.ended for one in entry.leases):
                self._keys.discard(record_id)
                self._hot.pop(record_id, None)
            if number % _WIPED_AT_ONCE == 0:
                time.sleep(0.001)

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
            refusals: Refusals = {}
            flight = self._flights[reference] = Flight(lambda: self._ask(record, reference, refusals), deadline)
        flight.join(deadline)
        return flight, new

    def _ask(self, record: Record, reference: bytes, refusals: Refusals | None = None) -> bytes:
        """One attempt: ask each configured master key until one yields the key. Runs in a thread."""
        key_set = self._key_sets(record.namespace)
        asking = self._asking(record, key_set, {} if refusals is None else refusals)
        kept = self._kept(record, reference, asking)
        if kept is not None:
            return kept
        unreachable: list[tuple[Recipient, MasterKey]] = []
        for recipient, master in asking.pairs():
            if self._calls.breaker(master).is_open:
                unreachable.append((recipient, master))
            elif (found := asking.ask(recipient, master)) is not None:
                self._keep(record, *found)
                self._probe(record, unreachable)
                return found[0]
        for recipient, master in asking.pairs({id(master) for _, master in unreachable}):
            if (found := asking.ask(recipient, master)) is not None:
                self._keep(record, *found)
                return found[0]
        raise self._told(record, reference, asking.outcome())

    def _told(self, record: Record, reference: bytes, outcome: EnvelopeError) -> EnvelopeError:
        """``outcome``, after note was taken of it."""
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
        return outcome

    def _asking(self, record: Record, key_set: KeySet | None, refusals: Refusals) -> _Asking:
        return _Asking(self._calls, self._leases, record, key_set, refusals, self._refusal_ttl)

    def _probe(self, record: Record, unreachable: list[tuple[Recipient, MasterKey]]) -> None:
        """Find out in the background whether one of these master keys answers again."""
        for recipient, master in unreachable:
            if self._calls.breaker(master).take_probe(self._clock.monotonic()):
                asking = self._asking(record, self._key_sets(record.namespace), {})

                def probe(
                    recipient: Recipient = recipient, master: MasterKey = master, asking: _Asking = asking
                ) -> None:
                    if (found := asking.ask(recipient, master)) is not None:
                        self._keep(record, *found)

                self._calls.fly(Flight(probe, -math.inf), lambda: None, urgent=True)

    def _kept(self, record: Record, reference: bytes, asking: _Asking) -> bytes | None:
        """The key at hand: since the last attempt, another record has renewed the lease for all, or this is another
        spelling of a record that was opened before. Then one of its recipients, too, must be configured.

        Raises:
            EnvelopeError: none is.
        """
        with self._calls.lock:
            entry = self._entry(record)
            if entry is None or not entry.live(self._clock.monotonic(), self._clock.time()):
                return None
        if not entry.allows(record):
            if not any(asking.accepts(recipient, master) for recipient, master in asking.pairs()):
                raise self._told(record, reference, asking.outcome())
            entry.allow(record, reference)
            with self._calls.lock:
                self._heat(record.id, entry)
        return entry.key

    def _entry(self, record: Record) -> OpeningKey | None:
        entry = self._keys.get(record.id)
        return entry if entry is not None and entry.head == record.head else None

    def _keep(self, record: Record, key: bytes, lease: Lease) -> None:
        with self._calls.lock:
            if self._calls.closed or lease.ended:
                return
            known = self._entry(record)
            others = tuple(other for other in known.leases if other is not lease and not other.ended) if known else ()
            entry = OpeningKey(record, key, (lease, *others[:7]), self._clock.monotonic() + self._ttl)
            if known is not None:
                entry.follow(known)
            entry.allow(record, spelling(record))
            entry.serving = lease
            self._keys[record.id] = entry
            self._heat(record.id, entry)

    def _heat(self, record_id: bytes, entry: OpeningKey) -> None:
        if len(self._hot) >= min(_HOT_ENTRIES, self._keys.maxsize):  # so it never holds what the cache has evicted
            self._hot.clear()
        self._hot[record_id] = entry
