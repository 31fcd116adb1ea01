"""``envelope-codec rewrap`` on a keystore of files, with master keys in files."""

from __future__ import annotations

import asyncio
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, KeyNotConfigured
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.output import Page
from envelope_codec.cli.rewrap.command import Asked, Command
from envelope_codec.errors import StoreRefused
from envelope_codec.keystore_row import KeystoreRow, parse_row
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.kms import master_key
from tests.support.rewrapped_rows import LONG_AGO, Bench, row_by


class Told(NamedTuple):
    status: int
    printed: str
    complained: str


class Place:
    """A keystore in a directory, key files ``old``, ``new`` and ``other``, and a configuration of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keystore").mkdir()
        for name in ("old", "new", "other"):
            create_key_file(folder / f"{name}.json")
        self.old, self.new, self.other = (key_uri(folder / f"{name}.json") for name in ("old", "new", "other"))
        self.keystore = FileKeystore(f"file://{folder}/keystore")
        self.configure()

    def configure(self, key: str | None = None, decrypt_keys: str | None = None, *lines: str) -> None:
        keys = f'key = "{key or self.new}"\ndecrypt_keys = ["{decrypt_keys or self.old}"]\n'
        text = f'{keys}keystore = "file://{self.folder}/keystore"\n' + "\n".join(lines)
        (self.folder / "envelope.toml").write_text(text)

    def keep(self, count: int, uri: str | None = None, created: int = LONG_AGO) -> list[KeystoreRow]:
        master = master_key(uri or self.old)
        rows = [row_by(master, created=created) for _ in range(count)]

        async def put() -> None:
            for row in rows:
                await self.keystore.put(row.key, row.serialize(), None)

        asyncio.run(put())
        return rows

    def rows(self) -> list[KeystoreRow]:
        async def read() -> list[KeystoreRow]:
            return [parse_row(kept.key, kept.data) async for kept in self.keystore.rows()]

        return asyncio.run(read())

    def recipients(self) -> list[int]:
        return [len(row.verified) for row in self.rows()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], place: Place) -> Any:
    def run(*arguments: str, command: str = "rewrap") -> Told:
        capsys.readouterr()
        keys = ("--from", place.old, "--to", place.new) if command == "rewrap" else ()
        with pytest.raises(SystemExit) as left:
            main([command, *arguments, *keys, "--config", str(place.folder / "envelope.toml")])
        return Told(int(left.value.code or 0), *capsys.readouterr())

    return run


def test_a_key_goes_in_two_passes(run: Any, place: Place) -> None:
    rows = place.keep(5)
    told = run("-y")
    assert told.status == 0, told
    assert "KMS calls           15 at least" in told.printed
    assert "5 rows got a recipient of the new master key" in told.printed
    assert place.recipients() == [2] * 5
    backup = str(place.folder / "backup")
    assert run("export", backup, command="keystore").status == 0
    told = run("-y", "--drop-old", "--backup", backup)
    assert told.status == 0, told
    assert "5 rows lost their recipients of the old master key" in told.printed
    assert [row.verified[0].key_id for row in place.rows()] == [master_key(place.new).key_id] * 5
    assert {row.key for row in place.rows()} == {row.key for row in rows}
    told = run("-y", "--drop-old", "--backup", backup)
    assert told.status == 0
    assert "No row names the old master key" in told.printed


def test_it_asks_before_it_changes_anything(run: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.keep(2)
    assert run("--dry-run").status == 0
    assert place.recipients() == [1, 1]
    monkeypatch.setattr(sys, "stdin", StringIO("n\n"))
    assert run().status == 1
    assert place.recipients() == [1, 1]
    monkeypatch.setattr(sys, "stdin", StringIO())
    assert run().status == 1, "nobody is there to ask"
    assert place.recipients() == [1, 1]
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    assert run().status == 0
    assert place.recipients() == [2, 2]


def test_the_second_pass_needs_a_complete_first_one(run: Any, place: Place) -> None:
    place.keep(2)
    assert run("-y").status == 0
    place.keep(1)
    run("export", str(place.folder / "backup"), command="keystore")
    told = run("-y", "--drop-old", "--backup", str(place.folder / "backup"))
    assert told.status == 1
    assert "the first pass is not complete. 1 row without" in told.complained
    assert sorted(place.recipients()) == [1, 2, 2]


def test_the_second_pass_needs_a_backup_made_after_the_first(run: Any, place: Place) -> None:
    place.keep(2)
    run("export", str(place.folder / "early"), command="keystore")
    assert run("-y").status == 0
    told = run("-y", "--drop-old", "--backup", str(place.folder / "early"))
    assert told.status == 1
    assert "nothing was changed: the backup lacks 2 rows" in told.complained
    assert place.recipients() == [2, 2]
    (place.folder / "astray").write_text("{}")
    told = run("-y", "--drop-old", "--backup", str(place.folder / "astray"))
    assert told.status == 1
    assert "no whole file of keystore export" in told.complained


def test_a_new_key_that_readers_lack_changes_nothing(run: Any, place: Place) -> None:
    place.keep(2)
    place.configure(key=place.other)
    told = run("-y")
    assert told.status == 1
    assert "In namespace prod, readers can't unwrap" in told.printed
    assert place.recipients() == [1, 1]


def test_a_new_key_that_can_not_wrap_changes_nothing(run: Any, place: Place) -> None:
    place.keep(2)
    with pytest.raises(SystemExit):
        main(["keygen", str(place.folder / "new.json"), "--disable", "all"])
    told = run("-y")
    assert told.status == 1
    assert "In namespace prod, the new master key can't wrap" in told.printed
    assert place.recipients() == [1, 1]


def test_an_old_key_that_is_gone_is_told_row_by_row(run: Any, place: Place) -> None:
    place.keep(2)
    with pytest.raises(SystemExit):
        main(["keygen", str(place.folder / "old.json"), "--disable", "all"])
    told = run("-y")
    assert told.status == 1
    assert "2 rows failed" in told.printed
    assert "2 rows left without a recipient of the new master key" in told.printed


def test_a_keystore_of_another_fleet_shows_itself(run: Any, place: Place) -> None:
    place.keep(3, place.other)
    told = run("-y")
    assert told.status == 1
    assert "No row names the old master key" in told.printed
    assert "no row names either master key" in told.printed
    assert master_key(place.other).key_id in told.printed


def test_it_warns_of_what_may_still_come(run: Any, place: Place) -> None:
    place.keep(1, created=int(time.time()))
    place.configure(key=place.old, decrypt_keys=place.new)
    with (place.folder / "envelope.toml").open("a") as file:
        file.write('keystore_mode = "best_effort"\n')
    told = run("-y")
    assert told.status == 0
    for words in ("move it from key to decrypt_keys", "1 wrapping key under", "keystore_mode is best_effort"):
        assert words in " ".join(told.printed.split())


def test_a_row_that_is_none_keeps_it_from_being_complete(run: Any, place: Place) -> None:
    place.keep(1)
    asyncio.run(place.keystore.put(bytes(32), b"rubbish", None))
    told = run("-y")
    assert told.status == 1
    assert "1 row can't be read by this version" in " ".join(told.printed.split())


def test_namespaces_can_be_chosen(run: Any, place: Place) -> None:
    place.keep(2)
    told = run("-y", "--namespace", "another")
    assert told.status == 1, "there is nothing of that name"
    assert "2 of other namespaces" in told.printed
    assert place.recipients() == [1, 1]


@pytest.mark.parametrize("arguments", [["--drop-old"], ["--backup", "file"]])
def test_the_options_of_the_second_pass_go_together(run: Any, arguments: list[str]) -> None:
    assert run(*arguments).status == 2


def test_a_keystore_that_is_gone_is_told_with_a_fix(run: Any, place: Place) -> None:
    (place.folder / "keystore").rmdir()
    told = run("-y")
    assert told.status == 1
    assert "the keystore: the directory does not exist" in told.complained
    assert "To do: make the directory" in told.complained


def test_without_a_keystore_there_is_nothing_to_do(run: Any, place: Place) -> None:
    (place.folder / "envelope.toml").write_text(f'key = "{place.new}"')
    told = run("-y")
    assert (told.status, told.complained) == (1, "envelope-codec: keystore: not set\n")


def test_what_was_sealed_under_the_old_key_opens_without_it(run: Any, place: Place) -> None:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"a text"')
    keystore = f"file://{place.folder}/keystore"

    async def sealed() -> list[Payload]:
        writer = EnvelopeCodec(EnvelopeConfig(key=place.old, keystore=keystore), namespace="prod")
        try:
            return await writer.encode([plain])
        finally:
            writer.close()

    async def opened(payloads: list[Payload]) -> list[Payload]:
        reader = EnvelopeCodec(EnvelopeConfig(key=place.new, keystore=keystore), namespace="prod")
        try:
            return await reader.decode(payloads)
        finally:
            reader.close()

    payloads = asyncio.run(sealed())
    with pytest.raises(KeyNotConfigured):
        asyncio.run(opened(payloads))
    assert run("-y").status == 0
    assert asyncio.run(opened(payloads)) == [plain]
    backup = str(place.folder / "backup")
    assert run("export", backup, command="keystore").status == 0
    assert run("-y", "--drop-old", "--backup", backup).status == 0
    assert asyncio.run(opened(payloads)) == [plain]


async def test_a_keystore_that_takes_no_rows_is_told_before_any_kms_is_asked() -> None:
    bench = Bench()
    bench.keep(row_by(bench.old))
    bench.keystore.refuses = {"check", "put"}
    config = EnvelopeConfig(key=bench.new, decrypt_keys=(bench.old,), keystore=bench.keystore)
    run = bench.run()
    before = bench.old.wraps
    with pytest.raises(StoreRefused):
        await Command(run, bench.masters, config, Asked(frozenset(), None, True, False), Page()).do()
    run.close()
    assert (bench.old.wraps, bench.old.unwraps, bench.new.wraps) == (before, 0, 0)


async def test_counts_are_told_even_if_the_keystore_is_lost_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    bench.keep(row_by(bench.old))
    config = EnvelopeConfig(key=bench.new, decrypt_keys=(bench.old,), keystore=bench.keystore)

    def lose(operation: str) -> None:
        if operation == "rows" and bench.keystore.puts:
            raise StoreRefused("gone")

    bench.keystore.before_call = lose
    run = bench.run()
    with pytest.raises(StoreRefused):
        await Command(run, bench.masters, config, Asked(frozenset(), None, True, False), Page()).do()
    run.close()
    assert "1 row got a recipient of the new master key" in capsys.readouterr().out
