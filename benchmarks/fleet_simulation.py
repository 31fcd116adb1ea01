"""The same calls, counted: real keyrings in simulated time, in front of one KMS.

What is real: `Keyring` with all that belongs to it, and the cryptography of `FakeKms`. What is simulated: time, threads
and the payloads, which are not sealed and opened: only their keys are asked for, as the codec asks.

To save time, some processes of a role may stand for all of it (``sample``). Others are there to seal for them, and
their calls are not counted. In steady state one payload may stand for several (``thin``), if a wrapping key's count of
payloads is lowered alike: what a payload costs depends on which key it needs, and not on how many came before.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from typing_extensions import Self

from benchmarks.fleet_model import key_life, old_keys
from benchmarks.fleet_process import NAMESPACE, Kms, Line, Process
from benchmarks.fleet_shape import Fleet
from benchmarks.fleet_time import SimulatedClock, SimulatedLoop
from envelope_codec.envelope import Record
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.limits import Limits

_SLOTS = 200  # payloads that wait for a key in one worker: Temporal gives it no more tasks than it has slots for
_LONG = 1e9  # seconds


class Startup(NamedTuple):
    """What happened after all processes of a fleet were started at once.

    Attributes:
        seconds: calls in each second, the throttled ones included.
        throttled: how many of them were throttled.
        renewals: how many unwrapped what the same process had unwrapped before.
        wait: the 99th percentile of the seconds that callers waited, of those who had to wait.
        failed: callers that were told that the KMS is unavailable.
    """

    seconds: list[float]
    throttled: float
    renewals: float
    wait: float
    failed: float


def startup(fleet: Fleet, seconds: int, *, sample: int = 0, seed: int = 0) -> Startup:
    """Start a fleet, and watch it for so many seconds."""
    with _Simulation(fleet, sample, 1, seed) as simulation:
        simulation.run(seconds)
        counted = [process for process in simulation.processes.values() if process.weight]
        waits = sorted(wait for process in counted for wait in process.waits)
        return Startup(
            [simulation.kms.calls[second] for second in range(seconds)],
            simulation.kms.throttled,
            simulation.kms.renewals,
            waits[int(len(waits) * 0.99)],
            sum(process.failed * process.weight for process in counted),
        )


def steady(fleet: Fleet, *, sample: int = 0, thin: float = 1, seed: int = 0) -> float:
    """Calls a second, from half a wrapping key's life after the start to one and a half: each is replaced once."""
    if fleet.direct:
        life = 20.0
    else:
        life = min(fleet.lifetime, *(key_life(fleet.limits, role.sealed) for role in fleet.roles))
    with _Simulation(fleet, sample, thin, seed) as simulation:
        simulation.run(life / 2 + (fleet.limits.cache_ttl if fleet.replayed else 0.0))
        before = simulation.kms.calls.total()
        simulation.run(life)
        return (simulation.kms.calls.total() - before) / life


class _Simulation:
    def __init__(self, fleet: Fleet, sample: int, thin: float, seed: int) -> None:
        self.loop = SimulatedLoop()
        self.kms = Kms(self.loop, fleet.quota, proves_version=fleet.proves_version)
        self.processes: dict[tuple[int, int], Process] = {}
        self._fleet = fleet
        self._roles = fleet.roles
        self._seed = seed
        self._random = random.Random(seed)
        self._sampled = [min(sample or role.processes, role.processes) for role in self._roles]
        for number, role in enumerate(self._roles):
            sampled = self._sampled[number]
            for reader in range(sampled):
                self._process(number, reader, thin)
                for writer in range(role.writers):
                    self._process(*self._writer(number, reader, writer), thin)
            self._arrive(number, sampled * role.rate / thin, partial(self._fresh, number))
            if fleet.replayed:
                records = self._histories(round(old_keys(fleet, role)))
                self._arrive(number, sampled * fleet.replayed, partial(self._replayed, number, records))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def run(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()

    def _process(self, role: int, number: int, thin: float) -> None:
        if (role, number) in self.processes:
            return
        counted = number < self._sampled[role]
        limits = self._fleet.limits
        if not counted:
            limits = dataclasses.replace(limits, lease=_LONG)  # saves renewals that nobody counts
        readers = self._roles[-1 - role]
        fewer = 1 if self._fleet.group else readers.processes / self._sampled[-1 - role]
        limits = dataclasses.replace(limits, max_payloads=max(1, round(limits.max_payloads / thin / fewer)))
        weight = self._roles[role].processes / self._sampled[role] if counted else 0.0
        self.processes[role, number] = Process(
            self._fleet,
            self.loop,
            self.kms,
            limits=limits,
            weight=weight,
            seed=f"{self._seed} {role} {number}",
        )

    def _writer(self, role: int, reader: int, number: int) -> tuple[int, int]:
        """Which process is the writer of that number among those whose payloads a reader opens."""
        if self._fleet.starters:
            return 1 - role, number
        writers = self._roles[role].writers
        return role, reader // writers * writers + number

    def _arrive(self, role: int, rate: float, arrived: Callable[[], None]) -> None:
        def next_one() -> None:
            self.loop.call_later(self._random.expovariate(rate), next_one)
            arrived()

        self.loop.call_later(self._random.expovariate(rate), next_one)

    def _reader(self, role: int) -> tuple[int, Process]:
        number = int(self._random.random() * self._sampled[role])
        return number, self.processes[role, number]

    def _fresh(self, role: int) -> None:
        number, reader = self._reader(role)
        chosen = int(self._random.random() * self._roles[role].writers)
        writer = self.processes[self._writer(role, number, chosen)]
        if reader.up and writer.up and reader.busy < _SLOTS:
            writer.send(reader)

    def _replayed(self, role: int, records: list[Record]) -> None:
        _, reader = self._reader(role)
        record = records[int(self._random.random() * len(records))]
        if reader.up and reader.busy < _SLOTS:
            reader.open(record)

    def _histories(self, count: int) -> list[Record]:
        """So many records that others have made, each with a wrapping key of its own."""
        keys = KeySet(Line(self.kms, 0.0, lambda: None))
        keyring = Keyring(
            lambda namespace: keys,
            limits=Limits(max_payloads=1),
            clock=SimulatedClock(self.loop),
            spawn=lambda job: job(),
        )

        async def records() -> list[Record]:
            return [(await keyring.sealing_key(NAMESPACE)).record for _ in range(count)]

        made = self.loop.run_until_complete(records())
        keyring.close()
        return made
