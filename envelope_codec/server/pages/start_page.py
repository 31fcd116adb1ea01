"""The start page, at ``/``: whether the server is ready, how to connect to it, and which origins may use it."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from envelope_codec import __version__
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.pages.instructions import command_line, dev_server_line, web_ui_steps
from envelope_codec.server.web.cors import Cors

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre, input { font: 14px/1.5 ui-monospace, monospace; }
pre { background: #f3f4f6; padding: .75rem; overflow-x: auto; }
.yes { color: #116329; } .no { color: #a40e26; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e6e8ea; } pre { background: #22262b; }
  .yes { color: #5bd67f; } .no { color: #ff8a8a; }
}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_LONGEST_ORIGIN = 300


def render_start_page(
    request: Request, server: ServerConfig, cors: Cors, ready: bool, without_keys: Sequence[str]
) -> Response:
    """Return the start page.

    Args:
        request: the browser's.
        server: the settings.
        cors: which origins may use the server.
        ready: whether payloads can be opened.
        without_keys: the issuers whose keys can't be had.
    """
    url = escape(_find_url(request, server))
    token = server.wants_tokens
    status = '<b class="yes">ready</b>' if ready else '<b class="no">not ready</b>: its master keys do not answer'
    origin = _find_origin(request)
    html = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Codec server</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Codec server for Temporal</h1>
<p>It decodes what workers have sealed, for people who may read it. It is {status}.</p>
{"".join(map(_render_issuer, without_keys))}<h2>Connect the Web UI</h2>
<p>{escape(web_ui_steps(token))} The URL is</p>
<pre>{url}</pre>
<p>Or start Temporal's dev server with it:</p>
<pre>{escape(dev_server_line(""))}{url}</pre>
{_render_origin(origin, cors)}
<form><label>Another origin:
<input name="origin" placeholder="https://cloud.temporal.io" value="{escape(origin)}"></label>
<button>Check</button></form>
<h2>Connect the command line</h2>
<pre>{escape(command_line("URL", token)).replace("URL", url)}</pre>
<h2>Versions</h2>
<p>temporal-envelope-codec {escape(__version__)}, temporalio {escape(version("temporalio"))}, Python
{escape(platform.python_version())}</p>
</body>
</html>
"""
    return Response(html, 200, _HEADERS, "text/html")


def _render_issuer(issuer: str) -> str:
    return (
        f'<p><b class="no">The keys of the issuer {escape(issuer)} can\'t be had</b>: nobody with its tokens is let in'
        ". The server's log and <b>envelope-codec doctor</b> say why.</p>\n"
    )


def _render_origin(origin: str, cors: Cors) -> str:
    if not origin:
        return "<p>A browser uses the codec server only for pages of the origins in its settings.</p>"
    if cors.allows(origin):
        return f'<p>Pages of <b>{escape(origin)}</b> <b class="yes">may</b> use it.</p>'
    return (
        f'<p>Pages of <b>{escape(origin)}</b> <b class="no">may not</b> use it. If they should, add this origin to '
        "<b>origins</b> in the server's settings.</p>"
    )


def _find_origin(request: Request) -> str:
    """Return the origin that is asked about, or else the origin that the browser comes from, or else ""."""
    asked = request.query_params.get("origin", "").strip().rstrip("/")
    if asked:
        return asked[:_LONGEST_ORIGIN]
    came = request.headers.get("origin") or request.headers.get("referer", "")
    try:
        parts = urlsplit(came)
        found = f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else ""
    except ValueError:
        return ""
    return "" if found == f"{request.url.scheme}://{request.headers.get('host', '')}" else found[:_LONGEST_ORIGIN]


def _find_url(request: Request, server: ServerConfig) -> str:
    if server.url is not None:
        return server.url
    host = request.headers.get("host", "")
    where = host if _HOST.fullmatch(host) else str(server.addresses[0])
    scheme = "https" if request.scope.get("scheme") == "https" else "http"
    return f"{scheme}://{where}{server.prefix}"
