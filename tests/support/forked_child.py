"""Work in a forked child, with a time limit that holds even if the child hangs in a lock."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any

SECONDS = 60


class Child:
    """A forked child that runs ``work``; `result` is what it returns."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._receiving, sending = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            try:
                try:
                    result = pickle.dumps((True, work()))
                except BaseException:
                    result = pickle.dumps((False, traceback.format_exc()))
                os.write(sending, result)
            finally:
                os._exit(0)
        os.close(sending)

    def result(self) -> Any:
        with os.fdopen(self._receiving, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(self._process, 0)
        assert status == 0, f"the child hung, or died: status {status}"
        good, result = pickle.loads(told)
        assert good, result
        return result


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child."""
    return Child(work).result()
