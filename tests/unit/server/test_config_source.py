"""Where settings come from, and which errors name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.server import ServerConfig
from envelope_codec.server.config_source import read_environment, read_file


def test_variables_override_the_file_that_they_name(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('[server]\nworkers = 2\nurl = "http://a"\n')
    variables = {"ENVELOPE_CODEC_FILE": str(file), "ENVELOPE_CODEC_SERVER_WORKERS": "3", "OTHER": "x"}
    assert read_environment(variables, ServerConfig) == {"workers": "3", "url": "http://a"}
    assert read_environment({"ENVELOPE_CODEC_SERVER_ORIGINS": "a, b"}, ServerConfig) == {"origins": ["a", "b"]}
    assert read_environment({"ENVELOPE_CODEC_SERVER_RULES": '[{"verbs": []}]'}, ServerConfig)["rules"] == [
        {"verbs": []}
    ]
    assert read_environment({}, ServerConfig) == {}


def test_a_file_needs_no_table_and_takes_nothing_else_for_one(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "k"\n')
    assert read_file(file) == {}
    file.write_text("server = 7\n")
    with pytest.raises(ConfigurationError, match="give a table"):
        read_file(file)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("WORKRS", "1", "you mean workers"),
        ("AUTH", "{", "JSON list"),
        pytest.param("AUTH", "[" * 100_000, "JSON list", id="deep"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ENVELOPE_CODEC_SERVER_{name}: .*{said}"):
        read_environment({f"ENVELOPE_CODEC_SERVER_{name}": text}, ServerConfig)
