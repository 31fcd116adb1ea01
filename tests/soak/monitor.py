"""What each process uses, and its metrics, taken again and again."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from tests.soak.flatness import Sample
from tests.soak.world import World

_EVERY = 1.0  # seconds between samples
_MIB = 1_048_576


class Monitor:
    """Takes samples of all processes, looks after those that end by themselves, and keeps their metrics.

    Args:
        series: a folder for the metrics, in which each process has one and each moment a file in Prometheus's text
            format, named after the Unix time in milliseconds. Without it they are only searched for plaintext.

    Attributes:
        samples: of each life of a process, by its name and process id.
        processor: seconds of a processor that each process and server took, by its name and process id.
        scrapes: how many times metrics were had.
    """

    def __init__(self, world: World, series: Path | None, scrape_every: float) -> None:
        self._world = world
        self._series = series
        self._scrape_every = scrape_every
        self.samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        self.processor: dict[tuple[str, int], float] = {}
        self.scrapes = 0

    async def run(self) -> None:
        """Go on until it is cancelled."""
        # Apart from one another: a process that is paused keeps those waiting that ask for its metrics.
        await asyncio.gather(self._take_samples(), self._keep_scraping())

    async def _take_samples(self) -> None:
        while True:
            for name, process in list(self._world.processes.items()):
                if process.look_after():
                    continue
                if process.pid is not None and (sample := _sample(process.pid)) is not None:
                    self.samples[name, process.pid].append(sample)
                    self.processor[name, process.pid] = _processor(process.pid)
            for name, server in self._world.servers.items():
                with suppress(RuntimeError):  # it is being restarted
                    self.processor[name, server.pid] = _processor(server.pid)
            await asyncio.sleep(_EVERY)

    async def _keep_scraping(self) -> None:
        while True:
            await asyncio.to_thread(self._scrape)
            await asyncio.sleep(self._scrape_every)

    def _scrape(self) -> None:
        for name, url in self._world.metrics.items():
            text = metrics(url)
            if text is None:
                continue
            self.scrapes += 1
            self._world.watch.look(f"in the metrics of {name}", text)
            if self._series is not None:
                folder = self._series / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{int(time.time() * 1000)}.prom").write_bytes(text)


def metrics(url: str) -> bytes | None:
    """What is served at ``url``, or None where nothing is. The codec server's certificate is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as reply:
            body: bytes = reply.read()
            return body
    except (OSError, ValueError):
        return None


def _processor(pid: int) -> float:
    """Seconds of a processor that a process has taken, without its children."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sample(pid: int) -> Sample | None:
    """What Linux tells of a process; None on other systems, or if it is gone."""
    process = Path("/proc", str(pid))
    try:
        pages = int((process / "statm").read_text().split()[1])
        threads = sum(1 for _ in (process / "task").iterdir())
        files = sum(1 for _ in (process / "fd").iterdir())
    except OSError:
        return None
    return Sample(time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE") / _MIB, threads, files)
