"""``envelope-codec keystore`` on keystores that need no server."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.rewrapped_rows import row_by


class Told(NamedTuple):
    status: int
    printed: str
    complained: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Told:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["keystore", *arguments])
        return Told(int(left.value.code or 0), *capsys.readouterr())

    return run


def settings(folder: Path, keystore: str) -> str:
    if not (folder / "key.json").exists():
        create_key_file(folder / "key.json")
    file = folder / "envelope.toml"
    file.write_text(f'key = "{key_uri(folder / "key.json")}"\nkeystore = "{keystore}"\n')
    return str(file)


def test_ddl_prints_what_makes_the_table(run: Any, tmp_path: Path) -> None:
    config = settings(tmp_path, f"sqlite:///{tmp_path}/k.db")
    told = run("check", "--config", config)
    assert told.status == 1
    told = run("ddl", "--config", config)
    assert told.status == 0
    with sqlite3.connect(tmp_path / "k.db") as database:
        database.executescript(told.printed)
    told = run("check", "--config", config)
    assert (told.status, told.complained) == (0, "")
    assert told.printed.count(" yes\n") == 4
    assert "Enough to: open, seal, share, export, rewrap" in told.printed


def test_ddl_of_a_url_asks_no_server(run: Any) -> None:
    told = run("ddl", "postgresql://user:sesame@host/db?table=other.rows")
    assert told.status == 0
    assert "other.rows" in told.printed
    assert "sesame" not in told.printed
    assert "--   GRANT" not in told.printed
    assert "-- GRANT SELECT, INSERT ON other.rows TO envelope_seal;" in told.printed
    assert "DELETE" not in told.printed


def test_the_page_shows_the_table_as_it_is(run: Any) -> None:
    page = (Path(__file__).parents[4] / "docs" / "keystore.md").read_text("utf-8")
    shown = page.partition("```sql\n")[2].partition("```")[0]
    assert shown in run("ddl", "postgresql://db.internal/temporal?table=codec.rows").printed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///k", "chown -R USER /k"),
        ("sqlite:////k.db", "SQLite has no roles"),
        ("s3://bucket/prefix", '"arn:aws:s3:::bucket/prefix/*"'),
        ("dynamodb://rows?region=us-east-1", "aws dynamodb create-table"),
        ("dynamodb://rows?region=us-east-1", '"dynamodb:PutItem"'),
        ("mongodb://host/db", 'db.createRole({"role": "envelope_seal"'),
        ("redis://host?prefix=a*", r"'~a\**' -@all"),
    ],
)
def test_ddl_says_what_each_role_needs(run: Any, url: str, said: str) -> None:
    told = run("ddl", url)
    assert (told.status, told.complained) == (0, "")
    assert said in told.printed
    assert "elete" not in told.printed
    has_roles = not url.startswith(("file", "sqlite"))
    assert ("For those that only open: the codec server" if has_roles else "-- For all roles:\n") in told.printed


def test_a_keystore_of_elsewhere_may_have_neither_table_nor_roles(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeystoreUrl, "open", lambda self: FakeKeystore())
    told = run("ddl", "memory://rows")
    assert (told.status, told.printed) == (1, "")
    assert "needs no statements" in told.complained


def test_a_keystore_that_cannot_be_used_is_told_with_a_fix(run: Any, tmp_path: Path) -> None:
    told = run("check", "--config", settings(tmp_path, f"file://{tmp_path}/astray"))
    assert told.status == 1
    assert told.complained == (
        "envelope-codec: the keystore: the directory does not exist, or is none. To do: make the directory, or mount "
        "it, or correct the path in the URL\n"
    )


def test_a_keystore_moves_through_a_file(run: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    rows = [row_by(FakeKms()) for _ in range(5)]

    async def keep() -> None:
        keystore = FileKeystore(f"file://{tmp_path}/one")
        for row in rows:
            await keystore.put(row.key, row.serialize(), None)
        await keystore.put(bytes(32), b"rubbish", None)

    asyncio.run(keep())
    file = str(tmp_path / "file")
    told = run("export", file, "--config", settings(tmp_path, f"file://{tmp_path}/one"))
    assert told.status == 1
    assert told.printed.startswith("5 rows written to ")
    assert "1 row left out" in told.complained
    config = settings(tmp_path, f"file://{tmp_path}/other")
    told = run("import", file, "--config", config)
    assert told.status == 0, told
    assert told.printed.split() == ["added", "5", "changed", "0", "as", "they", "were", "0"]
    told = run("import", file, "--config", config)
    assert told.printed.split() == ["added", "0", "changed", "0", "as", "they", "were", "5"]
    told = run("export", file, "--config", config)
    assert told.status == 1
    assert "exists and is left as it is" in told.complained


def test_a_damaged_file_brings_nothing_back(run: Any, tmp_path: Path) -> None:
    (tmp_path / "keystore").mkdir()
    (tmp_path / "file").write_text('{"format": "envelope-codec/keystore-1"}\n')
    told = run("import", str(tmp_path / "file"), "--config", settings(tmp_path, f"file://{tmp_path}/keystore"))
    assert told.status == 1
    assert "no whole file" in told.complained
    assert list((tmp_path / "keystore").iterdir()) == []


def test_an_export_that_is_refused_leaves_no_file(run: Any, tmp_path: Path) -> None:
    told = run("export", str(tmp_path / "file"), "--config", settings(tmp_path, f"file://{tmp_path}/astray"))
    assert told.status == 1
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("command", ["check", "ddl"])
def test_without_a_configuration_there_is_nothing_to_do(
    run: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENVELOPE_CODEC_FILE", "ENVELOPE_CODEC_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert run(command).status == 2
