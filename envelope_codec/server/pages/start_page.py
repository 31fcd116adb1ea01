"""The start page, at ``/``: whether the server is ready, what it opens for whom, and how to connect to it."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from envelope_codec import __version__
from envelope_codec.server.config import ServerConfig
from envelope_codec.server.pages.instructions import command_line, dev_server_line, web_ui_steps
from envelope_codec.server.pages.summary import describe_callers, describe_origins, describe_rules
from envelope_codec.server.setting import is_origin
from envelope_codec.server.web.cors import Cors

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
body { overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre, input { font: 14px/1.5 ui-monospace, monospace; }
pre { background: #f3f4f6; padding: .75rem; margin-bottom: .25rem; white-space: pre-wrap; }
input { box-sizing: border-box; width: 100%; padding: .25rem; }
dt { font-weight: bold; } dd { margin: 0 0 .5rem 0; } ul { margin: 0; padding-left: 1.2rem; }
.yes { color: #116329; } .no { color: #a40e26; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e6e8ea; } pre { background: #22262b; }
  .yes { color: #5bd67f; } .no { color: #ff8a8a; }
}
"""

# Without https the browser has no clipboard to write to. Then the text is selected, and copied as by hand.
_SCRIPT = """
for (const button of document.querySelectorAll("button.copy")) {
  const text = button.previousElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      getSelection().selectAllChildren(text);
      if (!document.execCommand("copy")) return;
    }
    button.textContent = "Copied";
  });
}
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_LONGEST_ORIGIN = 300
_USUAL_PORTS = {"http": ":80", "https": ":443"}


class State(NamedTuple):
    """The state of a server that its page shows.

    Attributes:
        ready: whether payloads can be opened.
        without_keys: the issuers whose tokens can't be verified.
        namespaces: for which there are keys, in words.
    """

    ready: bool
    without_keys: Sequence[str] = ()
    namespaces: str = "every namespace"


def render_start_page(request: Request, server: ServerConfig, cors: Cors, state: State) -> Response:
    """Return the start page.

    Args:
        request: the browser's.
        server: the settings.
        cors: which origins may use the server.
        state: of the server.
    """
    url = _find_url(request, server)
    token = server.wants_tokens
    status = '<b class="yes">ready</b>' if state.ready else '<b class="no">not ready</b>: its master keys do not answer'
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
{"".join(map(_render_issuer, state.without_keys))}<h2>What it opens, and for whom</h2>
{_render_summary(server, state.namespaces)}
<h2>Connect the Web UI</h2>
<p>{escape(web_ui_steps(token))} The URL is</p>
{_render_line(url)}
<p>Or start Temporal's dev server with it:</p>
{_render_line(dev_server_line(url))}
{_render_origin(origin, cors)}
<form><label>Another origin:
<input name="origin" placeholder="https://cloud.temporal.io" value="{escape(origin)}"></label>
<button>Check</button></form>
<h2>Connect the command line</h2>
{_render_line(command_line(url, token))}
<h2>Versions</h2>
<p>temporal-envelope-codec {escape(__version__)}, temporalio {escape(version("temporalio"))}, Python
{escape(platform.python_version())}</p>
<script>{_SCRIPT}</script>
</body>
</html>
"""
    return Response(html, 200, _HEADERS, "text/html")


def _render_line(text: str) -> str:
    return f'<pre>{escape(text)}</pre>\n<button type="button" class="copy" hidden>Copy</button>'


def _render_summary(server: ServerConfig, namespaces: str) -> str:
    # Neither patterns of claims nor the file's name: this page asks nobody for a token.
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in describe_rules(server, with_patterns=False))
    audit = "to a file" if server.audit_file else "to standard output"
    return f"""<dl>
<dt>Opens for</dt><dd>{escape(namespaces)}</dd>
<dt>For whom</dt><dd>{escape(describe_callers(server))}{f"<ul>{rules}</ul>" if rules else ""}</dd>
<dt>For pages of</dt><dd>{escape(describe_origins(server))}</dd>
<dt>Audit</dt><dd>a line for each request, {audit}</dd>
</dl>"""


def _render_issuer(issuer: str) -> str:
    return (
        f'<p><b class="no">The tokens of the issuer {escape(issuer)} can\'t be verified</b>: nobody with them is let in'
        ". The server's log and <b>envelope-codec doctor</b> say why.</p>\n"
    )


def _render_origin(origin: str, cors: Cors) -> str:
    if not origin:
        return "<p>A browser uses the codec server only for pages of the origins in its settings.</p>"
    if not is_origin(origin):
        meant = _guess_origin(origin)
        return (
            f'<p><b class="no">{escape(origin)} is no origin</b>: give scheme, host and, unless it is the scheme\'s '
            f"own, port, in lower case and with nothing behind.{f' Is it {escape(meant)}?' if meant else ''}</p>"
        )
    if cors.allows(origin):
        return f'<p>Pages of <b>{escape(origin)}</b> <b class="yes">may</b> use it.</p>'
    return (
        f'<p>Pages of <b>{escape(origin)}</b> <b class="no">may not</b> use it. If they should, add this origin to '
        "<b>origins</b> in the server's settings.</p>"
    )


def _guess_origin(text: str) -> str:
    """Return the origin that may have been meant, as of the address of a page; or ""."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        found = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    except ValueError:
        return ""
    found = found.removesuffix(_USUAL_PORTS.get(parts.scheme, " "))
    return found if is_origin(found) else ""


def _find_origin(request: Request) -> str:
    """Return the origin that is asked about, or else the origin that the browser comes from, or else ""."""
    asked = request.query_params.get("origin", "").strip().rstrip("/")
    if asked:
        return asked[:_LONGEST_ORIGIN]
    came = request.headers.get("origin") or request.headers.get("referer", "")
    found = _guess_origin(came) if came.startswith(("http://", "https://")) else ""
    return "" if found == f"{request.url.scheme}://{request.headers.get('host', '')}" else found


def _find_url(request: Request, server: ServerConfig) -> str:
    if server.url is not None:
        return server.url
    host = request.headers.get("host", "")
    where = host if _HOST.fullmatch(host) else str(server.addresses[0])
    scheme = "https" if request.scope.get("scheme") == "https" else "http"
    return f"{scheme}://{where}{server.prefix}"
