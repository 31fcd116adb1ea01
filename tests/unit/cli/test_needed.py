"""What a command can't do without."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from envelope_codec.cli.needed import need_configuration, need_connection


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("ENVELOPE_CODEC_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def left(call: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as ended:
        call()
    assert ended.value.exit_code == 2
    return capsys.readouterr().err


def test_a_command_is_left_where_nothing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is configured" in left(lambda: need_configuration(None), capsys)
    assert left(lambda: need_configuration(None, ". More"), capsys).rstrip().endswith(". More")
    assert "no Temporal server is named: give --address" in left(lambda: need_connection(None, None), capsys)
    assert "is named, ours: give --address" in left(lambda: need_connection(None, None, ", ours"), capsys)
    assert "has no port" in left(lambda: need_connection("localhost", None), capsys)


def test_what_is_named_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "localfile:///k.json"\n')
    assert need_configuration(str(file)).key == "localfile:///k.json"
    assert need_connection("localhost:7233", None).address == "localhost:7233"
