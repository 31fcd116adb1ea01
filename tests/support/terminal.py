"""The command line on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

RUN = (sys.executable, "-c", "from envelope_codec.cli import run; run()")


class Shown(NamedTuple):
    """What a command showed on the terminal, both its output and its errors, and its exit status."""

    status: int
    text: str


def run_on_terminal(arguments: Sequence[str], environment: Mapping[str, str]) -> Shown:
    """Run ``envelope-codec`` with ``arguments`` on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RUN, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so that the other side is closed
        pass
    os.close(ours)
    return Shown(process.wait(60), shown.decode().replace("\r\n", "\n"))
