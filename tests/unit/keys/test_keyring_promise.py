"""The promise, held against a model while everything happens in any order.

After a revocation nothing is sealed or opened later than one lease if the KMS answers, later than one lease and its
grace if it can't be reached. And a key that is allowed always works once the KMS answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from envelope_codec.envelope import Purpose, Record
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.keys.limits import Limits
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.calls_in_turn import in_turn
from tests.support.keyring_on_fakes import Jobs, Ring, wrapped_by

LEASE, GRACE, REFUSAL, MAX_AGE, MAX_PAYLOADS = 300.0, 3_600.0, 5.0, 7_200.0, 40
LIMITS = Limits(
    max_age=MAX_AGE,
    max_payloads=MAX_PAYLOADS,
    cache_ttl=1e9,
    lease=LEASE,
    outage_grace=GRACE,
    refusal_ttl=REFUSAL,
)
NAMESPACES = ("a", "b")
SLACK = 0.01
LONGEST_BACKOFF = 5.0

LeaseName = tuple[str, str, str]  # key version, namespace, purpose
PURPOSES = {Purpose.WRAPPING_KEY: "wrapping-key", Purpose.DATA_KEY: "data-key"}


class Sent(NamedTuple):
    """When a call was sent."""

    true: float
    monotonic: float
    wall: float
    answers: int
    """How many answers had been heard before."""


class Witnessed(FakeKms):
    """Tells the model each call: when it was sent, and what the answer was when it arrived."""

    def __init__(self) -> None:
        super().__init__("key")
        self.forbidden: set[LeaseName] = set()
        self.sending: Callable[[], Sent]
        self.heard: Callable[[str, LeaseName, Sent, str, str], None]
        self.twin = FakeKms("key")  # of another writer, whose calls nobody counts
        self.twin._versions = self._versions

    @property
    def version(self) -> str:
        return str(len(self._versions))

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        lease = (self.version, context["temporal-namespace"], context["envelope-codec:purpose"])
        wrapped: WrappedSecret = self._witness(
            "wrap", lease, context, lambda: super(Witnessed, self).wrap(secret, context)
        )
        return wrapped

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        lease = (wrapped.key_version, context["temporal-namespace"], context["envelope-codec:purpose"])
        unwrapped: Unwrapped = self._witness(
            "unwrap", lease, context, lambda: super(Witnessed, self).unwrap(wrapped, context)
        )
        return unwrapped

    def _witness(self, operation: str, lease: Any, context: Mapping[str, str], work: Callable[[], Any]) -> Any:
        sent, outcome = self.sending(), "ok"
        try:
            result = work()
            if lease in self.forbidden:
                raise KeyDenied("forbidden", operation=operation)
            return result
        except EnvelopeError as error:
            outcome = type(error).__name__
            raise
        finally:
            self.heard(operation, lease, sent, context["envelope-codec:id"], outcome)


class World:
    """A keyring, a KMS that comes and goes, and a model of what may and what must work."""

    def __init__(self, *, grace: float = GRACE, jitter: float = 0.5) -> None:
        self.loop = asyncio.new_event_loop()
        self.kms = Witnessed()
        self.kms.sending, self.kms.heard = self.sending, self.heard
        self.kms.before_call = self.during_call
        self.grace = grace
        self.ring = Ring(self.kms, limits=dataclasses.replace(LIMITS, outage_grace=grace), jitter=jitter, spawn=Jobs())
        self.clock = self.ring.clock
        self.renewing = [False]
        renew_once = self.ring.keyring._leases.renewals.renew_once
        self.ring.keyring._leases.renewals.renew_once = lambda lease: self.within(True, lambda: renew_once(lease))  # type: ignore[method-assign]
        self.start = self.clock.time()
        self.stepped = 0.0
        self.interruption: Callable[[], None] | None = None
        self.interrupted = False
        # What the model knows.
        self.records: list[tuple[Record, bytes]] = []
        self.foreign: set[str] = set()  # ids that are not of a sealing key to come
        self.opened: set[bytes] = set()  # ids of records whose keys are at hand
        self.current: dict[str, tuple[str, str] | None] = {}  # namespace: id and version of its sealing key
        self.vouched: dict[LeaseName, Sent] = {}
        self.denied_at: dict[LeaseName, int] = {}  # as its lease was to be renewed
        self.refused_at: dict[LeaseName, int] = {}  # as a record was asked for
        self.outage: set[LeaseName] = set()
        self.unanswered_at: dict[str, float] = {}  # namespace: when a call last got no answer
        self.unanswered_since: dict[str, set[bytes]] = {}
        self.forbidden_at: dict[LeaseName, float] = {}
        self.last_down: float = float("-inf")
        self.refused: dict[bytes, float] = {}  # until when, in monotonic seconds
        self.sealing_refused: dict[str, float] = {}
        self.sealed: Counter[bytes] = Counter()
        self.born: dict[bytes, float] = {}
        self.answers = 0
        self.uses = Counter[str]()

    # --- time -----------------------------------------------------------------------------------------------------

    @property
    def true(self) -> float:
        """Seconds that have really passed, suspended or not."""
        return self.clock.time() - self.start - self.stepped

    def sending(self) -> Sent:
        return Sent(self.true, self.clock.monotonic(), self.clock.time(), self.answers)

    def advance(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.check()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which the keyring's threads do what falls due."""
        end = self.clock.monotonic() + seconds
        self.ring.jobs.run()
        while (due := self.clock.next_due) is not None and self.clock.monotonic() + due <= end:
            self.clock.advance(due)
            self.ring.jobs.run()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))

    def suspend(self, seconds: float) -> None:
        self.clock.suspend(seconds)
        self.last_down = self.true  # who sleeps reaches no KMS
        self.check()

    def step(self, seconds: float) -> None:
        self.clock.suspend(seconds)
        self.stepped += seconds
        self.check()

    # --- the KMS --------------------------------------------------------------------------------------------------

    def go_down(self) -> None:
        self.kms.down = True

    def come_up(self) -> None:
        if self.kms.down:
            self.last_down = self.true
        self.kms.down = False

    def forbid(self, namespace: str | None, version: str | None) -> None:
        for lease in self.all_leases():
            if namespace in (None, lease[1]) and version in (None, lease[0]) and lease not in self.kms.forbidden:
                self.kms.forbidden.add(lease)
                self.forbidden_at[lease] = self.true

    def allow(self) -> None:
        self.kms.forbidden.clear()
        self.forbidden_at.clear()

    def rotate(self) -> None:
        if int(self.kms.version) < 4:
            self.kms.rotate()

    def all_leases(self) -> list[LeaseName]:
        versions = [str(version) for version in range(1, int(self.kms.version) + 1)]
        return [(version, ns, purpose) for version in versions for ns in NAMESPACES for purpose in PURPOSES.values()]

    def overtake(self, namespace: str) -> None:
        """While a call is under way, another is made that the KMS is of another mind about."""
        record, _ = wrapped_by(self.kms.twin, namespace=namespace)
        self.foreign.add(record.id.hex())
        forbidden = set(self.kms.forbidden)
        self.kms.forbidden ^= {self.lease_of(record)}
        with contextlib.suppress(EnvelopeError):
            self.within(False, lambda: self.ring.keyring._opening._ask(record, b"overtaking"))
        self.kms.forbidden = forbidden
        for lease in self.forbidden_at:
            self.forbidden_at[lease] = self.true

    def within(self, renewal: bool, work: Callable[[], object]) -> None:
        """Do something of which the model knows whether it renews a lease."""
        self.renewing.append(renewal)
        try:
            work()
        finally:
            self.renewing.pop()

    def during_call(self, operation: str) -> None:
        action, self.interruption = self.interruption, None
        if action is not None:
            self.interrupted = True
            action()

    def heard(self, operation: str, lease: LeaseName, sent: Sent, record_id: str, outcome: str) -> None:
        """An answer, or none, has arrived."""
        self.answers += 1
        version, namespace, _ = lease
        renewing = self.renewing[-1]
        if outcome == "KmsUnavailable":
            self.unanswered_at[namespace] = self.true
            self.unanswered_since.setdefault(namespace, set()).update(self.sealed)
            self.unanswered_since[namespace].update(self.born)
        if outcome == "KeyDenied" and not renewing and record_id not in self.foreign:  # a new sealing key
            self.sealing_refused[namespace] = self.clock.monotonic() + REFUSAL
            self.current[namespace] = None
        if operation == "wrap":
            return
        if outcome == "ok":
            if self.denied_at.get(lease, 0) > sent.answers:
                return  # a denial arrived meanwhile
            known = self.vouched.get(lease)
            if known is None and self.refused_at.get(lease, 0) > sent.answers:
                return  # it is asked again
            if known is None or sent.monotonic >= known.monotonic:
                self.vouched[lease] = sent
            self.outage.discard(lease)
            if record_id not in self.foreign:  # the check of a new key; it is asked for again to renew its lease
                self.foreign.add(record_id)
                self.current[namespace] = (record_id, version)
        elif outcome == "KeyDenied" and not renewing:
            self.refused_at[lease] = self.answers
        elif outcome == "KeyDenied":
            self.denied_at[lease] = self.answers
            self.vouched.pop(lease, None)
            self.outage.discard(lease)
            for record, _ in self.records:
                if self.lease_of(record) == lease:
                    self.opened.discard(record.id)
            current = self.current.get(namespace)
            if current is not None and (current[1], namespace, "wrapping-key") == lease:
                self.current[namespace] = None
        elif outcome == "KmsUnavailable":
            self.outage.add(lease)

    # --- what callers do ------------------------------------------------------------------------------------------

    def write(self, namespace: str, *, direct: bool) -> None:
        """Another writer makes a record."""
        purpose = Purpose.DATA_KEY if direct else Purpose.WRAPPING_KEY
        record, key = wrapped_by(self.kms.twin, namespace=namespace, purpose=purpose)
        self.foreign.add(record.id.hex())
        self.records.append((record, key))

    def seal(self, namespace: str, *, timeout: float = 30.0) -> None:
        self.interrupted = False
        outcome = self.run(lambda: self.ring.seal(namespace, timeout=timeout))
        lease = (self.kms.version, namespace, "wrapping-key")
        refused = self.clock.monotonic() < self.sealing_refused.get(namespace, float("-inf"))
        if isinstance(outcome, SealingKey):
            self.uses["seal"] += 1
            used = (outcome.record.recipients[0].key_version, namespace, "wrapping-key")
            self.check_use(used, strict=False)
            self.check_limits(outcome, namespace)
        else:
            self.uses[f"seal {type(outcome).__name__}"] += 1
            self.check_failure(outcome, may_be_refused=lease in self.kms.forbidden or refused)
            current = self.current.get(namespace)
            if self.kms.down and current is not None and not self.interrupted:
                assert not self.has_grace((current[1], namespace, "wrapping-key")), (
                    f"grace did not serve sealing: {outcome!r}"
                )
        self.ring.jobs.run()
        self.check()

    def open(self, number: int, *, timeout: float = 30.0) -> None:
        if not self.records:
            return
        record, key = self.records[number % len(self.records)]
        lease, strict = self.lease_of(record), record.purpose is Purpose.DATA_KEY
        self.interrupted = False
        outcome = self.run(lambda: self.ring.open(record, timeout=timeout))
        if isinstance(outcome, bytes):
            assert outcome == key
            self.uses["open"] += 1
            self.check_use(lease, strict=strict)
            self.opened.add(record.id)
        else:
            self.uses[f"open {type(outcome).__name__}"] += 1
            refused = self.clock.monotonic() < self.refused.get(record.id, float("-inf"))
            self.check_failure(outcome, may_be_refused=lease in self.kms.forbidden or refused)
            if isinstance(outcome, KeyDenied) and not refused:
                self.refused[record.id] = self.clock.monotonic() + REFUSAL
            at_hand = record.id in self.opened and not strict
            if self.kms.down and at_hand and not self.interrupted:
                assert not self.has_grace(lease), f"grace did not serve opening: {outcome!r}"
        self.ring.jobs.run()
        self.check()

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async def attempt() -> object:
            try:
                return await call()
            except EnvelopeError as error:
                return error

        return self.loop.run_until_complete(attempt())

    def blackout(self, before: float, during: float, after: float, *, revoked: bool) -> None:
        """An outage that callers notice, perhaps a revocation, and the KMS is back without being asked by anybody."""
        self.advance(before)
        self.go_down()
        self.advance(during)
        for number in range(len(self.records)):
            self.open(number)
        for namespace in NAMESPACES:
            self.seal(namespace)
        if revoked:
            self.forbid(None, None)
        self.come_up()
        for _ in range(10):
            self.advance(after / 10)

    # --- what may and what must be --------------------------------------------------------------------------------

    def check_use(self, lease: LeaseName, *, strict: bool) -> None:
        """A key under this lease has just been used."""
        true = self.true
        vouched = self.vouched.get(lease)
        assert vouched is not None, "used although no success vouches, or after a denial that was heard"
        elapsed = true - vouched.true
        if strict or lease not in self.outage:
            assert elapsed < LEASE + SLACK, f"used {elapsed} s after the last success, without an outage"
        assert elapsed < LEASE + self.grace + SLACK, f"used {elapsed} s after the last success"
        revoked = self.forbidden_at.get(lease)
        if revoked is not None:
            assert true - revoked < LEASE + (0.0 if strict else self.grace) + SLACK, "used long after the revocation"
            if not self.kms.down and self.last_down <= revoked:
                assert true - revoked < LEASE + SLACK, "used after the revocation although the KMS answers"

    def check_limits(self, key: SealingKey, namespace: str) -> None:
        record_id = key.record.id
        self.born.setdefault(record_id, self.true)
        self.sealed[record_id] += 1
        if record_id not in self.unanswered_since.get(namespace, ()):
            assert self.sealed[record_id] <= MAX_PAYLOADS, "sealed more than it may"
        age = self.clock.time() - key.record.created
        if self.stepped == 0.0 and age >= MAX_AGE + 1.0:
            since = self.true - self.unanswered_at.get(namespace, float("-inf"))
            assert since <= 125.0, f"sealed at the age of {age} s, {since} s after a call without an answer"

    def check_failure(self, error: object, *, may_be_refused: bool) -> None:
        if self.interrupted:
            return
        if isinstance(error, KmsUnavailable):
            assert self.kms.down, "the KMS answers, and the caller is told that it does not"
        elif isinstance(error, KeyDenied):
            assert may_be_refused, "allowed and refused nevertheless"
        else:
            raise AssertionError(f"an error that nothing here gives cause for: {error!r}")

    def has_grace(self, lease: LeaseName) -> bool:
        """Whether by both clocks it must still serve."""
        vouched = self.vouched.get(lease)
        if vouched is None:
            return False
        lasts = LEASE + self.grace - SLACK
        return self.clock.monotonic() < vouched.monotonic + lasts and self.clock.time() < vouched.wall + lasts

    def check(self) -> None:
        """What holds between any two steps."""
        opening, sealing = self.ring.keyring._opening, self.ring.keyring._sealing
        for entry in (*opening._keys.values(), *opening._hot.values()):
            assert not all(lease.ended for lease in entry.leases), "a denied key is still in memory"
        for state in sealing._slots.by_scope.values():
            if state.current is not None:
                assert not all(lease.ended for lease in state.current.leases), "a denied key is still in memory"
        # Whatever is at hand without a wait is covered as well.
        for record, key in self.records:
            at_hand = self.peek(lambda record=record: self.ring.keyring.try_opening_key(record))  # type: ignore[misc]
            if at_hand is not None:
                assert at_hand == key
                self.check_use(self.lease_of(record), strict=record.purpose is Purpose.DATA_KEY)

    def peek(self, look: Callable[[], bytes | None]) -> bytes | None:
        """Look without leaving a trace of use, so that leases lapse although the model looks at them."""
        leases = list(self.ring.keyring._leases.register.known.values())
        used = [lease.used for lease in leases]
        found = look()
        for lease, before in zip(leases, used, strict=True):
            lease.used = before
        return found

    @staticmethod
    def lease_of(record: Record) -> LeaseName:
        return record.recipients[0].key_version, record.namespace, PURPOSES[record.purpose]

    def close(self) -> None:
        """At the end the KMS is well again, and so is everything else."""
        self.interruption = None
        self.come_up()
        self.allow()
        self.advance(REFUSAL + LONGEST_BACKOFF + SLACK)
        for number in range(len(self.records)):
            self.open(number)
        for namespace in NAMESPACES:
            self.seal(namespace)
        assert not self.ring.keyring._opening._flights
        assert not self.ring.keyring._calls._flying
        self.advance(3 * MAX_AGE)
        self.advance(3 * MAX_AGE)
        assert self.clock.next_due is None
        self.ring.keyring.close()
        self.loop.close()


