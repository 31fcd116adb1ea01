"""The connection to a Temporal server that a command is told to ask."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec.cli.connection import Connection, ConnectionUnusable, load_connection


def test_the_server_is_asked_only_if_it_is_asked_for() -> None:
    assert load_connection(None, None, {}) is None
    assert load_connection(None, None, {"TEMPORAL_NAMESPACE": "n", "TEMPORAL_API_KEY": "k"}) is None


def test_the_connection_is_the_profiles(tmp_path: Any) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.prod]\naddress = "prod:7233"\nnamespace = "p"\napi_key = "marigold"\n')
    environment = {"TEMPORAL_CONFIG_FILE": str(file)}
    target = load_connection(None, "prod", environment)
    assert target == Connection("prod:7233", "p", {"api_key": "marigold", "tls": True})
    assert "marigold" not in repr(target)
    assert target.without_secrets("Bearer marigold") == "Bearer (left out)"
    elsewhere = load_connection("elsewhere:1", "prod", environment)
    assert elsewhere is not None
    assert (elsewhere.address, elsewhere.namespace) == ("elsewhere:1", "p")
    with pytest.raises(ConnectionUnusable, match="'none' not found"):
        load_connection(None, "none", environment)


def test_the_environment_names_a_server_too() -> None:
    target = load_connection(None, None, {"TEMPORAL_ADDRESS": "a:1", "TEMPORAL_NAMESPACE": "n", "TEMPORAL_TLS": "true"})
    assert target is not None
    assert (target.address, target.namespace, target.tls) == ("a:1", "n", True)
    plain = load_connection("b:2", None, {"TEMPORAL_ADDRESS": "a:1"})
    assert plain is not None
    assert (plain.address, plain.namespace, plain.tls) == ("b:2", None, False)
