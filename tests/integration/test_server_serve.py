"""``envelope-codec serve`` as a process of its own: what it says, signals, workers, and where it refuses to listen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest

from envelope_codec.cli.keygen import create_key_file, key_uri
from tests.support.codec_server import PLAIN, SECONDS, body, returned, sealed, until
from tests.support.token_issuer import Issuer, private_pem

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_CODEC_")}


class Process:
    """The command, while it runs.

    Attributes:
        said: the lines on its standard error.
        printed: the lines on its standard output.
    """

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.said: list[str] = []
        self.printed: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "envelope_codec.cli", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **environment},
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines))
            for stream, lines in ((self.process.stderr, self.said), (self.process.stdout, self.printed))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def url(self) -> str:
        until(lambda: self._listening() or self.process.poll() is not None)
        found = self._listening()
        assert found, self.said
        return f"http://{found}"

    def _listening(self) -> str | None:
        return next(
            (m[1] for line in list(self.said) if (m := re.search(r"listens on +(127\.0\.0\.1:\d+)", line))), None
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(SECONDS)
        return status

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[Process]:
    running = Process(arguments, environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.wait()


@pytest.fixture
def key(tmp_path: Path) -> str:
    create_key_file(tmp_path / "key.json")
    return key_uri(tmp_path / "key.json")


def up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_command_serves_and_ends_when_what_is_under_way_has_ended(tmp_path: Path, key: str) -> None:
    audit = tmp_path / "audit.jsonl"
    file = tmp_path / "envelope.toml"
    file.write_text(
        f'key = "{key}"\n[server]\norigins = ["http://localhost:8233"]\naudit_file = "{audit}"\nshutdown_delay = 30\n'
    )
    envelopes = asyncio.run(sealed(key, "default"))
    with served("--config", str(file), "--listen", "127.0.0.1:0", ENVELOPE_CODEC_SERVER_STRICT="true") as running:
        url = running.url
        until(lambda: up(url))
        with httpx.Client(base_url=url, timeout=SECONDS) as client, ThreadPoolExecutor(1) as pool:
            headers = {"Content-Type": "application/json"}

            def decode() -> httpx.Response:
                return client.post("/decode", content=body(envelopes), headers=headers)

            assert returned(decode()) == [PLAIN]
            audit.rename(tmp_path / "audit.1")
            running.process.send_signal(signal.SIGHUP)
            until(audit.exists)
            assert returned(decode()) == [PLAIN]
            assert len(audit.read_text().splitlines()) == 1

            more: Queue[bytes | None] = Queue()
            slow = pool.submit(lambda: client.post("/decode", content=iter(more.get, None), headers=headers))
            more.put(body(envelopes)[:10])
            running.process.send_signal(signal.SIGTERM)
            until(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/readyz").json()["status"] == "stopping"
            still = time.monotonic() + 0.5  # for a while yet, until nobody is sent here any more
            while time.monotonic() < still:
                assert httpx.get(f"{url}/readyz").status_code == 503
            assert returned(decode()) == [PLAIN]
            running.process.send_signal(signal.SIGTERM)  # and at once, when it is asked for again
            more.put(body(envelopes)[10:])
            more.put(None)
            assert returned(slow.result(SECONDS)) == [PLAIN]
        assert running.wait() == 0
    text = "".join(running.said)
    assert running.printed == []  # standard output is the audit trail's, if it has no file
    assert f"codec server at {url}" in text
    assert "opens for   every namespace\n" in text
    assert "for whom    everyone on this machine\n" in text
    assert "for pages   of http://localhost:8233\n" in text
    assert f"temporal server start-dev --ui-codec-endpoint {url}\n" in text
    assert f"temporal workflow show --workflow-id ID --codec-endpoint {url}\n" in text
    assert "Traceback" not in text


def test_workers_serve_together_each_with_its_own_keys(tmp_path: Path, key: str) -> None:
    audit = tmp_path / "audit.jsonl"
    environment = {"ENVELOPE_CODEC_KEY": key, "ENVELOPE_CODEC_SERVER_AUDIT_FILE": str(audit)}
    with served("--listen", "127.0.0.1:0", "--workers", "2", **environment) as running:
        url = running.url
        until(lambda: up(url))

        def encode(number: int) -> int:
            headers = {"Content-Type": "application/json", "X-Namespace": f"n-{number}"}
            return httpx.post(f"{url}/encode", content=body([PLAIN]), headers=headers, timeout=SECONDS).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(encode, range(40))) == {200}
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        assert sorted(line["namespace"] for line in lines) == sorted(f"n-{n}" for n in range(40))
        # Whichever worker is asked tells of them all.
        told = httpx.get(f"{url}/metrics").text
        labels = 'error_type="",http_request_method="POST",http_response_status_code="200",http_route="/encode"'
        assert f"http_server_request_duration_seconds_count{{{labels}}} 40.0" in told
        assert re.search(r"^envelope_codec_sealing_key_recipients{.*} 1.0$", told, re.MULTILINE)
        assert running.end() == 0
    assert "Traceback" not in "".join(running.said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_end_that_was_asked_for_is_no_failure(key: str, number: int, workers: str) -> None:
    with served("--listen", "127.0.0.1:0", "--workers", workers, ENVELOPE_CODEC_KEY=key) as running:
        url = running.url
        until(lambda: up(url))
        assert running.end(number) == 0
    assert "Traceback" not in "".join(running.said)


NOT_IN_WORKERS = """
from multiprocessing import parent_process
from temporalio.converter import StorageDriver
class Driver(StorageDriver):
    def name(self): return "none"
    async def store(self, context, payloads): raise NotImplementedError
    async def retrieve(self, context, claims): raise NotImplementedError
