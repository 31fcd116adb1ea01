"""The search for a text that must be nowhere in clear."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.soak.sentinel import Find, Search, Watch, forms_of, times_in

TEXT = "soak-plaintext-0123456789abcdef"


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(3))
def test_it_is_found_in_base64_wherever_it_stands(before: int, after: int) -> None:
    data = base64.b64encode(b"{" * before + TEXT.encode() + b"}" * after)
    assert times_in(data, forms_of(TEXT)) == 1


@pytest.mark.parametrize("code", ["utf-8", "utf-16-le"])
def test_it_is_found_as_it_is(code: str) -> None:
    data = b"\x00\x01" + f"{TEXT} and {TEXT}".encode(code)
    assert times_in(data, forms_of(TEXT)) == 2


def test_it_is_found_in_hex() -> None:
    assert times_in(TEXT.encode().hex().encode(), forms_of(TEXT)) == 1


def test_what_differs_is_not_found() -> None:
    other = TEXT.replace("text", "texT")
    assert times_in(other.encode() + base64.b64encode(other.encode()), forms_of(TEXT)) == 0


def test_files_are_searched(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "leak.log").write_text(f"payload {TEXT}\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "clean").write_text("payload")
    search = Search(TEXT)
    assert search.below("logs", tmp_path) == [Find("logs: leak.log", 1)]
    assert search.below("one file", tmp_path / "clean") == []
    assert search.below("nothing", tmp_path / "missing") == []
    assert (search.files, search.bytes) == (3, 8 + len(TEXT) + 1 + 7 + 7)


def test_what_passes_by_is_watched() -> None:
    watch = Watch(TEXT)
    watch.look("proxy", b"sealed")
    watch.look("proxy", TEXT.encode())
    watch.look("metrics", b"none")
    assert watch.finds() == [Find("proxy", 1)]
    assert watch.seen == {"proxy": 6 + len(TEXT), "metrics": 4}
