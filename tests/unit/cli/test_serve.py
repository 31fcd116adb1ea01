"""The command ``envelope-codec serve``, as far as it needs no network."""

from __future__ import annotations

import pytest

from envelope_codec.cli import main


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
