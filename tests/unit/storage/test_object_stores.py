"""Google Cloud Storage and Azure Blob Storage follow no redirects: credentials would go to wherever these lead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from envelope_codec.errors import EnvelopeError
from envelope_codec.store import parse_store_url

ID = "a" * 32


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("url", ["gs://bucket", "azblob://account/container"])
async def test_a_redirect_is_not_followed(
    url: str, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VzYW1l")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    endpoint, asked = server
    store: Any = parse_store_url(f"{url}/x?endpoint={endpoint}").open()
    for call in (store.get(ID), store.put(ID, b"some bytes"), store.delete(ID)):
        with pytest.raises(EnvelopeError):
            await call
    await store.close()
    assert len(asked) >= 3
    assert "/elsewhere" not in asked
