"""The lines that people paste."""

from __future__ import annotations

from envelope_codec.server import ServerConfig
from envelope_codec.server.pages.instructions import command_line, public_url, web_ui_steps
from envelope_codec.server.web.address import Address


def test_the_url_is_the_one_of_the_settings_or_where_the_server_listens() -> None:
    here = [Address("127.0.0.1", 8081)]
    assert public_url(ServerConfig(url="https://codec.example.com/x/"), here) == "https://codec.example.com/x"
    assert public_url(ServerConfig(prefix="/codec"), here) == "http://127.0.0.1:8081/codec"
    secure = ServerConfig(tls_cert="cert", tls_key="key")
    assert public_url(secure, [Address("::1", 1)]) == "https://[::1]:1"
    anywhere = public_url(ServerConfig(), [Address("0.0.0.0", 1)])
    assert "0.0.0.0" not in anywhere


def test_tokens_are_spoken_of_where_they_are_asked_for() -> None:
    assert "$TOKEN" in command_line("http://x", token=True)
    assert "$TOKEN" not in command_line("http://x", token=False)
    assert ("access token" in web_ui_steps(token=True), "access token" in web_ui_steps(token=False)) == (True, False)
