"""Instructions for people: the lines that connect Temporal's Web UI and command line to the server."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from envelope_codec.server.config import ServerConfig
from envelope_codec.server.web.address import Address

_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def public_url(server: ServerConfig, listening: Sequence[Address]) -> str:
    """Return the URL at which clients reach the server, as far as it knows."""
    if server.url is not None:
        return server.url
    host, port = listening[0]
    address = Address(socket.gethostname() if host in _ANY else host, port)
    return f"{'http' if server.tls_cert is None else 'https'}://{address}{server.prefix}"


def dev_server_line(url: str) -> str:
    """Return the command that starts Temporal's dev server with a Web UI that uses the codec server."""
    return f"temporal server start-dev --ui-codec-endpoint {url}"


def command_line(url: str, token: bool) -> str:
    """Return the command that shows a workflow, decoded."""
    auth = ' --codec-auth "Bearer $TOKEN"' if token else ""
    return f"temporal workflow show --workflow-id ID --codec-endpoint {url}{auth}"


def web_ui_steps(token: bool) -> str:
    """Return what to do in a Web UI that runs already."""
    passing = ', and turn on "Pass the user access token", which the Web UI does over https only' if token else ""
    return f"In the Web UI, open the codec server's settings (the glasses), enter the URL{passing}."
