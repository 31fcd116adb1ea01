"""The start page says what is so, and repeats nothing that a browser would run."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from starlette.requests import Request

from envelope_codec.server import ServerConfig
from envelope_codec.server.pages.start_page import State, render_start_page
from envelope_codec.server.web.cors import Cors

PAGE = "https://cloud.temporal.io"


def render(
    query: str = "",
    *,
    ready: bool = True,
    issuers: tuple[str, ...] = (),
    server: ServerConfig | None = None,
    namespaces: str = "every namespace",
    **headers: str,
) -> str:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw}
    scope |= {"scheme": "http", "server": ("127.0.0.1", 8081)}
    state = State(ready, issuers, namespaces)
    response = render_start_page(Request(scope), server or ServerConfig(origins=PAGE), Cors([PAGE]), state)
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
    assert render(f"origin={text}", host=text, origin=text, referer=text).count("<script") == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cloud.temporal.io", "https://cloud.temporal.io"),
        ("https://Cloud.Temporal.io", "https://cloud.temporal.io"),
        ("https://cloud.temporal.io/namespaces", "https://cloud.temporal.io"),
        ("https://u:p@cloud.temporal.io:443", "https://cloud.temporal.io"),
        ("localhost:8233", "https://localhost:8233"),
        ("ftp://cloud.temporal.io", ""),
        ("*", ""),
        ("null", "https://null"),
        ("https://[", ""),
        ("javascript:alert(1)", ""),
    ],
)
def test_what_is_no_origin_is_refused(given: str, meant: str) -> None:
    said = render(f"origin={quote(given, safe='')}")
    assert "is no origin</b>" in said
    assert "use it" not in said
    assert (f"Is it {meant}?" in said) is bool(meant)


def test_it_says_what_it_opens_and_for_whom_and_names_nobody() -> None:
    rules = [
        {
            "claims": {"email": ["ada@example.com", "bob@example.com"], "groups": "insiders"},
            "namespaces": ["a", "b", "c-*"],
        },
        {"namespaces": "d", "verbs": ["decode", "encode", "download"]},
    ]
    auth = [{"issuer": "https://i/", "audience": "x", "jwks_url": "https://i/jwks"}]
    server = ServerConfig(auth=auth, rules=rules, peers={"a": "z"}, audit_file="/var/log/secret-place")
    said = render(server=server, namespaces="billing, <shop>")
    assert "<dd>billing, &lt;shop&gt;</dd>" in said
    assert "callers with a token of https://i/, as 2 rules allow" in said
    assert (
        "<li>decode and download in a, b and c-*: callers whose email is as the settings say and groups is as the "
        "settings say</li>"
    ) in said
    assert "<li>decode, encode and download in d: every caller</li>" in said
    assert "<li>who may read a may read what z sealed</li>" in said
    assert "no Web UI: name its origin" in said
    assert "a line for each request, to a file" in said
    assert not [secret for secret in ("ada@", "insiders", "secret-place") if secret in said]
