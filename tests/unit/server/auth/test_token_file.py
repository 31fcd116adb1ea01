"""Files of static tokens: digests alone are in them, and a change counts at once."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.server.auth.token_file import StaticToken, TokenFiles, TokensUnavailable, make_token


def write(path: Path, *entries: StaticToken | str) -> str:
    path.write_text("".join(f"{entry}\n" for entry in entries))
    path.chmod(0o600)
    return str(path)


def test_a_token_is_found_by_its_digest_alone(tmp_path: Path) -> None:
    token, entry = make_token("report")
    other, second = make_token("report")
    files = TokenFiles([write(tmp_path / "a", "# machines", "", entry), write(tmp_path / "b", second)])
    assert token not in (tmp_path / "a").read_text()
    assert sha256(token.encode()).hexdigest() in (tmp_path / "a").read_text()
    assert files.find(token) == entry
    assert files.find(other) == second  # two may have one name, while one replaces the other
    for wrong in ("", "ect_", token[:-1], token + "x", make_token("report")[0], entry.digest.hex()):
        assert files.find(wrong) is None
    assert len(token) == len("ect_") + 43


def test_a_token_ends(tmp_path: Path) -> None:
    end = int(time.time()) + 100
    token, entry = make_token("report", end)
    now = [end - 1.0]
    files = TokenFiles([write(tmp_path / "a", entry)], lambda: now[0])
    found = files.find(token)
    assert found is not None
    assert found.until == end
    assert not files.has_ended(found)
    now[0] += 1
    assert files.has_ended(found)
    assert not files.has_ended(make_token("x")[1])


def test_a_change_counts_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token, entry = make_token("report")
    later, second = make_token("later")
    path = tmp_path / "tokens"
    files = TokenFiles([write(path, entry)])
    write(path, second)
    assert (files.find(token), files.find(later)) == (None, second)
    path.unlink()
    for _ in range(3):
        with pytest.raises(TokensUnavailable):
            files.find(later)
    assert len(caplog.records) == 1
    write(path, "garbage ect_secret")
    with pytest.raises(TokensUnavailable):
        files.find(later)
    assert "line 1" in caplog.text
    assert "ect_secret" not in caplog.text
    write(path, entry)
    assert files.find(token) == entry


def test_a_file_that_can_t_be_read_takes_no_token_of_another_file_away(tmp_path: Path) -> None:
    token, entry = make_token("report")
    lost, second = make_token("lost")
    files = TokenFiles([write(tmp_path / "a", second), write(tmp_path / "b", entry)])
    (tmp_path / "a").unlink()
    assert files.find(token) == entry
    for unknown in (lost, make_token("x")[0]):  # it may be in the file that is gone
        with pytest.raises(TokensUnavailable):
            files.find(unknown)


@pytest.mark.parametrize(
    "line",
    [
        "report",
        "report sha256:00",
        f"report md5:{'0' * 64}",
        f"report sha256:{'0' * 64} until:tomorrow",
        f"report sha256:{'0' * 64} until:2027-13-01T00:00:00Z",
        f"report sha256:{'0' * 64} x",
        f"{'x' * 101} sha256:{'0' * 64}",
        f"r\x1bport sha256:{'0' * 64}",
    ],
)
def test_a_wrong_line_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.token_files: line 2 of .* is wrong"):
        TokenFiles([write(tmp_path / "a", "# x", line)])


def test_a_file_that_everyone_may_change_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    Path(path).chmod(0o602)
    with pytest.raises(ConfigurationError, match="everyone may write"):
        TokenFiles([path])
    with pytest.raises(ConfigurationError, match="can't read"):
        TokenFiles([str(tmp_path / "none")])
    with pytest.raises(ConfigurationError, match="larger"):
        TokenFiles([write(tmp_path / "b", "#" * 300_000)])
    with pytest.raises(ConfigurationError, match="more than 1000 tokens"):
        TokenFiles([write(tmp_path / "c", *[f"a sha256:{'0' * 64}"] * 1_001)])


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 101, "ü"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a token"):
        make_token(name)
