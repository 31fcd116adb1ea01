"""A master key of AWS that 500 histories need is retired for one of Vault, and the demo that shows it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from devstack import TemporalServer
from localserver import free_port

from envelope_codec.cli.demo.rekey_chapters import Chapters
from envelope_codec.cli.demo.rekey_story import Story
from envelope_codec.cli.demo.report import Report
from tests.support.demo_runs import assert_nothing_left, demo_environment, run
from tests.support.real_master_keys import RealKms, real_kms
from tests.support.web_ui_browser import SECONDS, browsing, chromium, visiting

WORKFLOWS = 500
MAX_AGE = 10.0  # seconds: over before the audits and the rewrap have ended, so that nothing waits for it
CHAPTER = Path(__file__).resolve().parents[2] / "docs" / "rekeying.md"
OLD = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NEW = '"hashivault://billing?endpoint=https://vault.example:8200"'  # quoted, as in the chapter

servers = pytest.fixture(scope="module")(real_kms)
environment = pytest.fixture(demo_environment)


@pytest.fixture
def codec_port() -> int:
    """Where the Web UI expects a codec server, on 127.0.0.1."""
    return free_port()


@pytest.fixture
def temporal_server(run_server: Any, codec_port: int) -> Iterator[TemporalServer]:
    """One with a Web UI, which keeps nothing on disk: 500 workflows take a third of the time."""
    endpoint = f"http://127.0.0.1:{codec_port}"
    with run_server(TemporalServer(ui=True, ui_codec_endpoint=endpoint, db=False)) as server:
        yield server


@pytest.mark.timeout(600, func_only=True)
async def test_what_was_sealed_under_a_master_key_that_is_gone_opens_by_the_keystore_and_is_unchanged(
    servers: RealKms,
    temporal_server: TemporalServer,
    codec_port: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chromium()
    old, new = servers.create_key("aws"), servers.create_key("vault")
    old_id = servers.key_id(old)
    story = Story(temporal_server.address, old, new, tmp_path, {"max_age": MAX_AGE, "outage_grace": 0})
    chapters = Chapters(story, Report(), None)

    def take_away() -> str:
        servers["aws"].disable(old)
        servers["aws"].schedule_deletion(old)
        return "gone"

    await chapters.seal(WORKFLOWS)
    await chapters.audit_before()
    ended, waiting = WORKFLOWS - WORKFLOWS // 50, WORKFLOWS // 50
    payloads = 3 * ended + 5 * waiting  # with those of an activity, and of an update
    needed = f"still needed by {3 * ended:,} payloads in {ended} workflows until about"
    told = capsys.readouterr().out
    assert needed in told
    assert f"needed by open workflows: {5 * waiting} payloads in {waiting} workflows" in told
    assert told.count("it seals now") == 1
    await chapters.move(MAX_AGE)
    await chapters.retire(take_away)
    await chapters.drop_old()
    await chapters.audit_after()
    told = capsys.readouterr().out
    assert needed in told, "what histories hold, they hold for ever"
    assert told.count("no history needs it but through the keystore") == 2, "before OLD is gone, and afterwards"
    assert temporal_server.ui_address is not None
    async with AsyncExitStack() as stack:
        await chapters.open_all(codec_port, temporal_server.ui_address, stack)
        said = await shown(f"{temporal_server.ui_address}/namespaces/default/workflows/order-7")
        assert "Codec Server could not connect" not in said
    await chapters.go_without()
    told = capsys.readouterr().out
    assert_runs(chapters.commands, old_id, servers.key_id(new), temporal_server.address)
    assert f"{WORKFLOWS} of {WORKFLOWS} have the same bytes as before" in told
    assert f"{payloads:,} payloads of {WORKFLOWS} histories" in told


def assert_runs(commands: list[str], *names: str) -> None:
    """See that the chapter of the documents gives these commands, in this order but for the last pass."""
    said = "\n".join(commands)
    for real, name in zip(names, (OLD, NEW, "localhost:7233"), strict=True):
        said = said.replace(shlex.quote(real), name)
    run = {re.sub(r" --wait 1| -y", "", one) for one in said.splitlines()}
    lines = CHAPTER.read_text("utf-8").replace("\\\n  ", "").splitlines()
    told = [line for line in lines if line.startswith("envelope-codec ")]
    assert len(told) == len(run) >= 6
    assert set(told) == run


async def shown(page: str) -> str:
    """What the Web UI says of order 7, once it shows its result."""
    from playwright.async_api import expect

    async with browsing() as browser, visiting(browser) as tab:
        await tab.goto(page)
        body = tab.locator("body")
        await expect(body).to_contain_text("order 7 received by Marigold Quill 7", timeout=SECONDS * 1_000)
        said: str = await body.inner_text()
        return said


def test_the_demo_says_which_server_it_lacks_and_leaves_nothing_behind(environment: dict[str, str]) -> None:
    done = run({**environment, "ENVELOPE_LOCALSTACK_PYTHON": os.devnull}, command="demo-rekey")
    assert done.returncode == 2
    assert "envelope-codec: the demo can't run: no LocalStack in" in done.stderr
    assert "make localstack-venv" in done.stderr
    assert_nothing_left(environment)
