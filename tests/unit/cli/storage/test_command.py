"""``envelope-codec storage`` on stores that need no server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.storage.files import FileStore


class Told(NamedTuple):
    status: int
    printed: str
    complained: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Told:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["storage", *arguments])
        return Told(int(left.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ENVELOPE_CODEC_FILE", "TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def settings(folder: Path, *lines: str) -> str:
    if not (folder / "key.json").exists():
        create_key_file(folder / "key.json")
    file = folder / "envelope.toml"
    file.write_text("\n".join([f'key = "{key_uri(folder / "key.json")}"', *lines]))
    return str(file)


def test_ddl_prints_statements_that_make_the_table(run: Any, tmp_path: Path) -> None:
    told = run("ddl", "--config", settings(tmp_path, f'storage = "sqlite:///{tmp_path}/p.db?table=kept"'))
    assert told.status == 0
    assert told.printed.startswith("-- The table that this version of envelope-codec reads and writes.")
    assert not (tmp_path / "p.db").exists(), "nothing is run"
    with sqlite3.connect(tmp_path / "p.db") as database:
        database.executescript(told.printed)
    told = run("check", "--config", str(tmp_path / "envelope.toml"))
    assert (told.status, told.printed) == (0, "envelope-sqlite     can be used\n")


@pytest.mark.parametrize(
    ("url", "column"),
    [
        ("postgresql://user:sesame@host/db?table=schema.kept", "data BYTEA NOT NULL"),
        ("mariadb://user:sesame@host/db", "data LONGBLOB NOT NULL"),
        ("mysql://user:sesame@host/db", "data LONGBLOB NOT NULL"),
        ("sqlite:////x.db", "data BLOB NOT NULL"),
    ],
)
def test_ddl_speaks_each_dialect_without_asking_a_server(run: Any, url: str, column: str) -> None:
    told = run("ddl", url)
    assert (told.status, told.complained) == (0, "")
    assert column in told.printed
    assert "PRIMARY KEY (id)" in told.printed
    assert "CREATE INDEX" in told.printed
    assert "sesame" not in told.printed


@pytest.mark.parametrize("command", ["check", "stats"])
def test_every_configured_store_is_looked_at(run: Any, tmp_path: Path, command: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    former = f'former_storage = ["file://{tmp_path}/old?name=old", "file://{tmp_path}/astray?name=gone"]'
    told = run(command, "--config", settings(tmp_path, f'storage = "file://{tmp_path}/new"', former))
    assert told.status == 1
    if command == "check":
        assert told.printed == (
            "envelope-file       can be used\n"
            "old                 can be used\n"
            "gone                the directory does not exist, or is none\n"
            "                    To do: make the directory, or mount it, or correct the path in the URL\n"
        )
    else:
        assert told.complained == (
            "envelope-codec: gone: the directory does not exist, or is none. To do: make the directory, or mount it, "
            "or correct the path in the URL\n"
        )
    assert "astray" not in told.printed + told.complained


def test_a_former_store_that_may_only_be_read_passes(run: Any, tmp_path: Path) -> None:
    made = run("ddl", f"sqlite:///{tmp_path}/p.db").printed
    with sqlite3.connect(tmp_path / "p.db") as database:
        database.executescript(made)
    url = f"sqlite:///file:{tmp_path}/p.db?mode=ro&uri=true"
    told = run("check", "--config", settings(tmp_path, f'former_storage = ["{url}"]'))
    assert (told.status, told.printed) == (0, "envelope-sqlite     can be used\n")
    told = run("check", "--config", settings(tmp_path, f'storage = "{url}"'))
    assert told.status == 1
    said = " ".join(told.printed.split())
    assert "the file of the database is read-only To do: let this user write to the file" in said
    assert str(tmp_path) not in said


@pytest.mark.slow
def test_no_thread_of_a_store_outlives_the_event_loop(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    file = settings(tmp_path, f'storage = "sqlite:///{tmp_path}/astray/p.db"')
    for _ in range(40):  # without waiting for them, one time in ten goes wrong
        assert run("check", "--config", file).status == 1
    assert not died


def test_nothing_is_written_to_a_former_store(run: Any, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    storage, former = f'storage = "file://{tmp_path}/new"', f'former_storage = ["file://{tmp_path}/old?name=old"]'
    assert run("check", "--config", settings(tmp_path, storage, former)).status == 0
    assert list((tmp_path / "new").iterdir()), "or this would not notice"
    assert not list((tmp_path / "old").iterdir())
    assert "`former_storage` are only read from" in " ".join(run("check", "--help").printed.split())


def test_stats_count(run: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    file = settings(tmp_path, f'storage = "file://{tmp_path}/kept"')
    empty = run("stats", "--config", file, "--json")
    assert json.loads(empty.printed)["stores"] == [{"name": "envelope-file", "payloads": 0, "bytes": 0, "oldest": None}]
    store = FileStore(f"file://{tmp_path}/kept")
    for number in range(3):
        asyncio.run(store.put(f"{number:032x}", b"x" * 1_000 * number))
    [found] = json.loads(run("stats", "--config", file, "--json").printed)["stores"]
    assert (found["payloads"], found["bytes"]) == (3, 3_000)
    assert abs(found["oldest"] - time.time()) < 60
    printed = run("stats", "--config", file).printed
    assert "payloads            3\n" in printed
    assert "bytes               2.9 KiB\n" in printed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///{folder}/p.db", "make the table: envelope-codec storage ddl prints the statements"),
        ("file://{folder}/nowhere", "make the directory, or mount it, or correct the path in the URL"),
    ],
)
def test_a_store_that_can_t_be_listed_is_told_with_what_to_do(run: Any, tmp_path: Path, url: str, said: str) -> None:
    sqlite3.connect(tmp_path / "p.db").close()
    told = run("stats", "--config", settings(tmp_path, f'storage = "{url.format(folder=tmp_path)}"'))
    assert (told.status, told.printed) == (1, "")
    assert told.complained.startswith(f"envelope-codec: envelope-{url.partition(':')[0]}: ")
    assert f". To do: {said}" in told.complained
    assert told.complained.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["ddl"], 2, "nothing is configured"),
        (["check"], 2, "nothing is configured"),
        (["ddl", "redis://:sesame@host"], 1, "the store envelope-redis has no table"),
        (["ddl", "nonsense"], 1, "give a URL"),
        (["check", "--config", "FILE"], 1, "storage: not set"),
        (["stats", "--config", "FILE"], 1, "storage: not set"),
        (["gc", "--config", "FILE", "--older-than", "30d"], 1, "storage: not set"),
        (["gc", "--config", "STORE", "--older-than", "30d"], 2, "no Temporal server is named"),
        (["gc", "--config", "STORE", "--older-than", "30d", "--address", "host"], 2, "has no port: give HOST:PORT"),
        (["gc", "--config", "STORE", "--older-than", "soon"], 2, "give a duration"),
        (["gc", "--config", "STORE"], 2, "--older-than"),
        (["gc", "--config", "STORE", "--older-than", "23h", "--delete"], 2, "younger than 1d"),
        (["gc", "--config", "STORE", "--older-than", "30d", "--delete"], 2, "name all namespaces"),
        (["gc", "--config", "STORE", "--older-than", "30d", "--store", "x"], 1, "no store is called 'x'"),
        (["gc", "--config", "STORE", "--older-than", "30d", "--profile", "x"], 2, "profile can't be loaded"),
    ],
)
def test_wrong_usage_is_told(run: Any, tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    lines = [f'storage = "file://{tmp_path}"'] if "STORE" in arguments else []
    file = settings(tmp_path, *lines)
    told = run(*(file if argument in ("FILE", "STORE") else argument for argument in arguments))
    assert (told.status, told.printed) == (status, "")
    assert said in " ".join(told.complained.split())
    assert "sesame" not in told.complained
    assert "Traceback" not in told.complained


@pytest.mark.parametrize("price", ["-1", "-0.0", "nan", "-nan", "inf", "1e308", "much"])
def test_a_price_is_a_number(run: Any, price: str) -> None:
    told = run("gc", "--older-than", "30d", "--price-per-gb-month", price)
    assert told.status == 2
    assert "--price-per-gb-month" in told.complained
