"""Credentials for Google Cloud: from where, by whom they are renewed, and what is remembered of a failure."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.transport.requests import Request

from envelope_codec import StoreUnavailable
from envelope_codec.datastore import gcs_error
from envelope_codec.datastore.gcs_credentials import CredentialsUnavailable, FreshCredentials
from envelope_codec.storage.gcs import GcsStore
from tests.support.http_server import answering


class Tokens:
    """A token service of Google's, and its service that impersonates.

    Attributes:
        asked: path and body of each request.
        refuses: paths that are answered by a refusal.
        url: of the server.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refuses: set[str] = set()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[Tokens]:
        """Serve until the block is left."""
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                tokens.asked.append((self.path, said))
                if self.path in tokens.refuses:
                    self._reply(400, {"error": "invalid_grant", "error_description": "sesame"})
                else:
                    self._reply(200, {"access_token": "t", "expires_in": 3600})

            def _reply(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        with answering(Handler) as self.url:
            yield self


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    with Tokens().running() as running:
        yield running


@pytest.fixture
def user(tmp_path: Path, tokens: Tokens) -> str:
    """The key file of a service account, for that token service."""
    path = tmp_path / "user.json"
    made = rsa.generate_private_key(65_537, 2_048)
    key = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    known = {"type": "service_account", "client_email": "a@sesame", "private_key": key, "project_id": "p"}
    path.write_text(json.dumps({**known, "token_uri": f"{tokens.url}/token"}))
    return str(path)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_token_is_asked_for_once_by_however_many(user: str, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", user)
    fresh = FreshCredentials({"quota_project": "billed"})
    loaded: Any = fresh.load()
    assert loaded.quota_project_id == "billed"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: fresh.refresh(Request()), range(8)))  # type: ignore[no-untyped-call,unused-ignore]
    assert [path for path, _ in tokens.asked] == ["/token"]
    assert loaded.token == "t"


def test_a_refusal_is_not_asked_for_again_at_once(user: str, tokens: Tokens) -> None:
    tokens.refuses.add("/token")
    fresh = FreshCredentials({"credentials": user})
    fresh.load()
    for _ in range(3):
        with pytest.raises(CredentialsUnavailable) as caught:
            fresh.refresh(Request())  # type: ignore[no-untyped-call,unused-ignore]
        assert "sesame" not in str(caught.value)
    assert len(tokens.asked) == 1


def told(url: str) -> str:
    """What a store says that has no credentials. Its endpoint is never asked."""

    async def put() -> str:
        store = GcsStore(url)
        with pytest.raises(StoreUnavailable) as caught:
            await store.put("a" * 32, b"")
        await store.close()
        return caught.value.reason

    return asyncio.run(put())


def test_the_debug_log_of_google_auth_has_no_token(user: str, tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("google.auth.transport.requests")
    log.addHandler(caplog.handler)
    tokens.refuses.add("/token")
    try:
        with caplog.at_level(logging.DEBUG, logger=log.name):
            told(f"gs://bucket?credentials={user}")
            log.debug("still there")
    finally:
        log.removeHandler(caplog.handler)
    [(_, said)] = tokens.asked
    assert "still there" in caplog.text
    assert parse_qs(said)["assertion"][0] not in "".join(str(vars(record)) for record in caplog.records)


def test_what_is_wrong_with_credentials_is_told(user: str, tokens: Tokens, tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "other.json").write_text('{"type": "other"}')
    assert told("gs://bucket") == gcs_error.NO_CREDENTIALS
    for file in ("missing.json", "text.json", "other.json"):
        assert told(f"gs://bucket?credentials={tmp_path / file}") == gcs_error.UNREADABLE
    tokens.refuses.add("/token")
    assert told(f"gs://bucket?credentials={user}") == gcs_error.REFUSED


def test_another_account_is_impersonated(
    user: str, tokens: Tokens, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    account = "writer@project.iam.gserviceaccount.com"
    monkeypatch.setattr("google.auth.iam._IAM_ENDPOINT", f"{tokens.url}/v1/{{}}:generateAccessToken", raising=True)
    tokens.refuses.add(f"/v1/{account}:generateAccessToken")
    assert told(f"gs://bucket?credentials={user}&impersonate={account}") == gcs_error.NOT_IMPERSONATED
    asked = dict(tokens.asked)
    assert json.loads(asked[f"/v1/{account}:generateAccessToken"])["scope"] == [
        "https://www.googleapis.com/auth/devstorage.read_write"
    ]
    assert "sesame" not in caplog.text


_SOURCE = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/x",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
}


@pytest.mark.parametrize(
    "content", [[], None, 5, {"type": "impersonated_service_account"}, {**_SOURCE, "credential_source": []}]
)
def test_a_file_of_any_content_is_an_outage_that_is_remembered(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    fresh = FreshCredentials({"credentials": str(path)})
    with pytest.raises(CredentialsUnavailable) as caught:
        fresh.load()
    path.unlink()  # it is not read again
    with pytest.raises(CredentialsUnavailable) as again:
        fresh.load()
    assert again.value.error is caught.value.error
    assert gcs_error.translate(caught.value, "get").reason == gcs_error.UNREADABLE


def test_whatever_a_source_of_tokens_raises_is_an_outage_that_is_remembered(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    fresh = FreshCredentials({"credentials": user})
    calls: list[object] = []

    def time_out(request: object) -> None:
        calls.append(request)
        raise subprocess.TimeoutExpired("sesame", 5)  # of a command line that makes tokens

    monkeypatch.setattr(fresh.load(), "refresh", time_out)
    for _ in range(2):
        with pytest.raises(CredentialsUnavailable) as caught:
            fresh.refresh(Request())  # type: ignore[no-untyped-call,unused-ignore]
    assert len(calls) == 1
    assert gcs_error.translate(caught.value, "get").reason == gcs_error.UNREACHABLE
