"""Starts workflows at a steady rate, follows each to its end, and writes down what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from tests.soak.command import address, connect, end_of, log_to_stderr, parser, sabotaged, sentinel
from tests.soak.expected import expected
from tests.soak.header import Header
from tests.soak.journal import Journal
from tests.soak.journeys import WEIGHTS, Journey

STARTED, OUTCOMES = "started.jsonl", "outcomes.jsonl"
_AT_ONCE = 160
"""Workflows under way at most. After an outage the rest is caught up."""

_CATCH_UP = 3
"""By how much the rate may be exceeded then."""


class Starter:
    """Starts so many workflows over so many seconds."""

    def __init__(self, folder: Path, seed: int, number: int, seconds: float) -> None:
        self._chance = random.Random(seed)
        self._number = number
        self._pause = seconds / number
        self._until = time.monotonic() + seconds
        self._started, self._outcomes = Journal(folder / STARTED), Journal(folder / OUTCOMES)
        self._under_way = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, journey: Journey, plain: Journey | None) -> None:
        """Start them, and wait for their ends."""
        begun = time.monotonic()
        for number in range(self._number):
            due = begun + number * self._pause
            now = time.monotonic()
            await asyncio.sleep(due - now if due > now else self._pause / _CATCH_UP)
            await self._under_way.acquire()
            if time.monotonic() > self._until:
                self._under_way.release()
                break
            [kind] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            by = plain if plain is not None and number % 50 == 0 else journey
            task = asyncio.ensure_future(self._follow(by, kind, f"soak-{kind}-{number}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._outcomes.write(id="", repeated=journey.repeated)

    async def _follow(self, journey: Journey, kind: str, id: str) -> None:
        text = f"{sentinel()} {id}"
        right = expected(kind, text)
        self._started.write(id=id, kind=kind)
        begun = time.monotonic()
        why = ""
        try:
            result: Any = await journey.go(kind, id, text)
            if sabotaged("wrong") and id.endswith("7"):
                result = "another"
            why = "" if result == right else "another result"
        except Exception as error:
            why = f"{type(error).__name__}, {type(getattr(error, 'cause', None)).__name__}"
        finally:
            self._under_way.release()
        self._outcomes.write(id=id, kind=kind, why=why, took=round(time.monotonic() - begun, 3))


async def _start(folder: Path, seed: int, number: int, seconds: float) -> None:
    config = EnvelopeConfig.from_file(folder / "settings.toml")
    end = end_of(asyncio.get_running_loop())
    with EnvelopePlugin(config) as plugin:
        client = await connect(address(folder), plugins=[plugin], interceptors=[Header()])
        plain = Journey(await connect(address(folder), interceptors=[Header()])) if sabotaged("plain") else None
        running = asyncio.ensure_future(Starter(folder, seed, number, seconds).run(Journey(client), plain))
        ending = asyncio.ensure_future(end.wait())
        await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait([running])


def main() -> None:
    options = parser()
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--workflows", type=int, required=True)
    options.add_argument("--seconds", type=float, required=True)
    chosen = options.parse_args()
    log_to_stderr()
    asyncio.run(_start(chosen.folder, chosen.seed, chosen.workflows, chosen.seconds))


if __name__ == "__main__":
    main()
