"""Ends servers whose owner is gone. Started by `serverprocess`, one for each owner.

The owner writes JSON lines to standard input: ``{"watch": PID, "folder": PATH}`` for a server that has started and
``{"forget": PID}`` for one that it has stopped. However the owner ends, the pipe closes then: all servers that it
has not stopped get SIGTERM, then SIGKILL, and their folders are removed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 5.0


def watch(lines: Iterable[str]) -> None:
    folders: dict[int, str] = {}
    for line in lines:
        message = json.loads(line)
        if "watch" in message:
            folders[message["watch"]] = message["folder"]
        else:
            folders.pop(message["forget"], None)

    deadline = time.monotonic() + GRACE_SECONDS
    for group in folders:
        _signal(group, signal.SIGTERM)
        _signal(group, signal.SIGCONT)
    while any(_signal(group, 0) for group in folders) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group, folder in folders.items():
        _signal(group, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; False if there is none."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    # It has to be the last to go, also when a terminal or a service manager signals everybody.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.stdin)
