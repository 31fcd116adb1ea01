"""Which key exchanges the clients of this installation offer to a KMS over TLS: ``python -m tools.tls_groups``.

Each client connects to a port of this machine that reads its first message, the ClientHello, and hangs up. Nothing
leaves the machine. ``docs/compliance.md`` says what the answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable

GROUPS = {
    0x0017: "secp256r1",
    0x0018: "secp384r1",
    0x0019: "secp521r1",
    0x001D: "x25519",
    0x001E: "x448",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
}
"""Names of named groups, as IANA's registry of TLS parameters has them."""

_SUPPORTED_GROUPS = 10
_SECONDS = 10.0


def offered_groups(hello: bytes) -> list[str]:
    """Return the groups of a ClientHello (RFC 8446, 4.1.2), in the order of its preference.

    Args:
        hello: the record layer's bytes, from the first on.

    Raises:
        ValueError: it is no ClientHello.
    """
    if len(hello) < 44 or hello[0] != 22 or hello[5] != 1:
        raise ValueError("no ClientHello")
    at = 5 + 4 + 2 + 32  # record header, message header, version, random
    at += 1 + hello[at]  # session id
    at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher suites
    at += 1 + hello[at]  # compression methods
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
        body = hello[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == _SUPPORTED_GROUPS:
            numbers = [int.from_bytes(body[i : i + 2], "big") for i in range(2, len(body), 2)]
            # What some clients send only to see that a server ignores what it does not know (RFC 8701).
            return [GROUPS.get(number, hex(number)) for number in numbers if number & 0x0F0F != 0x0A0A]
    return []


def hello_of(connect: Callable[[int], object]) -> bytes:
    """Return the ClientHello that a client sends.

    Args:
        connect: makes the client connect to a port of this machine. Its errors are expected: nobody answers it.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_SECONDS)

        def try_to() -> None:
            with contextlib.suppress(Exception):
                connect(server.getsockname()[1])

        client = threading.Thread(target=try_to, daemon=True)
        client.start()
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_SECONDS)
            header = connection.recv(5, socket.MSG_WAITALL)
            hello = header + connection.recv(int.from_bytes(header[3:5], "big"), socket.MSG_WAITALL)
        client.join(_SECONDS)
        return hello


def _by_ssl(port: int) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def _by_boto3(port: int) -> None:
    import boto3
    from botocore.config import Config

    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=5)
    boto3.client(
        "kms",
        region_name="us-east-1",
        endpoint_url=f"https://127.0.0.1:{port}",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=config,
    ).list_keys()


def _by_requests(port: int) -> None:
    import requests

    requests.get(f"https://127.0.0.1:{port}", timeout=5)


def _by_grpc(port: int) -> None:
    import grpc  # type: ignore[import-untyped,unused-ignore]

    channel = grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials())
    with channel:
        grpc.channel_ready_future(channel).result(timeout=2)


def _by_temporal(port: int) -> None:
    from temporalio.client import Client

    async def connect() -> None:
        await asyncio.wait_for(Client.connect(f"127.0.0.1:{port}", tls=True), 2)

    asyncio.run(connect())


CLIENTS: dict[str, Callable[[int], object]] = {
    "Python's ssl": _by_ssl,
    "boto3: AWS KMS": _by_boto3,
    "requests: Vault, OpenBao, Azure Key Vault": _by_requests,
    "grpc: GCP KMS": _by_grpc,
    "temporalio: the Temporal service": _by_temporal,
}


def main() -> int:
    """Print what each client offers. Returns the exit status."""
    print(f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}")
    for name, connect in CLIENTS.items():
        print(f"{name:44}{', '.join(offered_groups(hello_of(connect)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
