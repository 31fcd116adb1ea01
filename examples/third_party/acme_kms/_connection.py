"""Requests to the KMS, by what is in the place of an SDK here: Python's own urllib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from acme_kms._hints import NO_TOKEN
from envelope_codec.provider import Failed, ProcessClient, meanings

_LONGEST_REPLY = 65_536


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would take the token and the secret to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Connection:
    """A KMS, and how long to wait for it.

    Args:
        endpoint: its URL.
        token_file: None for a server that asks for no token.
        read_timeout: seconds.
    """

    def __init__(self, endpoint: str, token_file: str | None, read_timeout: float) -> None:
        self._endpoint = endpoint
        self._token_file = token_file
        self._read_timeout = read_timeout
        self._process = ProcessClient(lambda: build_opener(_NoRedirects), close=OpenerDirector.close)

    def ask(self, path: str, question: dict[str, str]) -> dict[str, Any]:
        """Send a question, and give the reply. Raises whatever urllib does, and `Failed`."""
        request = Request(f"{self._endpoint}/{path}", json.dumps(question).encode(), self._headers())  # noqa: S310
        opener = self._process.get()
        try:
            with opener.open(request, timeout=self._read_timeout) as reply:
                answer = json.loads(reply.read(_LONGEST_REPLY))
        except HTTPError as error:
            error.close()
            raise
        if not isinstance(answer, dict):
            raise Failed(meanings.NO_ANSWER)
        return answer

    def close(self) -> None:
        """End its use, for good."""
        self._process.close()

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"authorization": f"Bearer {Path(self._token_file).read_text('ascii').strip()}"}
        except (OSError, ValueError):
            raise Failed(NO_TOKEN) from None
