"""Temporal's own Web UI in a real browser: what people see with a codec server, without it, and where they may not.

With ``ENVELOPE_SCREENSHOTS=docs`` pictures of what was seen are left in that folder.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from devstack import TemporalServer
from localserver import free_port
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from envelope_codec import EnvelopeConfig, EnvelopePlugin
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from envelope_codec_local import LocalKeyFile
from tests.support import readable_workflows as workflows
from tests.support.certificates import write_certificate
from tests.support.codec_server import CodecServer, serving
from tests.support.codec_server_process import codec_process
from tests.support.token_issuer import Issuer, issuing
from tests.support.web_ui_browser import SCREENSHOTS, SECONDS, browsing, chromium, visiting

SIZE = re.compile(r"^[\d.]+ ?KB$")
RULES = [
    {"claims": {"groups": "billing"}, "namespaces": "billing"},
    {"claims": {"groups": "support"}, "namespaces": "default"},
]


pytestmark = pytest.mark.asyncio(loop_scope="module")  # all of them share a browser


class Site(NamedTuple):
    """A Temporal server with its Web UI, that knows a codec server's URL, and workflows that have run there.

    Attributes:
        ui: URL of the Web UI.
        codec_port: where it expects a codec server, on 127.0.0.1, over http.
        key: URI of the master key.
        key_id: its key id.
        store: URL of the datastore of `stored`.
        runs: ids of the workflows' runs, by their own ids.
        input: what Temporal has of the input, in base64.
    """

    ui: str
    codec_port: int
    key: str
    key_id: str
    store: str
    runs: dict[str, str]
    input: str

    def workflow(self, name: str, tab: str = "timeline") -> str:
        """A page of the workflow."""
        return f"{self.ui}/namespaces/default/workflows/{name}/{self.runs[name]}/{tab}"


async def run_workflows(address: str, key: str, store: str) -> tuple[dict[str, str], str]:
    runs: dict[str, str] = {}

    async def run(workflow: Any, name: str, entry: str, **settings: Any) -> None:
        with EnvelopePlugin(key, startup_jitter=0, **settings) as plugin:
            client = await Client.connect(address, plugins=[plugin])
            async with Worker(
                client,
                task_queue=name,
                workflows=[workflows.Ledger, workflows.Overdrawn],
                activities=[workflows.book],
                workflow_runner=UnsandboxedWorkflowRunner(),
            ):
                handle = await client.start_workflow(workflow, entry, id=name, task_queue=name)
                runs[name] = handle.first_execution_run_id or ""
                with suppress(WorkflowFailureError):
                    await handle.result()

    await run(workflows.Ledger.run, "booked", workflows.INPUT)
    await run(workflows.Overdrawn.run, "overdrawn", workflows.INPUT)
    await run(workflows.Ledger.run, "stored", workflows.LARGE, storage=store, storage_threshold="2KiB")
    plain = await Client.connect(address)
    history = await plain.get_workflow_handle("booked").fetch_history()
    first: HistoryEvent = history.events[0]
    [payload] = first.workflow_execution_started_event_attributes.input.payloads
    return runs, base64.b64encode(payload.data).decode()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, run_server: Callable[..., AbstractContextManager[TemporalServer]]
) -> Iterator[Site]:
    chromium()
    folder = tmp_path_factory.mktemp("site")
    create_key_file(folder / "key.json")
    key_id = LocalKeyFile(folder / "key.json").key_id
    key, store, port = key_uri(folder / "key.json"), f"file://{folder}/payloads", free_port()
    (folder / "payloads").mkdir()
    endpoint = f"http://127.0.0.1:{port}"
    with run_server(TemporalServer(ui=True, ui_codec_endpoint=endpoint, db=False)) as temporal:
        runs, found = asyncio.run(run_workflows(temporal.address, key, store))
        assert temporal.ui_address is not None
        yield Site(temporal.ui_address, port, key, key_id, store, runs, found)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(site: Site) -> AsyncIterator[Any]:
    async with browsing() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Any]:
    async with visiting(browser) as opened:
        yield opened


async def shows(page: Any, *texts: str) -> str:
    """What the page says once it says all of this."""
    from playwright.async_api import expect

    for text in texts:
        await expect(page.locator("body")).to_contain_text(text, timeout=SECONDS * 1_000)
    said: str = await page.locator("body").inner_text()
    return said


async def keep(page: Any, name: str, height: int) -> None:
    """Leave a picture of the page's upper part, without the menu, if pictures are wanted."""
    if SCREENSHOTS:
        await page.set_viewport_size({"width": 1200, "height": 1400})
        await page.wait_for_timeout(1_000)  # for what moves to come to rest; only in the picture
        area = {"x": 256, "y": 48, "width": 944, "height": height - 48}
        await page.screenshot(path=Path(SCREENSHOTS) / f"codec-server-{name}.png", clip=area)


