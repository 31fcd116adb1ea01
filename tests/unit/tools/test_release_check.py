"""What must not be in a release is found in it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.release_check import description_findings, differences, sdist_findings, wheel_findings

INFO = "temporal_envelope_codec-1.dist-info"
GOOD = {
    "envelope_codec/__init__.py": "",
    "envelope_codec/py.typed": "",
    f"{INFO}/METADATA": "Name: x\n\nSee [a](https://example.com/a) and [b](#b).\n",
    f"{INFO}/licenses/LICENSE": "…",
}


def wheel(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_nothing_is_found_where_all_is_well(tmp_path: Path) -> None:
    assert wheel_findings(wheel(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("tests/test_x.py", "", "tests/test_x.py: no file of a package"),
        ("envelope_codec/tests/test_x.py", "", "envelope_codec/tests/test_x.py: no file of a package"),
        ("envelope_codec/key.json", "{}", "envelope_codec/key.json: no file of a package"),
        (
            "envelope_codec/x.py",
            "-----BEGIN PRIVATE KEY-----\n" + "A" * 64,
            "envelope_codec/x.py: holds what looks like a secret",
        ),
        ("envelope_codec/x.py", "id = 'AKIA" + "A" * 16 + "'", "envelope_codec/x.py: holds what looks like a secret"),
        ("envelope_codec_aws/__init__.py", "", "envelope_codec_aws: py.typed is missing"),
        (f"{INFO}/METADATA", "Name: x\n\n[a](docs/a.md)\n", "description: docs/a.md is relative"),
    ],
)
def test_what_does_not_belong_into_a_wheel_is_found(tmp_path: Path, name: str, text: str, found: str) -> None:
    assert found in wheel_findings(wheel(tmp_path, {**GOOD, name: text}))


def test_a_missing_licence_is_found(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.items() if not name.endswith("LICENSE")}
    assert wheel_findings(wheel(tmp_path, files)) == ["the licence is missing"]


def test_an_empty_description_is_found() -> None:
    assert description_findings("Name: x\n\n") == ["the description is empty"]


def test_a_file_that_is_not_tracked_is_found_in_an_sdist(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("x-1/PKG-INFO", "x-1/README.md", "x-1/docs/key.json"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert sdist_findings(path, ["README.md"]) == ["docs/key.json: not in the repository"]


def test_builds_that_differ_are_found() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == ["b: two builds differ"]
    assert differences({"a": "1"}, {}) == ["a: two builds differ"]
    assert differences({"a": "1"}, {"a": "1"}) == []
