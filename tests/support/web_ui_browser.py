"""Temporal's own Web UI, in a headless Chromium with a fresh profile."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
SECONDS = 60.0
SCREENSHOTS = os.environ.get("ENVELOPE_SCREENSHOTS")
"""Folder where the tests leave pictures of what they saw, if it is set."""


def chromium() -> str:
    """Path of the browser. Without one the test is skipped, or fails where all servers are required."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail("no Chromium: apt-get install chromium", pytrace=False)
        pytest.skip("no Chromium: apt-get install chromium")
    return found


@asynccontextmanager
async def browsing() -> AsyncIterator[Any]:
    """A browser that knows nothing yet, and reaches no other machine."""
    program = chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(browser: Any) -> AsyncIterator[Any]:
    """A page in a profile of its own."""
    context = await browser.new_context(viewport={"width": 1200, "height": 860}, ignore_https_errors=True)
    context.set_default_timeout(SECONDS * 1_000)
    try:
        yield await context.new_page()
    finally:
        await context.close()