UNREACHED = "Codec Server could not connect"
"""What the Web UI says if a codec server does not decode, whatever the reason."""


async def test_a_history_can_be_read_while_the_codec_server_runs(site: Site, page: Any, tmp_path: Path) -> None:
    with codec_process(tmp_path, site.codec_port, site.key, origins=site.ui) as codec:
        await page.goto(site.workflow("overdrawn"))
        await shows(page, workflows.INPUT, workflows.MESSAGE, "refuse_marigold", "readable_workflows.py")
        await keep(page, "failure", 715)
        await page.goto(site.workflow("booked", "history"))
        said = await shows(
            page,
            workflows.INPUT,
            workflows.RESULT,
            workflows.BOOKED,
            "Workflow Execution Started",
        )
        assert site.input not in said
        assert UNREACHED not in said
        await keep(page, "history", 1_000)
        asked = [line for line in codec.lines() if line["verb"] == "decode"]
        assert {(line["namespace"], line["status"], line["error"]) for line in asked} == {("default", 200, "")}
        assert sum(line["opened"] for line in asked) >= 6

        codec.stop()
        await page.reload()
        assert "marigold" not in await shows(page, UNREACHED, site.input)


SETTINGS = """
const asked = window.fetch;
window.fetch = async (...what) => {
  const response = await asked(...what);
  if (!response.url.includes("/api/v1/settings")) return response;
  return new Response(JSON.stringify({...await response.json(), ...told}), response);
};
"""


async def use(page: Any, site: Site, url: str, issuer: Issuer | None = None, **claims: Any) -> list[Any]:
    """Let the Web UI use the codec server at ``url``, for a person who has signed in at ``issuer``.

    Temporal's dev server knows one codec server and no sign-in. What a Web UI server with others would say is put into
    its settings here: that there is a sign-in, and where the codec server is; and what it would leave in the browser,
    the tokens. That they go to the codec server, and how, is the Web UI's own doing. The answers of the codec server
    are returned, as they come.
    """
    answers: list[Any] = []

    told: dict[str, object] = {"Auth": {"Enabled": issuer is not None, "Options": None}}
    told["Codec"] = {"Endpoint": url, "PassAccessToken": issuer is not None}
    # Not by Playwright's interception of requests, which answers preflights itself.
    await page.add_init_script(f"const told = {json.dumps(told)};" + SETTINGS)
    page.on("response", lambda response: answers.append(response) if response.url.startswith(url) else None)
    if issuer is not None:
        user = {"AccessToken": issuer.token(**claims), "IDToken": issuer.token(email="ada@example.com"), "Name": "Ada"}
        value = base64.b64encode(json.dumps(user).encode()).decode()
        await page.context.add_cookies([{"name": "user0", "value": value, "url": site.ui}])
    return answers


