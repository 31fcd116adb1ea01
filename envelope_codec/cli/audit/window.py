"""Windows of time, into which the workflows of a namespace are divided. Each is listed, read and counted at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import NamedTuple

from envelope_codec.cli.reading.reader import ANY_DIVISION

LARGEST = 1_000
"""How many workflows a window has at most, as far as the server counts them and a window can be split."""

OWN_TYPES = ("envelope-codec.audit", "envelope-codec.rewrap")
"""The types of the workflows as which audits and rewraps run themselves, if they are distributed."""

_OWN = "({})".format(", ".join(map(repr, OWN_TYPES)))
_NOT_OWN = f"WorkflowType NOT IN {_OWN}"
OWN_QUERY = f"WorkflowType IN {_OWN} AND {ANY_DIVISION}"
"""Lists all workflows of `OWN_TYPES`, which are in no window."""

_CLOCKS_DIFFER = 10 * 365 * 86_400_000
"""By how many milliseconds the server's clock may be ahead of this machine's. More costs nothing."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Part(str, Enum):
    """The parts of a namespace, seen from one moment T0."""

    closed = "closed"
    """Workflows that had ended before T0. They never change."""
    open = "open"
    """Workflows that had started before T0, and had not ended by then."""
    since = "since"
    """Workflows that have started since T0."""


class Window(NamedTuple):
    """Some of the workflows of one part: those that ended (of the others: that started) in a span of time.

    Attributes:
        part: the part.
        low: the beginning of the span, in milliseconds since 1970.
        high: its end, which is not in it.
    """

    part: Part
    low: int
    high: int

    def query(self, as_of: int, condition: str = "") -> str:
        """Write the query that lists its workflows, but for those of `OWN_TYPES`.

        Args:
            as_of: T0, in milliseconds since 1970.
            condition: what the user wants to see, as a query of its own.
        """
        name = "CloseTime" if self.part is Part.closed else "StartTime"
        parts = [f"{name} >= '{timestamp(self.low)}'", f"{name} < '{timestamp(self.high)}'"]
        if self.part is Part.open:
            parts.append(f"(ExecutionStatus = 'Running' OR CloseTime IS NULL OR CloseTime >= '{timestamp(as_of)}')")
        if condition:
            parts.append(f"({condition})")
        return " AND ".join([*parts, _NOT_OWN, ANY_DIVISION])

    def halves(self) -> tuple[Window, Window]:
        """Split it in the middle."""
        middle = (self.low + self.high) // 2
        return Window(self.part, self.low, middle), Window(self.part, middle, self.high)


def whole_of(part: Part, as_of: int, now: int) -> Window:
    """Return the window that has all of a part. Times are in milliseconds since 1970."""
    return Window(part, as_of, max(now, as_of) + _CLOCKS_DIFFER) if part is Part.since else Window(part, 0, as_of)


async def split(whole: Window, count: Callable[[Window], Awaitable[int | None]]) -> list[Window]:
    """Split a window until none has more than `LARGEST` workflows, or lasts a millisecond. Empty ones are left out.

    Without the help of ``count``, where it gives None, a window stays whole.
    """
    return [window async for window in pieces(whole, count)]


async def pieces(whole: Window, count: Callable[[Window], Awaitable[int | None]]) -> AsyncIterator[Window]:
    """Yield what `split` makes of a window, in order, each as soon as it is known."""
    waiting = [whole]
    while waiting:
        window = waiting.pop()
        number = await count(window)
        if number is not None and number > LARGEST and window.high - window.low > 1:
            earlier, later = window.halves()
            waiting += [later, earlier]
        elif number != 0:
            yield window


def join(windows: list[Window], whole: Window) -> list[Window]:
    """Stretch ``windows``, which are in order, over the gaps between them, so that together they are ``whole``.

    What comes to a gap later, or was miscounted, then has its place in a window.
    """
    if not windows:
        return [whole]
    lows = [whole.low, *(window.low for window in windows[1:])]
    highs = [*lows[1:], whole.high]
    return [Window(whole.part, low, high) for low, high in zip(lows, highs, strict=True)]


def timestamp(milliseconds: int) -> str:
    """Write a time in UTC, as queries take it."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def read_timestamp(text: str) -> int:
    """Read a time with its zone, and return milliseconds since 1970, rounded down.

    Raises:
        ValueError: it is none, or has no zone.
    """
    moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, such as Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