def make():
    assert parent_process() is None
    return Driver()
"""


def test_a_server_whose_workers_can_t_start_fails(key: str, tmp_path: Path) -> None:
    (tmp_path / "not_in_workers.py").write_text(NOT_IN_WORKERS)
    environment = {"ENVELOPE_CODEC_KEY": key, "ENVELOPE_CODEC_SERVER_STORAGE": "not_in_workers:make"}
    with served("--listen", "127.0.0.1:0", "--workers", "2", PYTHONPATH=str(tmp_path), **environment) as running:
        assert running.wait(3 * SECONDS) == 1  # uvicorn waits for a sign of life of a worker that has ended
    assert "the server could not start" in running.said[-1]


def test_what_is_missing_is_said_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in ENVIRONMENT if name.startswith("AWS_")]:
        monkeypatch.delitem(ENVIRONMENT, name)
    environment = {
        "ENVELOPE_CODEC_KEY": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "ENVELOPE_CODEC_SERVER_AUTH": '[{"issuer": "i", "audience": "a", "jwks_url": "http://127.0.0.1:9/jwks"}]',
        "ENVELOPE_CODEC_SERVER_RULES": '[{"namespaces": "*"}]',
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    with served("--listen", "127.0.0.1:0", **environment) as running:
        url = running.url
        until(lambda: "no master key answers" in "".join(running.said))
        until(lambda: "gives no keys" in "".join(running.said))
        for _ in range(2):
            page = httpx.get(url, timeout=SECONDS).text
            assert '<b class="no">not ready</b>' in page
            assert '<b class="no">The tokens of the issuer i can' in page
        assert running.end() == 0
    text = "".join(running.said)
    assert text.count("no AWS credentials were found: there are no AWS_ACCESS_KEY_ID") == 1
    assert text.count("`envelope-codec doctor`, run as this process, examines every master key") == 1


REFUSED = [
    (["--listen", "0.0.0.0:0"], "without it the server listens on loopback only"),
    (["--listen", "127.0.0.1:0", "--listen", "[::]:0"], "without it the server listens on loopback only"),
    (
        ["--listen", "0.0.0.0:0", "--allow-unauthenticated-network", "--origin", "*"],
        "server.origins: * is for loopback",
    ),
    (["--config", "/nowhere/envelope.toml"], "can't read '/nowhere/envelope.toml'"),
    (["--tls-cert", "x"], "server.tls_cert: goes with tls_key"),
    (["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"], "can't be used: No such file"),
    (["--origin", "localhost"], "is no origin"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_it_can_t_or_must_not_do_is_one_line(
    key: str, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from envelope_codec.cli import main

    monkeypatch.setattr(os, "environ", {**ENVIRONMENT, "ENVELOPE_CODEC_KEY": key})
    with pytest.raises(SystemExit) as raised:
        main(["serve", *arguments])
    assert raised.value.code == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_what_is_said_at_start_is_of_these_settings(tmp_path: Path) -> None:
    from envelope_codec import EnvelopeConfig, NamespaceKeys
    from envelope_codec.cli.serve import announcement
    from envelope_codec.server import ServerConfig
    from envelope_codec.server.web.address import Address
    from envelope_codec.testing import FakeKms

    issuer = Issuer("https://login.example.com/")
    file = tmp_path / "key.pem"
    file.write_bytes(issuer.keys[0].public_pem + private_pem(issuer.keys[0]))
    auth = {"issuer": issuer.name, "audience": "codec", "key_file": str(file)}
    rules = [{"claims": {"email": "*"}, "namespaces": "*"}]
    config = EnvelopeConfig(namespaces={"billing": NamespaceKeys(key=FakeKms())})

    def said(**settings: Any) -> str:
        return "\n".join(announcement(config, ServerConfig(**settings), [Address("0.0.0.0", 8081)]))

    guarded = said(listen="0.0.0.0:8081", auth=[auth], rules=rules, url="https://codec.example.com")
    assert "codec server at https://codec.example.com\n" in guarded
    assert "opens for   billing\n" in guarded
    assert "for whom    callers with a token of https://login.example.com/, as 1 rule allows\n" in guarded
    assert "              - decode and download in *: callers whose email is *\n" in guarded
    assert "for pages   of no Web UI: name its origin as server.origins" in guarded
    assert '--codec-endpoint https://codec.example.com --codec-auth "Bearer $TOKEN"' in guarded
    assert "WARNING     plaintext goes over the network unless a proxy speaks https" in guarded
    assert "whoever reaches" not in guarded
    open_to_all = said(listen="0.0.0.0:8081", allow_unauthenticated_network=True)
    assert "for whom    everyone on the network\n" in open_to_all
    assert "WARNING     whoever reaches the server may read everything" in open_to_all
    assert "WARNING" not in said()
