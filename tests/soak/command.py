"""What the processes of a soak have in common: options, logs, connections, orders, the signal to end."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from tests.soak.process import ORDERS
from tests.soak.workflows import PLANNED_TYPE

SABOTAGE = "SOAK_SABOTAGE"
"""Environment variable: a process does something wrong on purpose, to show that a check notices."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--folder", type=Path, required=True)
    made.add_argument("--name", required=True)
    return made


def sabotaged(what: str) -> bool:
    return os.environ.get(SABOTAGE) == what


def sentinel() -> str:
    return os.environ["SOAK_SENTINEL"]


def log_to_stderr() -> None:
    """Log, but not failures that are planned: the SDK logs their texts where they are made, which are content."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_is_no_planned_failure)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _is_no_planned_failure(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, ApplicationError) and error.type == PLANNED_TYPE:
            return False
        error = error.__cause__ or error.__context__
    return True


def address(folder: Path, name: str = "temporal") -> str:
    """Of Temporal's server: ``temporal`` through the proxy, or ``direct``."""
    found: str = json.loads((folder / "addresses.json").read_text())[name]
    return found


async def connect(where: str, **options: Any) -> Client:
    """Connect, however long the server is away."""
    while True:
        try:
            return await Client.connect(where, **options)
        except RuntimeError:  # which is all that the SDK says of a server that does not answer
            await asyncio.sleep(0.5)


def end_of(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """An event that SIGTERM sets."""
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    return end


def listen(folder: Path, obey: Callable[[dict[str, Any]], None]) -> None:
    """Call ``obey`` with each order that comes, in a thread of its own."""
    pipe = os.open(folder / ORDERS, os.O_RDWR)  # of both kinds, so that it never comes to its end

    def read() -> None:
        with os.fdopen(pipe, "r") as orders:
            for line in orders:
                obey(json.loads(line))

    threading.Thread(target=read, name="soak-orders", daemon=True).start()
