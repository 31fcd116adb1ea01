"""A server that gives tokens as Google's token services do, for tests. Never for anything else.

It speaks three protocols, each at the path that it has at Google:

- the exchange of tokens for workload identity (``POST /v1/token``,
  https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token),
- the impersonation of service accounts (``POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken``,
  https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken),
- the refresh of a user's tokens (``POST /token``, https://developers.google.com/identity/protocols/oauth2).

It listens on loopback alone. google-auth reads the URL of the exchange from the credentials file; that of impersonation
is fixed in it, unless the file has it.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

_IMPERSONATION = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken")
Reply = tuple[int, object]


class TokenServer:
    """Token services of Google, on one port.

    Attributes:
        endpoint: URL.
        audience: of the workload identity provider that exists.
        subject_tokens: identity tokens that it takes, and who they say that asks.
        refresh_tokens: of users, and who they are.
        may_impersonate: pairs of who asks and the service account that it may act as.
        accounts: service accounts that exist.
        seconds: for which tokens live.
        holders: tokens given out, and who has them.
        requests: paths that were asked for, in order.
        broken: whether every request is answered by HTTP 503.
        hold: while it is clear, answers wait.
        instead: what answers every request in place of the above, unless it is None: status, headers and body.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/kind"
        self.subject_tokens: dict[str, str] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.may_impersonate: set[tuple[str, str]] = set()
        self.accounts: set[str] = set()
        self.seconds = 3600
        self.holders: dict[str, str] = {}
        self.requests: list[str] = []
        self.broken = False
        self.instead: tuple[int, dict[str, str], bytes] | None = None
        self.hold = threading.Event()
        self.hold.set()

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        """Serve until the block is left."""
        handler = type("Handler", (_Handler,), {"tokens": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            self.endpoint = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                self.hold.set()
                server.shutdown()
                thread.join()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return the status and the body that answer a POST."""
        self.requests.append(path)
        self.hold.wait(60)
        if self.broken:
            return 503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "try later"}}
        impersonation = _IMPERSONATION.fullmatch(path)
        if impersonation:
            return self._impersonate(unquote(impersonation[1]), headers, json.loads(body))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if path == "/v1/token":
            return self._exchange(form)
        return self._refresh(form) if path == "/token" else (404, {"error": "not_found"})

    def _exchange(self, form: Mapping[str, str]) -> Reply:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
            return 400, {"error": "invalid_request", "error_description": 'Invalid value for "grant_type".'}
        if form.get("audience") != self.audience:
            return 400, {
                "error": "invalid_target",
                "error_description": 'The target service indicated by the "audience" parameters is invalid.',
            }
        holder = self.subject_tokens.get(form.get("subject_token", ""))
        if holder is None:
            return 400, {"error": "invalid_grant", "error_description": "ID Token issued is stale to sign-in."}
        token = self._give(holder)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.seconds}

    def _refresh(self, form: Mapping[str, str]) -> Reply:
        holder = self.refresh_tokens.get(form.get("refresh_token", ""))
        if form.get("grant_type") != "refresh_token" or holder is None:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        return 200, {"access_token": self._give(holder), "token_type": "Bearer", "expires_in": self.seconds}

    def _impersonate(self, account: str, headers: Mapping[str, str], asked: Mapping[str, Any]) -> Reply:
        holder = self.holders.get(headers.get("authorization", "").removeprefix("Bearer "))
        if holder is None:
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        delegates = [name.removeprefix("projects/-/serviceAccounts/") for name in asked.get("delegates") or ()]
        chain = [holder, *delegates, account]
        for before, after in itertools.pairwise(chain):
            if after not in self.accounts:
                return _error(404, "NOT_FOUND", f"Not found; Gaia id not found for email {after}")
            if (before, after) not in self.may_impersonate:
                text = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
                return _error(403, "PERMISSION_DENIED", text)
        expiry = datetime.now(timezone.utc) + timedelta(seconds=self.seconds)
        return 200, {"accessToken": self._give(account), "expireTime": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _give(self, holder: str) -> str:
        token = f"token-{len(self.holders)}"
        self.holders[token] = holder
        return token


def _error(code: int, status: str, text: str) -> Reply:
    return code, {"error": {"code": code, "message": text, "status": status}}


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, reply = self.tokens.answer(self.path, headers, body)
        text = json.dumps(reply).encode()
        more: dict[str, str] = {}
        if self.tokens.instead is not None:
            status, more, text = self.tokens.instead
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass
