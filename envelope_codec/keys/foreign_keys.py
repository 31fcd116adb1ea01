"""Data keys that another program had wrapped: each is unwrapped once a lease, and kept for that time."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyNotConfigured, KmsUnavailable
from envelope_codec.keys.calls import KmsCalls, keyring_closed
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.keycache import KeyCache
from envelope_codec.keys.keyset import ForeignMaster, KeySet, pick_decisive
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.moment import Moment
from envelope_codec.keys.refusal_cache import RefusalCache

MAX_FOREIGN_ID = 2_048
"""Bytes of the longest name that another program may have for a master key."""

_KEY_LENGTH = 32
_RENEWED_FROM = 0.75  # of a lease on, a key that is used is asked for again, while it still serves
_LEAST_PAUSE = 1.0  # seconds between two attempts while a KMS can't be reached


class ForeignWrap(NamedTuple):
    """A data key as another program had it wrapped. Whoever can write to Temporal can make one up.

    Attributes:
        key_id: what that program calls its master key.
        ciphertext: what the KMS returned to it.
    """

    key_id: str
    ciphertext: bytes


class Service(Enum):
    """A decision: whether a key that was unwrapped may be used now."""

    SERVES = "it serves"
    RENEWS = "it serves, and is asked for again meanwhile"
    OVER = "it must be asked for again first"


class ForeignKey:
    """A data key of another program, as it was unwrapped.

    Attributes:
        key: the data key.
        sent: when the successful call was sent.
        expires: monotonic seconds after which it is not used, grace included.
        silent: whether the last attempt to ask again got no answer.
        pause_until: monotonic seconds before which it is not asked for again.
    """

    __slots__ = ("expires", "key", "pause_until", "sent", "silent")
    leases: tuple[Lease, ...] = ()  # it has none: a success vouches for this one key

    def __init__(self, key: bytes, sent: Moment, expires: float) -> None:
        self.key = key
        self.sent = sent
        self.expires = expires
        self.silent = False
        self.pause_until = 0.0


def decide_service(age: float, *, lease: float, grace: float, silent: bool, paused: bool) -> Service:
    """Decide on a key at hand.

    Args:
        age: seconds since its last success was sent.
        lease: seconds for which a success vouches.
        grace: how many seconds longer it serves while the KMS can't be reached.
        silent: whether the last attempt to ask again got no answer.
        paused: whether it is too early for the next attempt.
    """
    if age >= lease and not (silent and age < lease + grace):
        return Service.OVER
    return Service.SERVES if age < _RENEWED_FROM * lease or paused else Service.RENEWS


class ForeignKeys:
    """The data keys of another program that are at hand, and the way to get others.

    A master key is asked only if the configuration of the namespace lists it under the very name that the other
    program gave. What that program had wrapped is bound to nothing of ours, so that one success vouches for one data
    key alone, and each key in use costs one call a lease.

    Args:
        key_sets: namespace to its master keys, or None where none are configured.
        calls: makes the calls.
        limits: times and bounds.
        grace: whether keys serve longer while the KMS can't be reached.
    """

    def __init__(
        self, key_sets: Callable[[str], KeySet | None], calls: KmsCalls, limits: Limits, *, grace: bool
    ) -> None:
        self._key_sets = key_sets
        self._calls = calls
        self._clock = calls.clock
        self._limits = limits
        self._grace = limits.outage_grace if grace else 0.0
        self._keys: KeyCache[ForeignKey] = KeyCache(limits.cache_size, calls.clock.monotonic)
        self._refused = RefusalCache(limits.cache_size, limits.refusal_ttl, calls.clock.monotonic)
        self._flights: dict[bytes, Flight[bytes]] = {}

    @property
    def kept(self) -> int:
        """How many keys are kept, usable or not. Needs no lock."""
        return len(self._keys)

    def covers(self, namespace: str, key_id: str) -> bool:
        """Say whether ``namespace`` may open what was sealed under ``key_id``."""
        key_set = self._key_sets(namespace)
        return key_set is not None and key_id in key_set.foreign

    def at_hand(self, namespace: str, wrap: ForeignWrap) -> bytes | None:
        """Return the data key, if it may be used in ``namespace`` now. Never waits."""
        if not self.covers(namespace, wrap.key_id):
            return None
        question = _Question.of(self._key_sets(namespace), namespace, wrap, self._limits.lease)
        with self._calls.lock:
            key, renewal = self._serve(question)
        self._begin(renewal, question)
        return key

    async def get(self, namespace: str, wrap: ForeignWrap, deadline: float) -> bytes:
        """Return the data key, by ``deadline`` (monotonic seconds). Errors as in `Keyring.foreign_key`."""
        question = _Question.of(self._key_sets(namespace), namespace, wrap, self._limits.lease)
        with self._calls.lock:
            if self._calls.closed:
                raise keyring_closed()
            key, begun = self._serve(question)
            if key is None:
                self._refused.check(question.reference)
                begun = None if question.reference in self._flights else self._flight(question)
                joined = self._flight(question).join(deadline)
        self._begin(begun, question)
        return key if key is not None else await joined.wait(self._clock, deadline)

    def clear(self) -> None:
        """Forget every key."""
        with self._calls.lock:
            self._keys.clear()

    def _serve(self, question: _Question) -> tuple[bytes | None, Flight[bytes] | None]:
        """Return the key, if it may be used now, and the flight that is to begin for the next one.

        Called under the lock.
        """
        entry = self._keys.get(question.reference)
        if entry is None or self._calls.closed:
            return None, None
        now = Moment.now(self._clock)
        service = decide_service(
            entry.sent.behind(now),
            lease=question.lease,
            grace=self._grace,
            silent=entry.silent,
            paused=now.monotonic < entry.pause_until,
        )
        if service is Service.OVER:
            return None, None
        idle = question.reference not in self._flights
        return entry.key, self._flight(question) if service is Service.RENEWS and idle else None

    def _flight(self, question: _Question) -> Flight[bytes]:
        """Return the flight that asks this question. Called under the lock."""
        flight = self._flights.get(question.reference)
        if flight is None:
            flight = self._flights[question.reference] = Flight(partial(self._ask, question))
        return flight

    def _begin(self, flight: Flight[bytes] | None, question: _Question) -> None:
        if flight is not None:
            self._calls.fly(flight, lambda: self._flights.pop(question.reference, None))

    def _ask(self, question: _Question) -> bytes:
        """Ask each master key until one yields the key. One attempt; runs in a thread."""
        errors: list[EnvelopeError] = []
        for foreign in question.masters:
            sent = Moment.now(self._clock)
            work = partial(_unwrap, foreign, question.wrap.ciphertext)
            try:
                key = self._calls.call("unwrap", foreign.master, question.namespace, work)
            except EnvelopeError as error:
                errors.append(error)
            else:
                self._keep(question, key, sent)
                return key
        return self._settle(question, pick_decisive(errors, "open"))

    def _keep(self, question: _Question, key: bytes, sent: Moment) -> None:
        with self._calls.lock:
            if not self._calls.closed:
                expires = sent.monotonic + question.lease + self._grace
                self._keys[question.reference] = ForeignKey(key, sent, expires)

    def _settle(self, question: _Question, outcome: EnvelopeError) -> bytes:
        """Take note of ``outcome``. Return the key all the same where it may serve through an outage.

        Raises:
            EnvelopeError: ``outcome``.
        """
        now = Moment.now(self._clock)
        with self._calls.lock:
            if not isinstance(outcome, KmsUnavailable):
                self._keys.discard(question.reference)
                self._refused[question.reference] = outcome.fresh()
                raise outcome
            entry = self._keys.get(question.reference)
            if entry is None or entry.sent.behind(now) >= question.lease + self._grace:
                raise outcome
            entry.silent = True
            entry.pause_until = now.monotonic + max(_LEAST_PAUSE, self._limits.refusal_ttl)
            return entry.key


class _Question(NamedTuple):
    """What is asked of master keys.

    Attributes:
        wrap: the data key as it was wrapped.
        namespace: in which it is opened.
        masters: that are configured for it there.
        lease: seconds for which a success vouches there.
        reference: a digest of the wrapped key, of these master keys, and of the lease: an answer that serves one
            namespace through an outage must not serve another for longer than its own lease and grace.
    """

    wrap: ForeignWrap
    namespace: str
    masters: tuple[ForeignMaster, ...]
    lease: float
    reference: bytes

    @classmethod
    def of(cls, key_set: KeySet | None, namespace: str, wrap: ForeignWrap, lease: float) -> _Question:
        """Make the question. Raises `KeyNotConfigured`: ``key_set`` has no master key of that name."""
        masters = key_set.foreign.get(wrap.key_id) if key_set is not None else None
        if key_set is None or masters is None:
            raise KeyNotConfigured("the master key of another program is not configured", operation="open")
        # By identity: namespaces share what was unwrapped only where they ask the same objects.
        named = " ".join(str(id(foreign.master)) for foreign in masters)
        seconds = float(lease if key_set.lease is None else key_set.lease)
        parts = [named.encode(), str(seconds).encode(), sha256(wrap.key_id.encode()).digest(), wrap.ciphertext]
        return cls(wrap, namespace, masters, seconds, sha256(b"\0".join(parts)).digest())


def _unwrap(foreign: ForeignMaster, ciphertext: bytes) -> bytes:
    key = foreign.unwrap(ciphertext)
    if len(key) != _KEY_LENGTH:
        raise InvalidCiphertext("what the KMS unwrapped is no data key of 32 bytes", operation="unwrap")
    return key
