"""The documentation site, as ``make site`` left it in ``build/site``, in a real browser.

A few pages in every run, all of them at night. With ``ENVELOPE_SCREENSHOTS=FOLDER`` pictures of what was seen are left
in that folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.web_ui_browser import SCREENSHOTS, browsing, chromium, visiting

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "site"
NARROW, WIDE = 400, 1280
FEW = ["docs/index", "docs/configuration", "docs/api"]
REST = sorted(
    page
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/vectors/README.md"]
    if (page := path.relative_to(ROOT).with_suffix("").as_posix()) not in FEW
)

pytestmark = pytest.mark.asyncio(loop_scope="module")  # all of them share a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of each request."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served."""
    chromium()
    if not (BUILT / "index.html").exists():
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail("no build/site: make site", pytrace=False)
        pytest.skip("no build/site: make site")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BUILT))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(address: str) -> AsyncIterator[Any]:
    async with browsing() as found:
        yield found


TOO_WIDE = """() => {
  const content = document.querySelector('.content');
  const scrolls = box => ['auto', 'scroll'].includes(getComputedStyle(box).overflowX);
  const boxed = element => {
    for (let box = element.parentElement; box !== content; box = box.parentElement) if (scrolls(box)) return true;
    return false;
  };
  const found = [...content.querySelectorAll('article *')].filter(element => element.checkVisibility()
    && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !boxed(element));
  return found.slice(0, 3).map(element => element.outerHTML.slice(0, 200));
}"""
"""What sticks out of the window to the right, and is in no box of its own that scrolls."""


async def look_at(page: Any, address: str, name: str) -> None:
    """Read one page, narrow and wide, by day and by night, and note all that is wrong."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else wrong.append(asked.url))
    page.on("response", lambda got: wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    for width in (NARROW, WIDE):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.goto(f"{address}/{name}.html", wait_until="load")
        assert await page.locator("article h1").count() == 1
        assert await page.evaluate(TOO_WIDE) == []
        assert await page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(i => i.src)") == []
        for theme in ("light", "dark") if SCREENSHOTS else ():
            await page.evaluate(f"document.body.dataset.theme = {theme!r}")
            await page.screenshot(path=f"{SCREENSHOTS}/site-{name.replace('/', '-')}-{width}-{theme}.png")
    assert wrong == []


@pytest.mark.parametrize("name", FEW)
async def test_a_page_fits_and_asks_no_other_host(browser: Any, address: str, name: str) -> None:
    async with visiting(browser) as page:
        await look_at(page, address, name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", REST)
async def test_every_page_fits_and_asks_no_other_host(browser: Any, address: str, name: str) -> None:
    async with visiting(browser) as page:
        await look_at(page, address, name)


async def test_what_sticks_out_is_found(browser: Any, address: str) -> None:
    async with visiting(browser) as page:
        await page.set_viewport_size({"width": NARROW, "height": 800})
        await page.goto(f"{address}/docs/index.html")
        await page.evaluate("document.querySelector('article').insertAdjacentHTML('beforeend', '<p id=wide>x</p>')")
        await page.evaluate("document.querySelector('#wide').style.width = '900px'")
        [found] = await page.evaluate(TOO_WIDE)
        assert 'id="wide"' in found


async def test_the_top_leads_to_the_first_page(browser: Any, address: str) -> None:
    async with visiting(browser) as page:
        await page.goto(f"{address}/")
        await page.wait_for_url("**/docs/index.html")


async def test_the_search_finds_a_word(browser: Any, address: str) -> None:
    async with visiting(browser) as page:
        await page.goto(f"{address}/docs/index.html")
        await page.locator(".sidebar-search").fill("crypto-shredding")
        await page.locator(".sidebar-search").press("Enter")
        found = page.locator("#search-results li a")
        await found.first.wait_for()
        targets = [await each.get_attribute("href") for each in await found.all()]
        assert any("key-lifecycle" in target for target in targets)


async def test_dark_and_light_can_be_chosen(browser: Any, address: str) -> None:
    async with visiting(browser) as page:
        await page.goto(f"{address}/docs/index.html")

        async def background() -> str:
            colour: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            return colour

        seen = set()
        for _ in range(3):
            await page.locator(".content-icon-container .theme-toggle").click()
            seen.add(await background())
        assert len(seen) == 2
