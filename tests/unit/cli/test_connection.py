"""The connection to a Temporal server that a command is told to ask."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.cli.connection import Connection, ConnectionFailed, ConnectionUnusable, load_connection


def test_the_server_is_asked_only_if_it_is_asked_for() -> None:
    assert load_connection(None, None, {}) is None
    assert load_connection(None, None, {"TEMPORAL_NAMESPACE": "n", "TEMPORAL_API_KEY": "k"}) is None


def test_the_connection_is_the_profiles(tmp_path: Any) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.prod]\naddress = "prod:7233"\nnamespace = "p"\napi_key = "marigold"\n')
    environment = {"TEMPORAL_CONFIG_FILE": str(file)}
    connection = load_connection(None, "prod", environment)
    assert connection == Connection("prod:7233", "p", {"api_key": "marigold", "tls": True})
    assert "marigold" not in repr(connection)
    assert connection.without_secrets("Bearer marigold") == "Bearer (left out)"
    elsewhere = load_connection("elsewhere:1", "prod", environment)
    assert elsewhere is not None
    assert (elsewhere.address, elsewhere.namespace) == ("elsewhere:1", "p")
    with pytest.raises(ConnectionUnusable, match="'none' not found"):
        load_connection(None, "none", environment)


def test_the_environment_names_a_server_too() -> None:
    connection = load_connection(
        None, None, {"TEMPORAL_ADDRESS": "a:1", "TEMPORAL_NAMESPACE": "n", "TEMPORAL_TLS": "true"}
    )
    assert connection is not None
    assert (connection.address, connection.namespace, connection.tls) == ("a:1", "n", True)
    plain = load_connection("b:2", None, {"TEMPORAL_ADDRESS": "a:1"})
    assert plain is not None
    assert (plain.address, plain.namespace, plain.tls) == ("b:2", None, False)


@pytest.mark.parametrize("address", ["localhost", "temporal.example.com", "[::1]", "host:", "host:port", ""])
def test_an_address_without_a_port_is_told_at_once(address: str) -> None:
    with pytest.raises(ConnectionUnusable, match="has no port: give HOST:PORT, such as localhost:7233"):
        load_connection(address, None, {})


@pytest.mark.parametrize("address", ["localhost:7233", "[::1]:7233", "temporal.example.com:443"])
def test_an_address_with_a_port_is_taken_as_it_is(address: str) -> None:
    connection = load_connection(address, None, {})
    assert connection is not None
    assert connection.address == address


async def test_a_server_that_does_not_answer_is_a_failure() -> None:
    connection = Connection("127.0.0.1:1", None, {"api_key": "marigold", "tls": False})
    with pytest.raises(ConnectionFailed) as failed:
        await connection.open(60)
    assert not failed.value.late
    assert failed.value.words
    assert "marigold" not in str(failed.value)


async def test_no_answer_in_time_is_a_failure() -> None:
    with pytest.raises(ConnectionFailed) as failed:
        await Connection("127.0.0.1:1", None, {}).open(0)
    assert (failed.value.late, failed.value.words) == (True, "")