@pytest.fixture(scope="module")
def guarded(site: Site, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodecServer]:
    """A codec server that wants tokens, over https: only there the Web UI sends any."""
    folder = tmp_path_factory.mktemp("guarded")
    write_certificate(folder / "cert", folder / "key")
    settings = ServerConfig(
        origins=site.ui,
        auth=[issuer.settings],
        rules=RULES,
        tls_cert=str(folder / "cert"),
        tls_key=str(folder / "key"),
        audit_file=str(folder / "audit"),
    )
    with serving(EnvelopeConfig(key=site.key), settings, verify=False) as running:
        yield running


async def test_who_may_read_reads_by_the_token_that_the_web_ui_passes_on(
    site: Site, page: Any, issuer: Issuer, guarded: CodecServer
) -> None:
    before = len(guarded.lines())
    answers = await use(page, site, guarded.url, issuer, groups=["support"])
    await page.goto(site.workflow("booked"))
    assert UNREACHED not in await shows(page, workflows.INPUT, workflows.RESULT)
    asked = [await answer.request.all_headers() for answer in answers if answer.request.method == "POST"]
    assert asked
    assert all(headers["authorization"].startswith("Bearer ") for headers in asked)
    assert all(headers["authorization-extras"].count(".") == 2 for headers in asked)
    lines = guarded.lines()[before:]
    assert {(line["subject"], line["issuer"], line["status"]) for line in lines} == {("ada", issuer.name, 200)}
    assert {line["email"] for line in lines} == {"ada@example.com"}  # which the ID token alone says


async def test_who_may_read_another_namespace_is_refused_and_the_page_shows_it(
    site: Site, page: Any, issuer: Issuer, guarded: CodecServer
) -> None:
    before = len(guarded.lines())
    answers = await use(page, site, guarded.url, issuer, groups=["billing"])
    await page.goto(site.workflow("booked"))
    assert "marigold" not in await shows(page, UNREACHED, site.input)
    await keep(page, "refused", 760)
    assert {answer.status for answer in answers if answer.request.method == "POST"} == {403}
    lines = guarded.lines()[before:]
    assert {(line["subject"], line["status"], line["error"]) for line in lines} == {("ada", 403, "not_allowed")}
    assert {line["opened"] for line in lines} == {0}


async def test_pages_of_another_origin_read_nothing(site: Site, page: Any, tmp_path: Path) -> None:
    settings = ServerConfig(origins="http://localhost:8233", audit_file=str(tmp_path / "audit"))
    with serving(EnvelopeConfig(key=site.key), settings) as codec:
        await use(page, site, codec.url)
        await page.goto(site.workflow("booked"))
        assert "marigold" not in await shows(page, UNREACHED, site.input)
        assert codec.lines() == []  # the browser asked first, and was told not to


async def test_what_lies_in_a_datastore_can_be_downloaded(site: Site, page: Any, tmp_path: Path) -> None:
    config = EnvelopeConfig(key=site.key, storage=site.store)  # as the workers have it
    settings = ServerConfig(origins=site.ui, inline_below="1KiB", audit_file=str(tmp_path / "audit"))
    with serving(config, settings) as codec:
        await use(page, site, codec.url)
        await page.goto(site.workflow("stored"))
        assert workflows.LARGE not in await shows(page, workflows.RESULT, "Payload downloads require a codec server")
        await keep(page, "stored", 760)
        async with page.expect_download() as started:
            await page.get_by_role("button", name=SIZE).first.click()
        await (await started.value).save_as(tmp_path / "download")
        assert json.loads((tmp_path / "download").read_bytes()) == workflows.LARGE
        lines = [line for line in codec.lines() if line["verb"] == "download"]
        assert [(line["status"], line["opened"], line["namespace"]) for line in lines] == [(200, 1, "default")]


async def test_small_payloads_in_a_datastore_are_shown(site: Site, page: Any, tmp_path: Path) -> None:
    config = EnvelopeConfig(key=site.key, storage=site.store)
    settings = ServerConfig(origins=site.ui, audit_file=str(tmp_path / "audit"))
    with serving(config, settings) as codec:
        await use(page, site, codec.url)
        await page.goto(site.workflow("stored"))
        said = await shows(page, workflows.RESULT, workflows.LARGE[:40])
        assert "Payload downloads require a codec server" not in said
        assert {(line["verb"], line["status"], line["passed"]) for line in codec.lines()} == {("decode", 200, 0)}


