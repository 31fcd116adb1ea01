"""An address may have only so many connections."""

from __future__ import annotations

from envelope_codec.server.web.connections import Connections


def test_an_address_has_so_many_connections() -> None:
    connections = Connections(2, ["192.0.2.9"])
    ends = [connections.open(f"2001:db8::{n}") for n in range(2)]
    assert connections.open("2001:db8::3") is None
    assert connections.open("2001:db8:1::3") is not None
    assert ends[0] is not None
    ends[0]()
    assert connections.open("2001:db8::3") is not None
    assert all(connections.open("192.0.2.9") for _ in range(10))
    proxies = Connections(1, ["10.0.0.0/8", "fd00::/8", "proxy"])  # as uvicorn takes them
    for free in ("10.1.2.3", "fd00::1", "proxy"):
        assert all(proxies.open(free) for _ in range(3))
    assert [proxies.open("11.0.0.1") is None for _ in range(2)] == [False, True]
    assert all(Connections(1, ["*"]).open("192.0.2.1") for _ in range(3))
