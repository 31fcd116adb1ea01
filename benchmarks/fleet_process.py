"""A worker or a starter in simulated time: a real keyring, and its line to the one KMS."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from benchmarks.fleet_shape import Fleet
from benchmarks.fleet_time import SimulatedClock, SimulatedLoop, SimulatedThreads
from envelope_codec.envelope import Record
from envelope_codec.errors import EnvelopeError
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.limits import Limits
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.observe import Event
from envelope_codec.provider.meanings import THROTTLED
from envelope_codec.testing import FakeKms

NAMESPACE = "default"


class Kms:
    """One KMS for a fleet: answers so many calls a second, throttles the rest, and counts.

    Attributes:
        calls: by the second, the throttled ones included.
        throttled: how many of them were.
        renewals: how many unwrapped what the same process had unwrapped before.
        proves_version: as in `Fleet`.
    """

    def __init__(self, loop: SimulatedLoop, quota: float, *, proves_version: bool = True) -> None:
        self.proves_version = proves_version
        self.fake = FakeKms("fakekms://fleet")
        self.calls: Counter[int] = Counter()
        self.throttled = self.renewals = 0.0
        self._loop = loop
        self._quota = quota
        self._answered: Counter[int] = Counter()

    def called(self, weight: float, *, renewal: bool) -> None:
        """Count a call that stands for ``weight`` calls.

        Raises:
            KmsUnavailable: it is over the quota.
        """
        second = int(self._loop.now)
        self.calls[second] += weight  # type: ignore[assignment]
        self.renewals += weight * renewal
        if self._answered[second] >= self._quota:
            self.throttled += weight
            raise THROTTLED.make_error(operation="call", key_id=self.fake.key_id)
        self._answered[second] += weight  # type: ignore[assignment]


class Line:
    """The master key as one process reaches it.

    Args:
        kms: the fleet's.
        weight: for how many processes this one stands.
        called: told of each call before it is made.
    """

    def __init__(self, kms: Kms, weight: float, called: Callable[[], None]) -> None:
        self._kms = kms
        self._weight = weight
        self._told = called
        self._unwrapped: set[str] = set()
        self.key_id = kms.fake.key_id
        self.accepts = kms.fake.accepts

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """See `MasterKey.wrap`."""
        self._told()
        self._kms.called(self._weight, renewal=False)
        return self._kms.fake.wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """See `MasterKey.unwrap`."""
        self._told()
        record = context["envelope-codec:id"]
        self._kms.called(self._weight, renewal=record in self._unwrapped)
        self._unwrapped.add(record)
        unwrapped = self._kms.fake.unwrap(wrapped, context)
        return unwrapped if self._kms.proves_version else Unwrapped(unwrapped.secret, None)

    def close(self) -> None:
        """See `MasterKey.close`."""


class Process:
    """A worker or a starter: it starts as the plugin does, and a fresh one takes its place at each restart.

    Args:
        fleet: what it is part of.
        loop: simulated time.
        kms: the fleet's.
        limits: of its keyring.
        weight: for how many processes it stands; 0 for one whose calls are not counted.
        seed: of its own random numbers.

    Attributes:
        up: whether it may seal and open.
        waits: seconds that each of its callers waited who had to wait.
        failed: callers that were told that the KMS is unavailable.
        weight: see above.
    """

    def __init__(
        self, fleet: Fleet, loop: SimulatedLoop, kms: Kms, *, limits: Limits, weight: float, seed: str
    ) -> None:
        self.up = False
        self.waits: list[float] = []
        self.failed = 0
        self.weight = weight
        self._fleet = fleet
        self._loop = loop
        self._kms = kms
        self._limits = limits
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._start()
        if fleet.lifetime < math.inf:
            loop.call_later(self._random.random() * fleet.lifetime, self._restart)

    @property
    def busy(self) -> int:
        """Payloads that wait for a key here."""
        return len(self._tasks)

    def open(self, record: Record) -> None:
        """Get the key to open a payload with."""
        if self.keyring.try_opening_key(record) is None:
            self._begin(self._wait(self.keyring, record))
        else:
            self.keyring.note_opened(record)

    def send(self, reader: Process) -> None:
        """Get the key to seal a payload with, and have ``reader`` open it."""
        key = self.keyring.try_sealing_key(NAMESPACE)
        if key is None:
            self._begin(self._seal(self.keyring, reader))
        else:
            reader.open(key.record)

    def close(self) -> None:
        """End it, and all who wait for a key."""
        self.up = False
        self.keyring.close()
        for task in self._tasks:
            task.cancel()

    def _start(self) -> None:
        fleet = self._fleet
        threads = SimulatedThreads(self._loop, lambda: fleet.latency * (0.5 + self._random.random()))
        keys = KeySet(Line(self._kms, self.weight, threads.called))
        self.keyring = Keyring(
            lambda namespace: keys,
            direct=fleet.direct,
            verify_wraps=fleet.verify_wraps,
            limits=self._limits,
            observer=_Silent(),
            clock=SimulatedClock(self._loop),
            spawn=threads,
            jitter=self._random.random,
        )
        self._begin(self._prewarm(self.keyring))

    def _restart(self) -> None:
        self.close()
        self._start()
        self._loop.call_later(self._fleet.lifetime, self._restart)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prewarm(self, keyring: Keyring) -> None:
        await asyncio.sleep(self._random.random() * self._fleet.startup_jitter)
        begun = self._loop.now
        await keyring.prewarm(NAMESPACE)
        self.waits.append(self._loop.now - begun)
        self.up = True

    async def _seal(self, keyring: Keyring, reader: Process) -> None:
        begun = self._loop.now
        try:
            key = await keyring.sealing_key(NAMESPACE)
        except EnvelopeError:
            self.failed += 1
        else:
            reader.open(key.record)
        self.waits.append(self._loop.now - begun)

    async def _wait(self, keyring: Keyring, record: Record) -> None:
        begun = self._loop.now
        try:
            await keyring.opening_key(record)
        except EnvelopeError:
            self.failed += 1
        else:
            keyring.note_opened(record)
        self.waits.append(self._loop.now - begun)


class _Silent:
    def on_event(self, event: Event) -> None:
        """Take no note."""
