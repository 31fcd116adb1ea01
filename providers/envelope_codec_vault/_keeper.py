"""A thread that keeps a token alive, also in a worker that asks Vault nothing for hours."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from envelope_codec.process import renew_after_fork

_LONGEST_SLEEP = 60.0  # seconds: a machine may have slept meanwhile


class Tended(Protocol):
    def tend(self) -> float:
        """Do what is due; seconds until something is due again."""
        ...


class Keeper:
    """Starts with `start`, once a process. Ends with `stop`, or with what it tends, which it holds weakly."""

    _wake: threading.Event
    _thread: threading.Thread | None

    def __init__(self) -> None:
        self._stopped = False
        renew_after_fork(self, _wake=threading.Event, _thread=lambda: None)

    def start(self, tended: Tended) -> None:
        """Begin, or look again what is due. Never blocks."""
        if self._stopped:
            return
        if self._thread is not None:
            self._wake.set()
            return
        reference = weakref.ref(tended, lambda _, wake=self._wake: wake.set())  # type: ignore[misc]
        work = (reference, self._wake)
        thread = threading.Thread(target=self._run, args=work, name="envelope-codec-vault", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no thread can be started: those who use the token tend it
        self._thread = thread

    def stop(self) -> None:
        """End it. Does not wait."""
        self._stopped = True
        self._wake.set()

    def _run(self, reference: weakref.ref[Tended], wake: threading.Event) -> None:
        while not self._stopped:
            tended = reference()
            if tended is None:
                return
            wake.clear()
            seconds = tended.tend()
            del tended
            if not self._stopped:
                wake.wait(min(max(seconds, 0.05), _LONGEST_SLEEP))