async def test_without_a_datastore_the_web_ui_says_that_there_is_none(site: Site, page: Any) -> None:
    with serving(EnvelopeConfig(key=site.key), ServerConfig(origins=site.ui)) as codec:
        await use(page, site, codec.url)
        await page.goto(site.workflow("stored"))
        await shows(page, workflows.RESULT, "Payload downloads require a codec server")
        await page.get_by_role("button", name=SIZE).first.click()
        await shows(page, "it isn't configured to download from external storage")


@contextmanager
def over_tls(ui: str, folder: Path) -> Iterator[str]:
    """The Web UI over https, as people have it who do not run it themselves."""
    write_certificate(folder / "cert", folder / "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    host, port = ui.split("//")[1].split(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            there = socket.create_connection((host, int(port)))
            with suppress(OSError), there, context.wrap_socket(self.request, server_side=True) as here:
                back = threading.Thread(target=copied, args=(there, here))
                back.start()
                copied(here, there)
                back.join()

    def copied(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.02))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "key_not_configured": (400, {}),
    "unauthenticated": (401, {"auth": True}),
    "too_large": (413, {"body_limit": 100}),
    "audit_unavailable": (424, {"audit_file": "/dev/full"}),
    "kms_unavailable": (424, {"request_timeout": "1s"}),
    "too_many_requests": (429, {"rate_limit": "1/day"}),
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_looks_like_no_connection_whatever_it_is(
    site: Site, page: Any, issuer: Issuer, tmp_path: Path, code: str
) -> None:
    """What docs/codec-server.md says that a person sees; the browser's network log tells which it is.

    None of them makes the Web UI ask again: it asks as often as it does where all is well.
    """
    status, settings = REFUSALS[code]
    settings = {"audit_file": str(tmp_path / "audit"), **settings, "origins": site.ui}
    if settings.pop("auth", False):
        settings |= {"auth": [issuer.settings], "rules": RULES}
    key: FakeKms | str = FakeKms(site.key_id) if code == "kms_unavailable" else site.key
    if isinstance(key, FakeKms):
        key.down = True
    elif code == "key_not_configured":
        key = FakeKms()
    with serving(EnvelopeConfig(key=key), ServerConfig(**settings)) as codec:
        if status == 429:
            codec.post("/decode", b"{}")  # the one that there may be
        answers = await use(page, site, codec.url)
        await page.goto(site.workflow("booked"))
        assert "marigold" not in await shows(page, UNREACHED, site.input)
        found = [answer for answer in answers if answer.request.method == "POST"]
        assert [answer.status for answer in found] == [status] * 2
        if code != "audit_unavailable":
            assert {line["error"] for line in codec.lines()} - {""} == {code}


async def test_where_some_are_refused_the_others_are_read_and_nothing_is_said(site: Site, page: Any) -> None:
    with serving(EnvelopeConfig(key=site.key), ServerConfig(rate_limit="1/day", origins=site.ui)) as codec:
        answers = await use(page, site, codec.url)
        await page.goto(site.workflow("booked"))
        await shows(page, workflows.INPUT, "Result")
        assert {answer.status for answer in answers if answer.request.method == "POST"} == {200, 429}
        said = await page.locator("body").inner_text()
        assert workflows.RESULT not in said
        assert UNREACHED not in said


async def test_a_page_over_https_does_not_ask_a_server_over_http(site: Site, page: Any, tmp_path: Path) -> None:
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    with over_tls(site.ui, tmp_path) as ui:
        there = site._replace(ui=ui)
        answers = await use(page, there, "http://codec.example.com:8081")
        await page.goto(there.workflow("booked"))
        await shows(page, site.input)
        assert answers == []
        assert "Mixed Content" in "".join(console)
        await page.goto("about:blank")
