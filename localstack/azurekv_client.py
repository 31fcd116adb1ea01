"""Requests to the Azure Key Vault test server, with nothing but the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

VAULT = "envelope.vault.azure.net"
"""Host name of the vault that the server plays."""

TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT_ID = "22222222-2222-4222-8222-222222222222"
CLIENT_SECRET = "envelope"
API_VERSION = "7.6"


def ask_vault(
    port: int, certificate: Path, method: str, path: str, body: Mapping[str, object] | None = None
) -> tuple[int, bytes]:
    """Log in, and send one request of Key Vault's API; gives status and body of the reply."""
    context = ssl.create_default_context(cafile=str(certificate))
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)) as connection:
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/{TENANT}/oauth2/v2.0/token", urlencode(form), kind)
        token = json.loads(connection.getresponse().read())["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        said = None if body is None else json.dumps(body)
        connection.request(method, f"{path}?api-version={API_VERSION}", said, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
