"""Turns: attempts that wait until a master key that throttles may be called again."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from envelope_codec.keys.clock import Clock, Timer
from envelope_codec.keys.pacer import Pacer

_AT_ONCE = 64  # attempts that are looked at under the lock, so that nobody pays for all that were given up


class Waiting(NamedTuple):
    """One attempt that waits.

    Attributes:
        namespace: for which it is made.
        drop: forgets it, if nobody waits for it any more; says whether it has. Called under the lock, so that nobody
            joins it meanwhile.
        begin: makes it.
        give_up: tells those whose time is over that it was dropped.
    """

    namespace: str
    drop: Callable[[], bool]
    begin: Callable[[], None]
    give_up: Callable[[], None]


class Guarded(Protocol):
    """What the turns belong to. Its lock guards their state, and is another one in a forked child."""

    lock: threading.Lock

    @property
    def clock(self) -> Clock: ...


class Turns:
    """The turns at one master key: one namespace after another, and in each first come, first served.

    So what one namespace asks for, however much that is, makes others wait for one turn more.

    Args:
        owner: has the lock and the clock.
    """

    def __init__(self, owner: Guarded) -> None:
        self._owner = owner
        self._clock = owner.clock
        self._pacer = Pacer()
        self._waiting: OrderedDict[str, deque[Waiting]] = OrderedDict()  # by namespace; the first has the next turn
        self._timer: Timer | None = None

    def take(self, *, urgent: bool) -> bool:
        """Say whether a call may be made now, without a turn. If so, it counts.

        Args:
            urgent: whether many wait for it. It then is made in any case.
        """
        with self._owner.lock:
            now = self._clock.monotonic()
            if not urgent and (self._pacer.wait(now) > 0 or self._waiting):
                return False
            self._pacer.send(now, urgent=urgent)
            return True

    def throttle(self, sent: float) -> None:
        """Take note that a call that was sent at ``sent`` (monotonic seconds) was throttled."""
        with self._owner.lock:
            self._pacer.throttle(sent, self._clock.monotonic())

    def answer(self, sent: float) -> None:
        """Take note that a call that was sent at ``sent`` (monotonic seconds) was answered."""
        with self._owner.lock:
            self._pacer.answer(sent, self._clock.monotonic())

    def join(self, waiting: Waiting, *, again: bool) -> None:
        """Have an attempt wait for its turn. Called under the lock.

        Args:
            waiting: the attempt.
            again: whether it has had a turn, in which it was throttled: then it keeps its place, and is the next.

        Raises:
            RuntimeError: no thread for timers can be started.
        """
        if self._timer is None:
            self._timer = self._clock.call_later(self._pacer.wait(self._clock.monotonic()), self._give)
        queue = self._waiting.setdefault(waiting.namespace, deque())
        if again:
            queue.appendleft(waiting)
            self._waiting.move_to_end(waiting.namespace, last=False)
        else:
            queue.append(waiting)

    def close(self) -> None:
        """Forget all who wait. Called under the lock."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _give(self) -> None:
        """Give turns to those who are next: one, or as many as the pacer allows by now.

        An attempt that nobody wants any more is given up, and costs no turn.
        """
        calls: list[Callable[[], None]] = []
        with self._owner.lock:
            self._timer = None
            now = self._clock.monotonic()
            while self._waiting and self._pacer.wait(now) <= 0 and len(calls) < _AT_ONCE:
                waiting = self._next()
                if waiting.drop():
                    calls.append(waiting.give_up)
                else:
                    self._pacer.send(now)
                    calls.append(waiting.begin)
            if self._waiting:
                self._timer = self._clock.call_later(self._pacer.wait(now), self._give)
        for call in calls:
            call()

    def _next(self) -> Waiting:
        """Take the attempt out that is the next. Its namespace is the last now."""
        namespace, queue = self._waiting.popitem(last=False)
        waiting = queue.popleft()
        if queue:
            self._waiting[namespace] = queue
        return waiting
