"""Pages that name the tests which show what they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def named_tests(page: Path) -> dict[str, tuple[str, str]]:
    """Code on the page: name of its test and its file. They stand in rows of a table, each with one file."""
    tests: dict[str, tuple[str, str]] = {}
    for row in re.findall(r"^\|.*`(?:tests|envelope_codec/testing)/.*\|$", page.read_text("utf-8"), re.MULTILINE):
        (file,) = re.findall(r"`((?:tests|envelope_codec/testing)/[^`]+\.py)`", row)
        for code, name in re.findall(r"(\w+)(?: \|)? `(test_[^`]+)`", row):
            assert code not in tests, f"{code} stands for two tests"
            tests[code] = (name, file)
    return tests


def missing(tests: dict[str, tuple[str, str]]) -> list[str]:
    """Those of `named_tests` that do not exist."""
    sources = {file: (ROOT / file).read_text("utf-8") for _, file in tests.values()}
    return [
        f"{code}: {file}::{name}"
        for code, (name, file) in tests.items()
        if not re.search(
            rf"^(?:    )?(?:async )?def {re.escape(name.partition('[')[0])}\(", sources[file], re.MULTILINE
        )
    ]
