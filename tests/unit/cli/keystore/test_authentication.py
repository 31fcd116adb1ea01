"""``envelope-codec keystore init``: the records by which shared wrapping keys are known."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keystore.authentication import make_auth_record, settings_of
from envelope_codec.errors import ConfigurationError, KeyDenied
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore import Kept
from envelope_codec.keystore_row import parse_row
from envelope_codec.keystore_sharing import auth_head, auth_row_key, is_slot
from envelope_codec.keystores.files import FileKeystore
from envelope_codec.testing import FakeKms


class Place:
    """A folder with key files, a keystore and settings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        (folder / "kept").mkdir()
        for name in ("key", "backup", "prod"):
            create_key_file(folder / f"{name}.json")
        self.write()

    def write(self, more: str = "", key: bool = True) -> None:
        lines = [f'keystore = "file://{self.folder}/kept"']
        if key:
            lines += [f'key = "{self.uri("key")}"', f'backup_keys = "{self.uri("backup")}"']
        (self.folder / "envelope.toml").write_text("\n".join([*lines, more, ""]))

    def uri(self, name: str) -> str:
        return key_uri(self.folder / f"{name}.json")

    def init(self, *arguments: str, answer: str = "") -> tuple[int, str, str]:
        self._capsys.readouterr()
        self._monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as left:
            main(["keystore", "init", "--config", str(self.folder / "envelope.toml"), *arguments])
        return int(left.value.code or 0), *self._capsys.readouterr()

    def kept(self) -> list[Kept]:
        async def work() -> list[Kept]:
            keystore = FileKeystore(f"file://{self.folder}/kept")
            return [kept async for kept in keystore.rows()]

        return asyncio.run(work())


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, capsys, monkeypatch)


def settings_in(printed: str) -> dict[str, Any]:
    found = re.search(r"(?ms)^share_wrapping_keys.*?^\]", printed)
    assert found is not None
    lines = found[0].splitlines()
    return {
        "share_wrapping_keys": lines[0].endswith("true"),
        "keystore_auth": re.findall(r'"([0-9a-f]{64})"', found[0]),
    }


async def test_processes_share_by_what_init_prints(place: Place) -> None:
    status, printed, _ = await asyncio.to_thread(place.init, "--yes")
    assert status == 0
    settings = settings_in(printed)
    [auth] = settings["keystore_auth"]
    kept = await asyncio.to_thread(place.kept)
    row = parse_row(kept[0].key, kept[0].data)
    assert (row.id.hex(), row.created, len(row.verified)) == (auth, 0, 2)
    assert kept[0].key == auth_row_key(auth_head("default", {}), bytes.fromhex(auth))
    (place.folder / "more.toml").write_text(
        (place.folder / "envelope.toml").read_text() + printed[printed.index("share_") :]
    )
    keyrings = [EnvelopeConfig.from_file(place.folder / "more.toml").keyring() for _ in range(2)]
    keys = [await keyring.sealing_key("default") for keyring in keyrings]
    assert keys[0].record.wire == keys[1].record.wire
    for keyring in keyrings:
        keyring.close()
    assert sum(is_slot(one.data) for one in await asyncio.to_thread(place.kept)) == 1


def test_it_asks_before_it_writes(place: Place) -> None:
    status, printed, _ = place.init(answer="n\n")
    assert status == 1
    assert "default: a record wrapped by localfile://" in printed
    assert not place.kept()
    assert place.init(answer="y\n")[0] == 0
    assert len(place.kept()) == 1


def test_each_namespace_that_is_listed_gets_a_record_of_its_own(place: Place) -> None:
    place.write(f'[namespaces.prod]\nkey = "{place.uri("prod")}"\n[namespaces."team-*"]\nkey = "{place.uri("key")}"')
    status, printed, _ = place.init("--yes")
    assert status == 0
    assert [parse_row(one.key, one.data).namespace for one in place.kept()] == ["prod"]
    status, printed, _ = place.init("--yes", "--namespace", "prod", "--namespace", "team-a")
    assert len(settings_in(printed)["keystore_auth"]) == 2
    assert sorted(parse_row(one.key, one.data).namespace for one in place.kept()) == ["prod", "prod", "team-a"]


def test_a_second_record_is_printed_beside_the_first_with_what_to_do(place: Place) -> None:
    place.write(f'keystore_auth = "{"ab" * 32}"')
    _, printed, _ = place.init("--yes")
    ids = settings_in(printed)["keystore_auth"]
    assert ids[0] == "ab" * 32
    assert len(ids) == 2
    assert "the old id first" in printed


def test_a_namespace_without_a_key_is_told_and_nothing_written(place: Place) -> None:
    place.write(f'[namespaces.prod]\nkey = "{place.uri("prod")}"', key=False)
    status, _, complained = place.init("--yes", "--namespace", "dev")
    assert status != 0
    assert "no master key is configured for 'dev'" in complained
    assert not place.kept()


def test_direct_mode_has_nothing_to_share(place: Place) -> None:
    place.write('wrapping = "direct"')
    status, _, complained = place.init("--yes")
    assert status != 0
    assert "direct mode has no wrapping keys" in complained


def test_a_keystore_that_is_not_there_is_told_with_a_fix(place: Place) -> None:
    (place.folder / "kept").rmdir()
    status, _, complained = place.init("--yes")
    assert status == 1
    assert "To do:" in complained


def test_all_master_keys_must_wrap_it() -> None:
    one, two = FakeKms(), FakeKms()
    two.denied = True
    with pytest.raises(KeyDenied):
        make_auth_record("default", KeySet(one, (two,)))


def test_its_secret_is_unwrapped_once_by_each() -> None:
    one, two = FakeKms(), FakeKms()
    record = make_auth_record("default", KeySet(one, (two,), context={"tenant": "t"}))
    assert (one.unwraps, two.unwraps) == (1, 1)
    assert dict(record.row.context) == {"temporal-namespace": "default", "tenant": "t"}
    assert record.id == record.row.id.hex()


def test_too_many_ids_are_refused() -> None:
    record = make_auth_record("default", KeySet(FakeKms()))
    with pytest.raises(ConfigurationError, match="64 ids at most"):
        settings_of(["ab" * 32] * 64, [record])
