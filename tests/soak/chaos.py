"""What does the faults of a schedule to the world, and takes them back."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

from tests.soak.fault import ALL_KEYS, Fault
from tests.soak.journal import Journal
from tests.soak.master_keys import kill
from tests.soak.monitor import metrics
from tests.soak.process import SoakProcess
from tests.soak.world import World

FAULTS = "faults.jsonl"
_SERVES_WITHIN = 120.0
_RENEWED_WITHIN = 60.0  # seconds


class Chaos:
    """Does the faults, each at its time, and writes down from when to when it was at work.

    Attributes:
        troubles: faults that could not be done or taken back, each in words.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._journal = Journal(folder / FAULTS)
        # A target that takes long to come back is given its next fault late, and never two at once.
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.troubles: list[str] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """Do them all. When this returns, all of them are taken back."""
        begun = time.monotonic()
        tasks = []
        for fault in faults:
            await asyncio.sleep(max(0.0, begun + fault.at - time.monotonic()))
            tasks.append(asyncio.ensure_future(self._do(fault)))
        await asyncio.gather(*tasks)

    async def _do(self, fault: Fault) -> None:
        targets = ["aws", "vault"] if fault.target == ALL_KEYS else [fault.target]
        async with AsyncExitStack() as stack:
            for target in targets:
                await stack.enter_async_context(self._locks[target])
            begun = time.monotonic()
            try:
                for target in targets:
                    await asyncio.to_thread(self._begin, fault, target)
                await asyncio.sleep(fault.seconds)
            except Exception as error:
                self.troubles.append(f"{fault}: {type(error).__name__}: {error}")
            for target in targets:
                try:
                    await asyncio.to_thread(self._end, fault, target)
                except Exception as error:
                    self.troubles.append(f"{fault}, taken back: {type(error).__name__}: {error}")
            self._journal.write(kind=fault.kind, target=fault.target, begun=begun, ended=time.monotonic())

    def _begin(self, fault: Fault, target: str) -> None:
        world, process = self._world, self._world.processes.get(target)
        if process is not None:
            self._begin_process(fault, process)
        elif fault.kind == "kill":
            kill(world.servers[target])
        elif fault.kind == "pause":
            world.servers[target].pause()
        elif fault.kind == "slow":
            world.proxies[target].delay = fault.amount
        elif fault.kind == "throttle":
            world.proxies[target].throttle_half = True
        elif fault.kind == "cut":
            world.proxies[target].cut = True
        elif fault.kind == "revoke":
            world.keys[target].revoke()
        elif fault.kind == "rotate":
            world.keys[target].rotate()
        elif fault.kind == "fill":
            world.store.fill()
        else:
            raise ValueError(fault)

    def _begin_process(self, fault: Fault, process: SoakProcess) -> None:
        if fault.kind == "kill":
            process.kill()
        elif fault.kind == "pause":
            process.pause()
        elif fault.kind == "restart":
            process.stop()
        elif fault.kind == "skew":
            process.order(skew=fault.amount)
        elif fault.kind == "fork":
            process.order(fork=1)
        elif fault.kind == "renew":
            self._renew_certificate()
        else:
            raise ValueError(fault)

    def _end(self, fault: Fault, target: str) -> None:
        world, process = self._world, self._world.processes.get(target)
        if process is not None:
            if fault.kind in ("kill", "restart"):
                process.start()
                self._wait_for(target)
            elif fault.kind == "pause":
                process.resume()
            elif fault.kind == "skew":
                process.order(skew=0)
        elif fault.kind == "kill":
            if target in world.keys:
                world.keys[target].revive(world.proxies[target])
            else:
                world.servers[target].restart()
        elif fault.kind == "pause":
            world.servers[target].resume()
        elif fault.kind == "slow":
            world.proxies[target].delay = 0.0
        elif fault.kind == "throttle":
            world.proxies[target].throttle_half = False
        elif fault.kind == "cut":
            world.proxies[target].cut = False
        elif fault.kind == "revoke":
            world.keys[target].permit()
        elif fault.kind == "fill":
            world.store.empty()

    def _wait_for(self, target: str) -> None:
        """Wait until a process serves again: before that, no fault would find anything to disturb."""
        deadline = time.monotonic() + _SERVES_WITHIN
        while metrics(self._world.metrics[target]) is None:
            if time.monotonic() > deadline:
                raise TimeoutError("it does not serve")
            time.sleep(0.2)

    def _renew_certificate(self) -> None:
        """Give the codec server a new certificate, and wait until it shows that."""
        serial = self._world.renew_certificate()
        host, _, port = self._world.codec_address.partition(":")
        deadline = time.monotonic() + _RENEWED_WITHIN
        while time.monotonic() < deadline:
            try:
                shown = ssl.get_server_certificate((host, int(port)), timeout=5)
            except OSError:
                shown = ""
            if shown and load_pem_x509_certificate(shown.encode()).serial_number == serial:
                return
            time.sleep(0.2)
        raise TimeoutError("the codec server goes on with its old certificate")