SECONDS = st.one_of(
    st.sampled_from([0.0, 1.0, 5.0, 0.8 * LEASE, LEASE, GRACE, LEASE + GRACE, MAX_AGE, 0.9 * MAX_AGE]),
    st.floats(0.0, 2 * LEASE),
    st.floats(0.0, 2 * GRACE),
)


class Machine(RuleBasedStateMachine):
    world: World

    @initialize(grace=st.sampled_from([GRACE, 0.0, 60.0]), jitter=st.floats(0.0, 1.0), steps=st.booleans())
    def begin(self, grace: float, jitter: float, steps: bool) -> None:
        self.world = World(grace=grace, jitter=jitter)
        self.steps = steps
        for namespace in NAMESPACES:
            self.world.write(namespace, direct=False)
        self.world.write("a", direct=True)

    @rule(namespace=st.sampled_from(NAMESPACES), direct=st.booleans())
    def write(self, namespace: str, direct: bool) -> None:
        self.world.write(namespace, direct=direct)

    @rule(namespace=st.sampled_from(NAMESPACES), times=st.sampled_from([1, 1, 1, 35, 90]))
    def seal(self, namespace: str, times: int) -> None:
        for _ in range(times):
            self.world.seal(namespace)

    @rule(number=st.integers(0, 5))
    def open(self, number: int) -> None:
        self.world.open(number)

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: not self.steps)
    @rule(seconds=SECONDS)
    def suspend(self, seconds: float) -> None:
        self.world.suspend(seconds)

    @precondition(lambda self: self.steps)
    @rule(seconds=st.floats(-1e6, 1e6))
    def step(self, seconds: float) -> None:
        self.world.step(seconds)

    @rule()
    def go_down(self) -> None:
        self.world.go_down()

    @rule()
    def come_up(self) -> None:
        self.world.come_up()

    @rule(namespace=st.sampled_from([None, *NAMESPACES]), version=st.sampled_from([None, None, "1", "2"]))
    def forbid(self, namespace: str | None, version: str | None) -> None:
        self.world.forbid(namespace, version)

    @rule()
    def allow(self) -> None:
        self.world.allow()

    @rule(
        seconds=st.one_of(st.just(0.0), st.floats(0.0, 0.9 * LEASE)),
        change=st.sampled_from(["", "down", "up", "forbid", "allow", "rotate", *NAMESPACES]),
    )
    def interrupt(self, seconds: float, change: str) -> None:
        """While the next call is under way, time passes, the KMS changes its mind, or another call overtakes it."""
        world = self.world

        def happens() -> None:
            world.pass_time(seconds)
            if change == "forbid":
                world.forbid(None, None)
            elif change in NAMESPACES:
                world.overtake(change)
            elif change:
                {"down": world.go_down, "up": world.come_up, "allow": world.allow, "rotate": world.rotate}[change]()

        world.interruption = happens

    @rule(
        before=st.floats(0.0, 2 * LEASE),
        during=st.floats(0.0, 4 * LEASE),
        after=st.floats(0.0, 4 * LEASE),
        revoked=st.booleans(),
    )
    def blackout(self, before: float, during: float, after: float, revoked: bool) -> None:
        self.world.blackout(before, during, after, revoked=revoked)

    @rule()
    def rotate(self) -> None:
        self.world.rotate()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()


