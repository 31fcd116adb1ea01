"""The start page says what is so, and repeats nothing that a browser would run."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from envelope_codec.server import ServerConfig
from envelope_codec.server.pages.start_page import render_start_page
from envelope_codec.server.web.cors import Cors

PAGE = "https://cloud.temporal.io"


def render(query: str = "", *, ready: bool = True, issuers: tuple[str, ...] = (), **headers: str) -> str:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw}
    scope |= {"scheme": "http", "server": ("127.0.0.1", 8081)}
    response = render_start_page(Request(scope), ServerConfig(origins=PAGE), Cors([PAGE]), ready, issuers)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return bytes(response.body).decode()


def test_it_says_whether_the_server_is_ready() -> None:
    assert '<b class="yes">ready</b>' in render()
    assert '<b class="no">not ready</b>' in render(ready=False)
    assert "issuer https://i/" in render(issuers=("https://i/",))


@pytest.mark.parametrize(("origin", "said"), [(PAGE, "may</b> use it"), ("https://other.example", "may not</b> use")])
def test_it_says_whether_an_origin_may_use_the_server(origin: str, said: str) -> None:
    assert said in render(f"origin={origin}/")
    assert said in render(referer=f"{origin}/namespaces")


def test_what_a_request_says_is_escaped() -> None:
    text = "<script>alert(1)</script>"
    assert "<script" not in render(f"origin={text}", host=text, origin=text, referer=text)
