"""An endpoint that is watched: what it told last, and what changed since a minute ago."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from urllib.parse import SplitResult

from envelope_codec.cli.doctor.watch.change import Change, Told
from envelope_codec.cli.doctor.watch.exposition import parse
from envelope_codec.cli.doctor.watch.scrape import ScrapeFailed, scrape

WINDOW = 60.0
"""Seconds over which what happens is counted. Calls of a KMS are rare: a few in each lease."""

_APART = WINDOW / 16  # what was told in between is forgotten, to save memory
_SECONDS = 5.0  # for an answer


class Endpoint:
    """One endpoint. One request to it is under way at most, in a thread of its own: it may hang.

    Args:
        address: of its metrics.
        ask: gets the text; `scrape` unless a test has another.
        clock: monotonic seconds.

    Attributes:
        address: as it was given.
        trouble: why it told nothing when it was last asked; empty if it told something.
    """

    def __init__(
        self,
        address: SplitResult,
        ask: Callable[[SplitResult, float], str] = scrape,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.trouble = "has not been asked yet"
        self._ask = ask
        self._clock = clock
        self._told: deque[Told] = deque()
        self._asking: Future[None] | None = None

    @property
    def name(self) -> str:
        """Host and port, for people."""
        return self.address.netloc

    @property
    def url(self) -> str:
        """The whole address."""
        return self.address.geturl()

    @property
    def change(self) -> Change | None:
        """What it told last, beside what it told up to `WINDOW` before. None if it can't be reached now."""
        return None if self.trouble else Change(self._told[0], self._told[-1])

    async def tell(self) -> None:
        """Ask it, and wait for the answer for some seconds. Does not ask while it still owes an answer."""
        if self._asking is None or self._asking.done():
            self._asking = _in_thread(self._ask_once)
            await asyncio.wait([asyncio.wrap_future(self._asking)], timeout=_SECONDS + 1)
        if not self._asking.done():
            self.trouble = "gives no answer in time"

    def _ask_once(self) -> None:
        try:
            text = self._ask(self.address, _SECONDS)
        except ScrapeFailed as error:
            self.trouble = str(error)
            return
        except Exception:  # a thread that ends so would leave what was told before as if it were new
            self.trouble = "could not be asked"
            return
        now = self._clock()
        self._told.append(Told(now, parse(text)))
        if len(self._told) > 2 and self._told[-2].at - self._told[-3].at < _APART:
            del self._told[-2]
        # After a gap, what is told is compared with what was told before it: counters go on.
        while len(self._told) > 2 and now - self._told[1].at >= WINDOW:
            self._told.popleft()
        told = self._told[-1].exposition
        self.trouble = "" if told.series else "tells no metrics of envelope_codec"


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Run ``work``, which raises nothing, in a thread that nobody has to wait for."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # from now on nobody can cancel it while the thread works

    def run() -> None:
        work()
        future.set_result(None)

    threading.Thread(target=run, name="envelope-codec-scrape", daemon=True).start()
    return future