@pytest.mark.slow
def test_the_promise_holds_whatever_happens_in_whatever_order() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def walk(seed: int, steps: int) -> World:
    """The same at random, for longer than hypothesis goes."""
    chance = random.Random(seed)
    world = World(grace=chance.choice([GRACE, GRACE, 0.0, 60.0]), jitter=chance.random())
    stepping = chance.random() < 0.3

    def seconds() -> float:
        return chance.choice([chance.random() * 10, chance.random() * 2 * LEASE, chance.random() * 2 * GRACE])

    def change_mind() -> None:
        changes: list[Callable[[], None]] = [
            world.go_down,
            world.come_up,
            world.allow,
            world.rotate,
            lambda: world.forbid(None, None),
        ]
        change = chance.choice(changes)
        world.interruption = in_turn(lambda: world.pass_time(chance.random() * 0.9 * LEASE), change)

    def seal_some() -> None:
        for _ in range(chance.choice([1, 1, 10, 50])):
            world.seal(chance.choice(NAMESPACES))

    actions: dict[Callable[[], None], int] = {
        lambda: world.write(chance.choice(NAMESPACES), direct=chance.random() < 0.3): 2 if steps < 500 else 0,
        seal_some: 10,
        lambda: world.open(chance.randrange(50)): 20,
        lambda: world.advance(seconds()): 15,
        (lambda: world.step(chance.uniform(-1e4, 1e4))) if stepping else (lambda: world.suspend(seconds())): 3,
        world.go_down: 4,
        world.come_up: 6,
        lambda: world.forbid(chance.choice([None, *NAMESPACES]), chance.choice([None, None, "1", "2"])): 4,
        world.allow: 6,
        world.rotate: 1,
        lambda: setattr(world, "interruption", lambda: world.overtake(chance.choice(NAMESPACES))): 2,
        change_mind: 3,
        lambda: setattr(world, "interruption", lambda: world.pass_time(chance.random() * 0.9 * LEASE)): 6,
        lambda: world.blackout(*(chance.random() * 4 * LEASE for _ in range(3)), revoked=chance.random() < 0.5): 2,
    }
    for _ in range(8):
        world.write(chance.choice(NAMESPACES), direct=chance.random() < 0.3)
    for _ in range(steps):
        chance.choices(list(actions), list(actions.values()))[0]()
    world.close()
    return world


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_the_promise_holds_on_a_long_walk(seed: int) -> None:
    uses = walk(seed, 250).uses
    assert min(uses["seal"], uses["open"]) > 20
