"""A server that speaks Azure Key Vault's REST API over TLS, for tests and the demo. Never for anything else.

::

    python localstack/azurekv.py --port 9020 --certificate /tmp/vault.pem    # then prints one line "ready"

Microsoft's own client talks to it, if it trusts the certificate that this server makes for itself. It plays one vault,
whose name is ``--vault``, and the token service that the vault sends callers to: challenge authentication, keys of the
types RSA, EC and oct-HSM with their versions and states, soft deletion, and the operations wrapKey, unwrapKey,
encrypt, decrypt, sign and verify with RSA-OAEP-256, A256GCM and ES256
(https://learn.microsoft.com/rest/api/keyvault/keys/operation-groups).

What it is not: its client secret is known to all, and there is no access control. Anyone on this machine may use and
delete every key. So it listens on loopback alone and refuses any other host. Keys live in memory and are gone when it
ends; ``--state FILE`` keeps them, key material in clear, in a file of mode 0600.

SIGTERM and Ctrl-C end it with exit status 0; a port that is taken ends it with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from azurekv_client import VAULT
from azurekv_keys import Store
from azurekv_service import KeyVault
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


class Listener(ThreadingHTTPServer):
    """The HTTPS server of one `KeyVault`.

    Args:
        vault: what answers.
        certificate: PEM file with certificate and key; see `write_certificate`.
        latency: seconds that every call takes more.
    """

    daemon_threads = True
    # A second server on the same port must fail instead of taking half of the calls.
    allow_reuse_port = False

    def __init__(
        self, vault: KeyVault, certificate: Path, *, host: str = "127.0.0.1", port: int = 0, latency: float = 0.0
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.vault = vault
        self.latency = latency
        self.origin = f"https://{f'[{host}]' if ':' in host else host}:{self.server_port}"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak TLS in the connection's own thread: a client that is slow at it keeps nobody else waiting."""
        request.settimeout(60)
        with self._tls.wrap_socket(request, server_side=True) as secured:
            _Handler(secured, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no error of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body go out together: else the second packet waits for an acknowledgement
    server: Listener

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.latency:
            time.sleep(self.server.latency)
        headers = dict(self.headers.items())
        reply = self.server.vault.answer(self.command, self.path, headers, body, self.server.origin)
        if reply is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        said = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else _encoded(reply.body)
        self.send_response(reply.status)
        sent = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(said)), **reply.headers}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: requests hold secrets, and tests read the log."""


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def write_certificate(file: Path) -> None:
    """Write a new certificate for loopback addresses, signed by itself, and then its key to ``file``.

    The same file serves a client as the certificate authority that it trusts.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Azure Key Vault test server")])
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    now = datetime.now(timezone.utc)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | dict.fromkeys(("crl_sign", "encipher_only", "decipher_only"), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, SHA256())
    )
    file.touch(mode=0o600)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + key)


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise argparse.ArgumentTypeError(f"{host!r} is not a loopback address: this server has no access control")


def main(arguments: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--vault", default=VAULT, metavar="NAME", help="host name of the vault that it plays")
    parser.add_argument("--certificate", type=Path, required=True, metavar="FILE", help="made if it is not there")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds that every call takes more")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep keys in this file, in clear")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if not options.certificate.exists():
        write_certificate(options.certificate)
    vault = KeyVault(Store(options.state), host=options.vault)
    try:
        listener = Listener(vault, options.certificate, host=options.host, port=options.port, latency=options.latency)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    print(f"Azure Key Vault test server {options.vault} at {listener.origin}\nready", flush=True)
    stopped.wait()
    listener.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
