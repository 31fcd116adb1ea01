"""Children of a process that stores payloads have connections of their own: no reply of one gets to another."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.harness_stores import KINDS, Stores, aws_environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

SCRIPT = "tests.support.stores_forked"


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_parent_and_children_store_and_read_at_once_and_each_gets_its_own(kind: str, stores: Stores) -> None:
    url = asyncio.run(stores[kind].place())
    command = [sys.executable, "-W", "ignore", "-m", SCRIPT, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
