"""Work in a forked child, with a time limit that holds even if the child hangs in a lock."""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

SECONDS = 60


class Child:
    """A forked child that runs ``work``; `result` is what it returns."""

    def __init__(self, work: Callable[[], Any]) -> None:
        gc.collect()  # here, where threads still are: what other tests left may wait for them when it is freed
        self._receiving, sending = os.pipe()
        self._stacks = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `result` closes it
        faulthandler.register(signal.SIGUSR2, file=self._stacks, all_threads=True)
        self._process = os.fork()
        if self._process == 0:
            try:
                try:
                    result = pickle.dumps((True, work()))
                except BaseException:
                    result = pickle.dumps((False, traceback.format_exc()))
                os.write(sending, result)
            finally:
                os._exit(0)
        faulthandler.unregister(signal.SIGUSR2)
        os.close(sending)
        self._limit = time.monotonic() + SECONDS

    def result(self) -> Any:
        with os.fdopen(self._receiving, "rb") as pipe, self._stacks:
            # The parent keeps the time: the child may hang before it runs anything, inside the fork.
            if not select.select([pipe], [], [], max(0.0, self._limit - time.monotonic()))[0]:
                raise AssertionError(f"the child hung:\n{self._kill()}")
            told = pipe.read()
        _, status = os.waitpid(self._process, 0)
        assert status == 0, f"the child died: status {status}"
        good, result = pickle.loads(told)
        assert good, result
        return result

    def _kill(self) -> str:
        """End the child, and return where its threads hung."""
        os.kill(self._process, signal.SIGUSR2)
        deadline = time.monotonic() + 5.0  # by then it has written them, or can't
        while time.monotonic() < deadline and not self._size():
            select.select([], [], [], 0.05)
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        self._stacks.seek(0)
        return self._stacks.read()

    def _size(self) -> int:
        return os.fstat(self._stacks.fileno()).st_size


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child."""
    return Child(work).result()
