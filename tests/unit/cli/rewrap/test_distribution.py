"""A distributed rewrap, as the command sees it: its id, its slices, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.rewrap.distribution import Distribution
from envelope_codec.cli.rewrap.work import digest_of
from envelope_codec.errors import ConfigurationError


def how(**more: Any) -> Distribution:
    connection = Connection("127.0.0.1:1", None, {})
    given = Distribution(connection, "q", "ops", "OLD", "NEW", frozenset(), None, 8, 32, 2_000.0, 30.0)
    return given._replace(**more)


def test_the_id_says_which_pass_of_which_keys_it_is(tmp_path: Path) -> None:
    same = how(in_flight=5)
    others = [how(old="OLDER"), how(new="NEWER"), how(namespaces=frozenset({"a"})), how(backup=tmp_path / "b")]
    assert how().workflow_id == same.workflow_id
    assert how().workflow_id.startswith("envelope-codec.rewrap/add/")
    assert others[-1].workflow_id.startswith("envelope-codec.rewrap/drop/")
    assert len({how().workflow_id, *(one.workflow_id for one in others)}) == 5


@pytest.mark.parametrize(("rows", "slices"), [(0, 8), (100, 8), (100_000, 200), (10**9, 65_536)])
def test_the_more_rows_the_more_slices(rows: int, slices: int) -> None:
    assert how().request(rows).slices == slices


def test_the_backup_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"rows")
    assert how(backup=tmp_path / "b").request(1).backup == digest_of(tmp_path / "b")
    assert how().request(1).backup == ""
    with pytest.raises(ConfigurationError, match="can't read"):
        how(backup=tmp_path / "none").request(1)


def test_what_it_needs_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "keystore").mkdir()
    for name in ("old", "new"):
        create_key_file(tmp_path / f"{name}.json")
    old, new = (key_uri(tmp_path / f"{name}.json") for name in ("old", "new"))
    file = tmp_path / "envelope.toml"
    settings = f'key = "{new}"\ndecrypt_keys = ["{old}"]\nkeystore = "file://{tmp_path}/keystore"\nstartup_jitter = 0\n'
    file.write_text(settings)

    def run(*options: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["rewrap", "--from", old, "--to", new, "--config", str(file), "--distributed", *options])
        return int(left.value.code or 0), capsys.readouterr().err

    status, said = run()
    assert (status, "no Temporal server is named" in said) == (2, True)
    status, said = run("--address", "127.0.0.1:1")
    assert (status, "no connection to 127.0.0.1:1" in said) == (1, True)
    file.write_text(settings + "sealing = false\n")
    status, said = run("--address", "127.0.0.1:1")
    assert (status, "must be sealed" in said) == (1, True)
