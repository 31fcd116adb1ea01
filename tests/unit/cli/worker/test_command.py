"""``envelope-codec worker``: what it needs, and what it says where that is missing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.distributed.served import Offer
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.worker.command import offered
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms


@pytest.fixture
def config(tmp_path: Path) -> str:
    create_key_file(tmp_path / "key.json")
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "{key_uri(tmp_path / "key.json")}"\nstartup_jitter = 0\n')
    return str(file)


def run(*options: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["worker", *options])
    return int(left.value.code or 0)


def test_without_anything_to_serve_it_says_what_to_give(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", config, "--address", "127.0.0.1:1") == 2
    assert "nothing to serve: give --results" in capsys.readouterr().err


def test_without_a_configuration_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENVELOPE_CODEC_KEY", "ENVELOPE_CODEC_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert run("--address", "127.0.0.1:1", "--results", "file:///tmp/r") == 2
    assert "nothing is configured" in capsys.readouterr().err


def test_without_a_server_it_says_so(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert run("--config", config, "--results", "file:///tmp/r") == 2
    assert "no Temporal server is named" in capsys.readouterr().err


def test_a_server_that_can_t_be_reached_is_told(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", config, "--address", "127.0.0.1:1", "--results", "file:///tmp/r") == 1
    assert "no connection to 127.0.0.1:1" in capsys.readouterr().err


async def test_audits_are_served_where_results_have_a_place(tmp_path: Path) -> None:
    settings = EnvelopeConfig(key=FakeKms())
    codec = EnvelopeCodec(settings, namespace="default")
    client: Any = SimpleNamespace(data_converter=SimpleNamespace(payload_codec=codec))
    async with AsyncExitStack() as stack:
        [audit] = await offered(Offer(client, settings, parse_store_url(f"file://{tmp_path}")), stack)
        assert audit.what == "audit, with results in envelope-file"
        assert len(audit.activities) == 7
        assert await offered(Offer(client, settings, None), stack) == []
