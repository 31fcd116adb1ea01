"""The names that the server goes by."""

from __future__ import annotations

from envelope_codec.server import ServerConfig
from envelope_codec.server.web.hosts import Hosts


def test_the_server_goes_by_its_names() -> None:
    hosts = Hosts(ServerConfig(url="https://codec.example.com/x", hosts=["codec.svc"], listen="localhost:8081"))
    for own in (
        "localhost",
        "127.0.0.1:8081",
        "[::1]:1",
        "10.1.2.3",
        "Codec.Example.com:443",
        "codec.svc.",
        "a.localhost",
    ):
        assert hosts.allows(own), own
    for strange in ("a+b.evil.example", "évil.example", "evil.example:", "*.evil.example:8081", "evil.example:123456"):
        assert not hosts.allows(strange), strange
    assert hosts.allows("")
    for other in ("evil.example", "codec.example.com.evil.example", "localhost.evil.example:8081", "127.0.0.1.nip.io"):
        assert not hosts.allows(other), other
