"""A signal ends a demo, and signals that follow change nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Another process sends signals to this one all the time.
_DEMOS = """
import asyncio, os, subprocess, sys
from envelope_codec.cli.demo.running import run_until_signal

send = "import os, time\\nwhile True:\\n  os.kill({}, {})\\n  time.sleep(0.00002)"

async def work():
    await asyncio.sleep(3600)

command = [sys.executable, "-c", send.format(os.getpid(), sys.argv[1])]
asyncio.run(run_until_signal(asyncio.sleep(0)))
subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
ended = [asyncio.run(run_until_signal(work())) for _ in range(1000)]
assert set(ended) == {128 + int(sys.argv[1])}, ended
sys.exit(ended[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes get signals")
@pytest.mark.parametrize("number", [2, 15])
def test_only_the_first_of_many_signals_is_told(number: int) -> None:
    command = [sys.executable, "-c", _DEMOS, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + number
    assert set(done.stderr.splitlines()) == {"envelope-codec: interrupted; everything is stopped and removed"}
