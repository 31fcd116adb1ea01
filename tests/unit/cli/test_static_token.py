"""The command ``envelope-codec token``."""

from __future__ import annotations

import resource
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envelope_codec.cli import main
from envelope_codec.server.auth.token_file import TokenFiles, make_token


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["token", *arguments])
    return int(left.value.code or 0)


def test_a_token_is_printed_once_and_its_digest_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    assert run("report", "--file", str(file)) == 0
    first, told = capsys.readouterr()
    assert first.startswith("ect_")
    assert first.strip() not in told + file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text().rstrip("\n"))  # as an editor may leave it
    file.chmod(0o640)
    assert run("nightly", "--file", str(file), "--expires", "90d") == 0
    second = capsys.readouterr().out
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    files = TokenFiles([str(file)])
    found = [files.find(token.strip()) for token in (first, second)]
    assert [each and each.name for each in found] == ["report", "nightly"]
    assert found[1] is not None
    assert found[1].until == pytest.approx(time.time() + 90 * 86_400, abs=60)


def test_what_is_wrong_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    file.write_text("something else\n")
    assert run("report", "--file", str(file)) == 1
    assert run("report", "--file", str(tmp_path / "none" / "tokens")) == 1
    assert run("re port", "--file", str(tmp_path / "a")) == 1
    for duration in ("soon", "0", "-1", "36501d", "99999999d", "99999999999999d"):
        assert run("report", "--file", str(tmp_path / "a"), f"--expires={duration}") == 1
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "line 1" in told
    assert file.read_text() == "something else\n"
    assert not (tmp_path / "a").exists()


def test_no_token_makes_the_file_useless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    kept, entry = make_token("kept")
    file.write_text(f"{entry}\n" + f"x sha256:{'0' * 64}\n" * 999)
    assert run("one-more", "--file", str(file)) == 1
    assert "more than 1000 tokens" in capsys.readouterr().err
    assert TokenFiles([str(file)]).find(kept)
    file.write_text(f"{entry}\n")
    with resource_limit(len(file.read_bytes()) + 10):  # as where a disk is full
        assert run("one-more", "--file", str(file)) == 1
    assert "can't write" in capsys.readouterr().err
    assert file.read_text() == f"{entry}\n"


@contextmanager
def resource_limit(size: int) -> Iterator[None]:
    """Let no file of this process get larger than ``size`` bytes."""
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, earlier)
        signal.signal(signal.SIGXFSZ, handler)
