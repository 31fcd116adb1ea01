"""The command ``envelope-codec serve``, as far as it needs no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from envelope_codec.cli import _application, main
from envelope_codec.cli.keygen import create_key_file, key_uri
from tests.support.server_settings import settings
from tests.support.token_issuer import issuing


@pytest.mark.parametrize("environment", [{}, {"ENVELOPE_CODEC_SERVER_LISTEN": "127.0.0.1:0"}])
@pytest.mark.parametrize("options", [[], ["--check"], ["--workers", "2"]])
def test_without_configuration_it_says_how_to_give_one(
    options: list[str],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.environ", environment)
    with pytest.raises(SystemExit) as left:
        main(["serve", *options])
    printed, complaint = capsys.readouterr()
    assert (left.value.code, printed) == (2, "")
    assert complaint == (
        "envelope-codec: nothing is configured: name a file with --config, or set ENVELOPE_CODEC_KEY or "
        "ENVELOPE_CODEC_FILE\n"
    )


def test_a_configuration_without_a_key_is_an_error_of_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", {"ENVELOPE_CODEC_LEASE": "1m"})
    with pytest.raises(SystemExit) as left:
        main(["serve"])
    assert left.value.code == 1
    assert "key: missing; give a key" in capsys.readouterr().err


def test_serve_check_says_what_is_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key_file(tmp_path / "key.json")
    file = tmp_path / "envelope.toml"
    for name in ("FILE", "KEY"):
        monkeypatch.setenv(f"ENVELOPE_CODEC_{name}", "")  # so that it is put back
        monkeypatch.delenv(f"ENVELOPE_CODEC_{name}")

    def checked() -> tuple[int, str]:
        arguments = ["serve", "--check", "--config", str(file)]
        done = CliRunner().invoke(_application(arguments), arguments)
        return done.exit_code, done.output

    with issuing() as issuer:
        file.write_text(f'key = "{key_uri(tmp_path / "key.json")}"\n' + settings(issuer.jwks_url))
        status, said = checked()
        assert (status, "master keys: 1 unwrap" in said, "its keys are known" in said) == (0, True, True), said
        issuer.down = True
        status, said = checked()
        assert (status, "gives no keys" in said, "status 503" in said) == (1, True, True), said
    file.write_text(f'key = "{json.dumps(str(tmp_path))[1:-1]}"\n')
    assert checked()[0] != 0
