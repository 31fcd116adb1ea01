"""The origins whose pages may use the server from a browser (CORS, the Fetch standard)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers

METHODS = "POST, GET, HEAD, OPTIONS"
REQUEST_HEADERS = "Content-Type, X-Namespace, Authorization, Authorization-Extras"
FAILED_HEADER = "X-Envelope-Failed"
REQUEST_ID_HEADER = "X-Request-Id"

_EXPOSED = f"{FAILED_HEADER}, {REQUEST_ID_HEADER}, Retry-After"
_PREFLIGHT_SECONDS = "600"


class Cors:
    """The origins whose pages may use the server.

    Args:
        origins: compared to the letter; ``*`` stands for any.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)
        self._any = "*" in self._origins

    def allows(self, origin: str) -> bool:
        """Return whether pages of ``origin`` may use the server."""
        return origin in self._origins or (self._any and origin != "null")

    def headers(self, request: Headers) -> Mapping[str, str]:
        """Return the headers that the answer to ``request`` carries."""
        origin = request.get("origin")
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": _EXPOSED,
        }

    def preflight_headers(self, request: Headers) -> Mapping[str, str]:
        """Return the headers that the answer to a preflight carries besides."""
        origin = request.get("origin")
        if origin is None or not self.allows(origin):
            return {}
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        }
        # Browsers ask this before a page of the internet reaches into a private network.
        if request.get("access-control-request-private-network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return headers
