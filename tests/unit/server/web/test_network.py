"""Networks that clients are counted under."""

from __future__ import annotations

import pytest

from envelope_codec.server.web.network import Networks, network_of


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
        ("x" * 5_000, "x" * 100),
        ("", ""),
    ],
)
def test_an_address_is_counted_with_its_network(client: str, network: str) -> None:
    assert network_of(client) == network


def test_networks_are_addresses_ranges_and_names() -> None:
    networks = Networks(["192.0.2.9", "10.0.0.0/8", "proxy"])
    assert all(client in networks for client in ("192.0.2.9", "10.1.2.3", "proxy"))
    assert not any(client in networks for client in ("192.0.2.8", "11.0.0.1", "proxy2", ""))
    assert "anything" in Networks(["*"])
