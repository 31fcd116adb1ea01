"""A thread that keeps a token alive, also in a worker that asks Vault nothing for hours."""

from __future__ import annotations

import queue
import threading
import weakref
from contextlib import suppress
from typing import Protocol

from envelope_codec.provider import renew_after_fork

_LONGEST_SLEEP = 60.0  # seconds: a machine may have slept meanwhile


class Tended(Protocol):
    def tend(self) -> float:
        """Do what is due. Return the seconds until something is due again."""
        ...


class Keeper:
    """One thread a process. It begins with `start`, and ends with `stop` or when what it tends is gone."""

    _wake: queue.SimpleQueue[None]  # whose `put` never blocks, also where the garbage collector calls it
    _thread: threading.Thread | None

    def __init__(self) -> None:
        self._stopped = False
        renew_after_fork(self, _wake=queue.SimpleQueue, _thread=lambda: None)

    def start(self, tended: Tended) -> None:
        """Start the thread, or have it look again what is due. It never blocks."""
        if self._stopped:
            return
        if self._thread is not None:
            self._wake.put(None)
            return
        reference = weakref.ref(tended, lambda _, wake=self._wake: wake.put(None))  # type: ignore[misc]
        work = (reference, self._wake)
        thread = threading.Thread(target=self._run, args=work, name="envelope-codec-vault", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no thread can be started: those who use the token tend it
        self._thread = thread

    def stop(self) -> None:
        """End the thread, without waiting for it."""
        self._stopped = True
        self._wake.put(None)

    def _run(self, reference: weakref.ref[Tended], wake: queue.SimpleQueue[None]) -> None:
        while not self._stopped:
            tended = reference()
            if tended is None:
                return
            seconds = tended.tend()
            del tended
            if not self._stopped:
                with suppress(queue.Empty):
                    wake.get(timeout=min(max(seconds, 0.05), _LONGEST_SLEEP))
