"""The command ``envelope-codec keygen``."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.keygen import change_key_file, create_key_file, key_uri
from envelope_codec.errors import KeyDenied
from envelope_codec.kms import master_key
from envelope_codec_local.key_file import KeyFile

SECRET = bytes(32)
CONTEXT = {"temporal-namespace": "default"}


class Outcome:
    def __init__(self, status: object, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def told(self, name: str) -> str:
        return next(line.removeprefix(f"{name}:").strip() for line in self.out.splitlines() if line.startswith(name))


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(left.value.code or 0, out, err)

    return run


def test_it_makes_a_key_that_the_printed_uri_opens(run: Any, tmp_path: Path) -> None:
    outcome = run("keygen", tmp_path / "key.json")
    assert (outcome.status, outcome.err) == (0, "")
    key = master_key(outcome.told("key URI"))
    assert key.key_id == outcome.told("key id")
    assert outcome.told("versions") == "1 (primary)"
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def test_the_file_is_private_whatever_the_umask(run: Any, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run("keygen", tmp_path / "key.json")
        run("keygen", tmp_path / "key.json", "--rotate")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_nothing_else_is_left_in_the_folder(run: Any, tmp_path: Path) -> None:
    run("keygen", tmp_path / "key.json")
    run("keygen", tmp_path / "key.json", "--rotate")
    run("keygen", tmp_path / "key.json")
    run("keygen", tmp_path / "key.json", "--disable", "9")
    assert [found.name for found in tmp_path.iterdir()] == ["key.json"]


def test_two_keys_differ(run: Any, tmp_path: Path) -> None:
    assert run("keygen", tmp_path / "a").told("key id") != run("keygen", tmp_path / "b").told("key id")


def test_no_key_is_printed(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    printed = "".join(
        outcome.out + outcome.err
        for outcome in (run("keygen", path), run("keygen", path, "--rotate"), run("keygen", path))
    )
    for secret in json.loads(path.read_text())["versions"].values():
        assert secret not in printed


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "a#b", "schlüssel", "[x]", "x" * 200])
def test_the_printed_uri_is_one_line_percent_encoded_and_absolute(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = run("keygen", name).told("key URI")
    assert uri.isascii()
    assert unquote(uri) == f"localfile://{tmp_path}/{name}"
    assert master_key(uri)


@pytest.mark.parametrize("name", ["a\nb", "a\udcffb"])
def test_a_path_that_no_key_uri_can_hold_is_refused(run: Any, tmp_path: Path, name: str) -> None:
    outcome = run("keygen", tmp_path / name)
    assert outcome.status == 1
    assert "choose a printable one" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_left_as_it_is(run: Any, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("precious")
    outcome = run("keygen", tmp_path / "key.json")
    assert outcome.status == 1
    assert "exists and is left as it is" in outcome.err
    assert (tmp_path / "key.json").read_text() == "precious"


def test_a_link_to_nowhere_is_left_as_it_is(run: Any, tmp_path: Path) -> None:
    (tmp_path / "key.json").symlink_to(tmp_path / "target")
    assert run("keygen", tmp_path / "key.json").status == 1
    assert not (tmp_path / "target").exists()


def test_rotation_adds_a_primary_version_and_keeps_key_id_and_old_versions(run: Any, tmp_path: Path) -> None:
    made = run("keygen", tmp_path / "key.json")
    key = master_key(made.told("key URI"))
    old = key.wrap(SECRET, CONTEXT)
    rotated = run("keygen", tmp_path / "key.json", "--rotate")
    assert rotated.told("versions") == "1, 2 (primary)"
    for name in ("key URI", "key id"):
        assert rotated.told(name) == made.told(name)
    assert key.unwrap(old, CONTEXT).secret == SECRET
    assert key.wrap(SECRET, CONTEXT).key_version == "2"


def test_a_version_number_is_never_used_again(tmp_path: Path) -> None:
    file = KeyFile.generate().rotated()
    without_1 = replace(file, versions={"2": file.versions["2"]})
    assert without_1.rotated().versions.keys() == {"2", "3"}


def test_rotation_through_a_link_replaces_the_target_and_keeps_the_link(run: Any, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    run("keygen", tmp_path / "real" / "key.json")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "key.json")
    assert run("keygen", tmp_path / "link", "--rotate").told("versions") == "1, 2 (primary)"
    assert (tmp_path / "link").is_symlink()
    assert '"primary": 2' in (tmp_path / "real" / "key.json").read_text()


def test_disable_and_enable_a_version(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    key = master_key(run("keygen", path).told("key URI"))
    old = key.wrap(SECRET, CONTEXT)
    outcome = run("keygen", path, "--rotate", "--disable", "1")
    assert outcome.told("versions") == "1 (disabled), 2 (primary)"
    with pytest.raises(KeyDenied):
        key.unwrap(old, CONTEXT)
    assert key.wrap(SECRET, CONTEXT).key_version == "2"
    assert run("keygen", path, "--enable", "1").told("versions") == "1, 2 (primary)"
    assert key.unwrap(old, CONTEXT).secret == SECRET


def test_disable_and_enable_the_whole_key(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    key = master_key(run("keygen", path).told("key URI"))
    run("keygen", path, "--rotate", "--disable", "1")
    outcome = run("keygen", path, "--disable", "all")
    assert outcome.told("versions") == "1 (disabled), 2 (primary, disabled)"
    with pytest.raises(KeyDenied):
        key.wrap(SECRET, CONTEXT)
    assert run("keygen", path, "--enable", "all").told("versions") == "1 (disabled), 2 (primary)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--disable", "2"], "no version '2' (known: 1, all)"),
        (["--enable", "01"], "no version '01' (known: 1, all)"),
        (["--enable", "1", "--disable", "1"], "both name '1'"),
    ],
)
def test_wrong_versions_change_nothing(run: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    path = tmp_path / "key.json"
    run("keygen", path)
    before = path.read_bytes()
    outcome = run("keygen", path, "--rotate", *arguments)
    assert outcome.status == 1
    assert said in outcome.err
    assert path.read_bytes() == before


def test_a_missing_file_is_not_made_by_rotating(run: Any, tmp_path: Path) -> None:
    outcome = run("keygen", tmp_path / "key.json", "--rotate")
    assert outcome.status == 1
    assert "is missing" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_key_file_is_not_changed(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.touch(mode=0o600)
    path.write_text("{}")
    outcome = run("keygen", path, "--rotate")
    assert outcome.status == 1
    assert '"format" must be' in outcome.err
    assert path.read_text() == "{}"


def test_a_missing_folder_is_said(run: Any, tmp_path: Path) -> None:
    outcome = run("keygen", tmp_path / "none" / "key.json")
    assert outcome.status == 1
    assert "No such file or directory" in outcome.err


def test_rotations_at_once_lose_no_version(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_key_file(path)
    start = threading.Barrier(8)

    def rotate() -> None:
        start.wait()
        for _ in range(5):
            change_key_file(path, KeyFile.rotated)

    threads = [threading.Thread(target=rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KeyFile.parse(path.read_bytes()).versions) == 41


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_key_file(path)
    before = path.read_bytes()

    def fail(file: KeyFile) -> KeyFile:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        change_key_file(path, fail)
    assert path.read_bytes() == before
    change_key_file(path, KeyFile.rotated)
    assert [found.name for found in tmp_path.iterdir()] == ["key.json"]


def test_what_is_written_reads_back_the_same() -> None:
    file = replace(KeyFile.generate().rotated().rotated(), disabled=frozenset({"2", "all"}))
    assert KeyFile.parse(file.to_bytes()) == file


def test_the_uri_of_a_path_that_starts_with_two_slashes_opens_it(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    assert master_key(key_uri(Path(f"/{tmp_path}/key.json")))


def test_keygen_imports_no_cloud_sdk(tmp_path: Path) -> None:
    code = """
import atexit, sys
from envelope_codec.cli import main
atexit.register(lambda: print(sorted({"boto3", "google.cloud.kms", "hvac"} & sys.modules.keys())))
main()
"""
    outcome = subprocess.run(
        [sys.executable, "-c", code, "keygen", str(tmp_path / "key.json")], capture_output=True, text=True, timeout=60
    )
    assert outcome.stdout.splitlines()[-1] == "[]"
