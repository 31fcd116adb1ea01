"""Addresses to listen at."""

from __future__ import annotations

import pytest

from envelope_codec.server.web.address import Address, is_loopback


@pytest.mark.parametrize("text", ["127.0.0.1:8081", "[::1]:0", "localhost:65535", "a-b.example:1"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":1", "::1:1", "a:65536", "a b:1", "a:1x"])
def test_what_is_no_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Address.parse(text)


def test_loopback_is_known_by_its_numbers_and_one_name() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["localhost", "10.0.0.1", "::", "0.0.0.0", "fe80::1%lo"]))
    assert Address("LocalHost", 1).is_loopback
    assert not Address("localhost.example", 1).is_loopback
