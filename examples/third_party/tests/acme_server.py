"""Acme's KMS for tests: a small server with real cryptography, and what its administrator does."""

from __future__ import annotations

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class AcmeServer:
    """A KMS on a port of this machine. ``status`` of a key: 200, or what its calls end with."""

    def __init__(self) -> None:
        self.versions: dict[str, list[AESGCM]] = {}
        self.status: dict[str, int] = {}
        handler = type("Handler", (_Handler,), {"kms": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def create_key(self, name: str) -> None:
        self.status[name] = 200
        self.versions[name] = []
        self.rotate(name)

    def rotate(self, name: str) -> None:
        self.versions[name].append(AESGCM(os.urandom(32)))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, question: dict[str, str]) -> tuple[int, dict[str, str]]:
        name = question["key"]
        status = self.status.get(name, 404)
        if status != 200:
            return status, {}
        context, keys = base64.b64decode(question["context"]), self.versions[name]
        if path == "/encrypt":
            nonce = os.urandom(12)
            sealed = nonce + keys[-1].encrypt(nonce, base64.b64decode(question["plaintext"]), context)
            return 200, {"version": str(len(keys)), "ciphertext": base64.b64encode(sealed).decode()}
        named = {str(number): key for number, key in enumerate(keys, 1)}
        sealed = base64.b64decode(question["ciphertext"])
        try:
            secret = named[question["version"]].decrypt(sealed[:12], sealed[12:], context)
        except (KeyError, InvalidTag, ValueError):
            return 400, {}
        return 200, {"plaintext": base64.b64encode(secret).decode()}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # callers that connect at once


class _Handler(BaseHTTPRequestHandler):
    kms: AcmeServer

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, reply = self.kms.answer(self.path, question)
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("acme-kms", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the tests quiet."""
