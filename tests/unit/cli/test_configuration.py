"""Where a command's configuration comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.cli.configuration import NothingConfigured, load_configuration


def test_the_configuration_comes_from_the_key_the_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('key = "localfile:///file"\nlease = "1m"\n')
    file, environment = str(tmp_path / "e.toml"), {"ENVELOPE_CODEC_KEY": "localfile:///environment"}
    assert load_configuration("localfile:///key", file, environment).config.key == "localfile:///key"
    assert load_configuration(None, file, environment).config.key == "localfile:///file"
    assert load_configuration(None, None, environment).config.key == "localfile:///environment"
    assert load_configuration(None, None, {"ENVELOPE_CODEC_FILE": file}).config.lease == 60.0
    for others in ({"PATH": "/bin"}, {"ENVELOPE_CODEC_SERVER_PORT": "8081"}):
        with pytest.raises(NothingConfigured):
            load_configuration(None, None, others)
    with pytest.raises(ConfigurationError, match="ENVELOPE_CODEC_LEASES: unknown setting; did you mean lease"):
        load_configuration(None, None, {"ENVELOPE_CODEC_LEASES": "1"})


def test_legacy_codecs_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('key = "localfile:///file"\nlegacy_codecs = ["no_such_module:codec"]\n')
    with pytest.raises(ConfigurationError, match="no_such_module"):
        load_configuration(None, str(tmp_path / "e.toml"), {})
