"""What clients offer in TLS is read from their first message."""

from __future__ import annotations

import socket
import ssl

import pytest

from tools.tls_groups import hello_of, offered_groups


def hello(*groups: int) -> bytes:
    """A ClientHello with these groups, after another extension."""
    listed = b"".join(group.to_bytes(2, "big") for group in groups)
    extension = (10).to_bytes(2, "big") + (len(listed) + 2).to_bytes(2, "big") + len(listed).to_bytes(2, "big") + listed
    extensions = b"\x00\x17\x00\x00" + extension
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_groups_are_named_in_the_order_of_preference() -> None:
    assert offered_groups(hello(0x11EC, 0x001D, 0x0100)) == ["X25519MLKEM768", "x25519", "0x100"]


def test_values_that_mean_nothing_are_left_out() -> None:
    assert offered_groups(hello(0x2A2A, 0x001D)) == ["x25519"]


def test_what_is_no_client_hello_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ClientHello"):
        offered_groups(b"GET / HTTP/1.1\r\n" + bytes(60))


def test_the_first_message_of_a_real_client_is_read() -> None:
    def connect(port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        with plain, ssl.create_default_context().wrap_socket(plain, server_hostname="localhost"):
            pass

    assert "x25519" in {group.lower() for group in offered_groups(hello_of(connect))}
