"""Options of master keys, read and checked in one way for all providers."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.errors import ConfigurationError
from envelope_codec.provider import (
    LONGEST_SECONDS,
    Option,
    ProviderFacts,
    check_no_options,
    check_url,
    choose,
    is_exposed,
    is_loopback,
    parse_options,
    seconds,
)

FACTS = ProviderFacts(
    scheme="test",
    title="a test",
    class_name="test.Test",
    uri="test://KEY",
    key_id="test://KEY",
    options=(
        Option("endpoint", "URL", aliases=("address",)),
        Option("read_timeout", "seconds", "seconds"),
        Option("insecure", "no TLS", "flag"),
        Option("accounts", "accounts", "list"),
    ),
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("endpoint=http://h&read_timeout=2.5", {"endpoint": "http://h", "read_timeout": 2.5}),
        ("address=http://h", {"endpoint": "http://h"}),
        ("insecure=true", {"insecure": True}),
        ("insecure=false&accounts=1,2", {"insecure": False, "accounts": ("1", "2")}),
    ],
)
def test_options_are_read_as_their_kind_says(query: str, expected: dict[str, Any]) -> None:
    parsed, options = parse_options(f"test://key?{query}", FACTS)
    assert parsed.authority == "key"
    assert options == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("address=a&endpoint=b", "'endpoint' once"),
        ("address=a&address=b", "'endpoint' once"),
        ("what=1", r"unknown option 'what' \(known: accounts, endpoint, insecure, read_timeout\)"),
        ("insecure=yes", "insecure='yes' must be true or false"),
        ("read_timeout=2s", "read_timeout='2s' must be seconds"),
    ],
)
def test_a_wrong_option_is_refused_by_name(query: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_options(f"test://key?{query}", FACTS)


@pytest.mark.parametrize("value", [0.001, 1, 2.5, "2", "2.5", "1e1", LONGEST_SECONDS, "600"])
def test_seconds_are_taken(value: float | str) -> None:
    assert seconds("read_timeout", value) == float(value)


@pytest.mark.parametrize(
    "value", [0, -1, 600.1, float("nan"), float("inf"), "0", "-1", "nan", "inf", "", "soon", "2 s", None, [2], b"2"]
)
def test_what_is_no_time_out_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"option read_timeout=.* must be seconds, .* at most 600"):
        seconds("read_timeout", value)


def test_none_stands_for_the_default() -> None:
    assert seconds("read_timeout", None, 5.0) == 5.0
    assert seconds("read_timeout", 2, 5.0) == 2.0


def test_a_credential_in_the_place_of_seconds_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        seconds("read_timeout", "user:sesame@host")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h", "https://h:8200", "https://h:8200/", "http://[::1]:1", "HTTPS://h"])
def test_urls_are_taken(url: str) -> None:
    assert check_url("endpoint", url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["h", "h:1", "ftp://h", "http://", "http://h/path", "http://h:0", "http://h:x", "http://h?a=b", "http://h#f"]
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"option endpoint=.* must be http://HOST"):
        check_url("endpoint", url)


def test_a_path_is_taken_where_it_may_be() -> None:
    assert check_url("endpoint", "https://h/vault/", path=True) == "https://h/vault"
    with pytest.raises(ConfigurationError):
        check_url("endpoint", "https://h/vault?x", path=True)


def test_a_url_with_credentials_is_refused_without_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_url("endpoint", "https://user:sesame@h")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")),
        *((host, False) for host in ("128.0.0.1", "::2", "localhost.example.com", "::ffff:127.0.0.1", "", None)),
    ],
)
def test_only_this_machine_is_loopback(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "exposed"),
    [("http://h", True), ("https://h", False), ("http://127.0.0.1:8200", False), ("http://[::1]:8200", False)],
)
def test_plain_http_to_another_machine_is_exposed(url: str, exposed: bool) -> None:
    assert is_exposed(url) is exposed


def test_a_client_excludes_options() -> None:
    check_no_options({"endpoint": None, "read_timeout": None})
    with pytest.raises(ConfigurationError, match="options endpoint, read_timeout can't be given together with client="):
        check_no_options({"endpoint": "h", "profile": None, "read_timeout": 1})


def test_one_of_two_names_is_chosen() -> None:
    assert choose("endpoint", "a", "address", None) == "a"
    assert choose("endpoint", None, "address", "b") == "b"
    assert choose("endpoint", None, "address", None) is None
    with pytest.raises(ConfigurationError, match="endpoint and address are one"):
        choose("endpoint", "a", "address", "b")
