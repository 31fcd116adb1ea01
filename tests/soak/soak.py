"""One soak, from its servers' start to its report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.soak import verdict
from tests.soak.chaos import Chaos
from tests.soak.command import SABOTAGE
from tests.soak.monitor import Monitor, metrics
from tests.soak.options import Options
from tests.soak.report import Report
from tests.soak.starter import STARTED
from tests.soak.world import World

_READY = 90.0
_DRAIN = 150.0
"""Seconds after the last fault in which every workflow has to come to its end."""


def run(options: Options) -> int:
    """Run it, and print what it found. Return the exit status: 1 if there was a violation."""
    folder = Path(tempfile.mkdtemp(prefix="envelope-soak-"))
    report = Report(options.command)
    say = _said_since(time.monotonic())
    try:
        print(f"seed {options.seed}, {options.number} workflows, {len(options.faults)} faults:")
        for fault in options.faults:
            print(f"  {fault}")
        with World(folder, options.tempo, _environment(options)) as world:
            say("starting servers, workers and the codec server")
            world.start()
            asyncio.run(_Run(options, world, folder, report, say).run())
        say("all is stopped")
    except BaseException:
        print(f"interrupted; logs are in {folder}")
        raise
    report.save(folder / "report.json")
    if options.report is not None:
        report.save(options.report)
    print(report.text())
    if report.violations:
        print(f"logs and journals are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


class _Run:
    def __init__(
        self, options: Options, world: World, folder: Path, report: Report, say: Callable[[str], None]
    ) -> None:
        self._options = options
        self._world = world
        self._folder = folder
        self._report = report
        self._say = say

    async def run(self) -> None:
        options, world, folder = self._options, self._world, self._folder
        # Its own pool has six threads on two cores, and servers that come back would keep the monitor waiting.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
        await asyncio.to_thread(self._wait_until_ready)
        self._say("starting workflows")
        starter = world.add_process(
            *("starter", "starter", "--seed", str(options.seed)),
            *("--workflows", str(options.number), "--seconds", str(options.load)),
        )
        every = "0.7" if options.short else "2"
        world.add_process("reader", "reader", "--codec", world.codec_address, "--every", every).start()
        starter.start()
        starter.meant_to_run = False  # its end is no surprise
        await asyncio.to_thread(_wait_for, folder / STARTED)
        monitor = Monitor(world, options.series, 5.0 if options.short else 10.0)
        monitoring = asyncio.ensure_future(monitor.run())
        chaos = Chaos(world, folder)
        begun = time.monotonic()
        await chaos.run(options.faults)
        self._say("the last fault is over")
        left = max(0.0, options.load - (time.monotonic() - begun))
        if not await asyncio.to_thread(starter.wait, left + _DRAIN):
            self._say("not all workflows have ended")
        starter.stop()
        lasted = time.monotonic() - begun
        await asyncio.sleep(2.0 if options.short else 10.0)  # for the reader
        monitoring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await monitoring
        self._report.add("run", seed=options.seed, minutes=options.minutes, seconds_of_load_and_drain=lasted)
        self._report.add("run", date=time.strftime("%Y-%m-%d"), filled=world.store.how_it_is_filled)
        self._report.add("run", scrapes_of_metrics=monitor.scrapes)
        self._say("reading histories cold")
        await asyncio.to_thread(self._read_cold)
        self._say("judging")
        await asyncio.to_thread(self._judge, monitor, chaos.troubles)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY
        for name, url in self._world.metrics.items():
            while metrics(url) is None:
                process = self._world.processes[name]
                if process.pid is None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name} does not serve:\n{process.log.read_text()[-3000:]}")
                time.sleep(0.1)

    def _read_cold(self) -> None:
        troubled, wrong = verdict.troubled(self._folder)
        path = self._folder / "troubled.json"
        path.write_text(json.dumps({"troubled": troubled, "wrong": wrong}))
        cold = self._world.add_process(
            *("cold", "cold", "--seed", str(self._options.seed)),
            *("--most", str(self._options.cold), "--troubled", str(path)),
        )
        cold.start()
        cold.meant_to_run = False
        cold.wait(_DRAIN + self._options.seconds / 4)

    def _judge(self, monitor: Monitor, troubles: list[str]) -> None:
        report, world, folder = self._report, self._world, self._folder
        for process in world.processes.values():
            process.stop()
        world.keep_logs()
        verdict.judge_faults(report, folder, troubles)
        verdict.judge_workflows(report, folder)
        verdict.judge_executions(report, folder)
        verdict.judge_cold(report, folder)
        verdict.judge_readings(report, folder)
        verdict.judge_plaintext(report, world, folder)
        # Of those that were killed in a short soak, no life is long enough.
        warm_up, least = (10.0, 0.75 * self._options.load) if self._options.short else (60.0, 240.0)
        verdict.judge_flatness(report, monitor, warm_up, least)
        verdict.judge_processes(report, world, monitor, folder)
        verdict.judge_logs(report, world)


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + _READY
    while not file.exists() or not file.stat().st_size:
        if time.monotonic() > deadline:
            raise RuntimeError("no workflow was started")
        time.sleep(0.05)


def _environment(options: Options) -> dict[str, str]:
    return {SABOTAGE: options.sabotage, "SOAK_LIMIT": "10" if options.short else "25"}


def _said_since(begun: float) -> Callable[[str], None]:
    def say(what: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {what}", flush=True)

    return say
