"""Links to other hosts are found, and what is wrong with them is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tools.links import outward, report, wrong_with


def test_links_to_other_hosts_are_found_with_their_pages() -> None:
    pages = {
        "a.md": "[x](https://host/x#y) [b](b.md) [e](https://kms.example.com/) [l](http://localhost:8000/)",
        "b.md": "[x](https://host/x)\n```text\n[no](https://host/in-code)\n```\n",
    }
    assert outward(pages) == {"https://host/x": ["a.md", "b.md"]}


@pytest.fixture
def host() -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "wrong"), [(200, ""), (404, "404"), (410, "410"), (403, ""), (500, "500")])
def test_a_link_is_asked(status: int, wrong: str, host: str) -> None:
    assert wrong_with(f"{host}/{status}") == wrong


def test_a_host_that_is_not_there_is_told(host: str) -> None:
    assert wrong_with("http://127.0.0.1:1/") == "unreachable"


def test_without_a_network_nothing_is_said_of_any_link() -> None:
    links = {"https://a/": ["a.md"], "https://b/": ["a.md"]}
    assert report(links, dict.fromkeys(links, "unreachable")) == (["no network: none of 2 links was checked"], 0)


def test_a_link_that_leads_nowhere_is_told_with_its_pages() -> None:
    links = {"https://a/": ["b.md", "a.md", "a.md"], "https://b/": ["a.md"]}
    lines, status = report(links, {"https://a/": "404", "https://b/": ""})
    assert lines == ["404: https://a/ (a.md, b.md)", "2 links, 1 lead nowhere"]
    assert status == 1
