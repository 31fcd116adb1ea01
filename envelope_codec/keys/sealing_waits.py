"""Waits of callers who seal: the pause at a process's start, and the wait until a refusal has passed."""

from __future__ import annotations

import math
from collections.abc import Callable

from envelope_codec.errors import EnvelopeError, KeyDenied
from envelope_codec.keys import patience
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.decisions import start_after_refusal
from envelope_codec.keys.pause import Pauses
from envelope_codec.keys.sealing_key import Scope
from envelope_codec.keys.slots import Slot, Slots
from envelope_codec.keys.stop import AT_SHUTDOWN, stopping

_REMEMBERED = 10_000  # scopes


class SealingWaits:
    """Waits of callers who seal. All callers of one scope wait together.

    Args:
        calls: makes the calls.
        slots: of the keyring.
        refusal_ttl: seconds for which a refusal is repeated to callers without asking again.
    """

    def __init__(self, calls: KmsCalls, slots: Slots, *, refusal_ttl: float) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._slots = slots
        self._refusal_ttl = refusal_ttl
        self._pauses = Pauses(calls)
        self._served: dict[Scope, None] = {}  # oldest first

    async def pause_at_start(self, scope: Scope, seconds: float) -> None:
        """Wait so many seconds before this process asks a KMS for ``scope`` for the first time.

        Workers that start together share one pause. It ends early when one of them gets a key. A worker that starts
        after that does not wait.
        """
        if scope not in self._served and seconds > 0:
            await self._pauses.join(("start", scope), seconds, math.inf).wait(self._clock, math.inf)

    def end(self, scope: Scope) -> None:
        """Take note that a key was had for ``scope``: nobody needs to wait there any more."""
        with self._calls.lock:
            if scope not in self._served and len(self._served) >= _REMEMBERED:
                del self._served[next(iter(self._served))]
            self._served[scope] = None
        self._pauses.end(("start", scope))
        self._pauses.end(("refused", scope))

    async def outlast(
        self, scope: Scope, refusal: KeyDenied, deadline: float, attempt: Callable[[Scope, Slot], None]
    ) -> None:
        """Return when ``refusal`` has passed. ``attempt`` finds that out by a real call, once for all who wait.

        Only what user code has left waits for that, and only where this process has sealed before. Anywhere else a
        refusal is a matter of settings.

        Args:
            scope: where the refusal came.
            refusal: what the KMS refused with.
            deadline: of the caller, in monotonic seconds.
            attempt: asks the KMS again. Runs in a thread.

        Raises:
            EnvelopeError: the error of the last attempt, at the deadline or at the worker's shutdown. ``refusal``
                at once for everybody else.
        """
        if not patience.is_left() or scope not in self._served:
            raise refusal
        apart = patience.pause(self._refusal_ttl, deadline - self._clock.monotonic(), self._calls.jitter())
        wait = _Deadline(deadline, self._clock.monotonic)
        try:
            while True:
                wait.shorten_at_shutdown()
                slot = self._slots.get(scope)
                seen = slot.refusals if slot is not None else 0
                pause = self._pauses.join(("refused", scope), apart, wait.deadline, refusal)
                await pause.wait(self._clock, wait.deadline)
                try:
                    await self._try_again(scope, seen, wait.deadline, attempt)
                    return
                except KeyDenied as again:
                    if self._clock.monotonic() >= wait.deadline:
                        raise
                    refusal = again
        except EnvelopeError:
            patience.spend()
            raise

    def close(self) -> None:
        """End all. Those who wait get `KmsUnavailable`."""
        self._pauses.close()

    async def _try_again(
        self, scope: Scope, seen: int, deadline: float, attempt: Callable[[Scope, Slot], None]
    ) -> None:
        flight = self._slots.fly(
            scope,
            attempt,
            lambda slot: start_after_refusal(
                in_use=slot.current is not None, refused=slot.refusal is not None, seen=slot.refusals == seen
            ),
            deadline,
        )
        if flight is not None:
            await flight.wait(self._clock, deadline)


class _Deadline:
    """A caller's deadline, which a worker's shutdown brings forward once."""

    def __init__(self, deadline: float, now: Callable[[], float]) -> None:
        self.deadline = deadline
        self._now = now
        self._stop = stopping.get()

    def shorten_at_shutdown(self) -> None:
        """Bring the deadline forward, if the worker shuts down."""
        if self._stop is not None and self._stop.is_set:
            self._stop = None
            self.deadline = min(self.deadline, self._now() + AT_SHUTDOWN)
