"""Hold the code to bandit's rules: ``python -m tools.bandit_findings FOLDER…``, in an environment that has bandit.

A finding is accepted where its line has a ``# noqa: S…`` of the same number with a reason behind it, which ruff takes
as well, or where it is listed here with a reason. The status is 1 for any other finding, and for a listed one that is
no longer there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RULES = {
    "B404": "to import subprocess does no harm; each call of it is a finding of its own",
}
"""Rules that are left out everywhere, and why."""

FOLDERS = {
    ("envelope_codec/testing", "B101"): "conformance suites are tests, for authors of providers and stores",
}
"""What is accepted in a whole folder, and why."""

LINES = {
    ("envelope_codec/server/auth/introspection.py", "B105", '"access_token"'): "a kind of token, as RFC 7662 names it",
    ("envelope_codec/server/auth/key_file.py", "B105", 'secret = ""'): "stands for no secret, which is refused",
    ("envelope_codec/temporal/codec.py", "B105", '{"pass": 0'): "counts payloads that pass",
}
"""What ruff does not find: the file, the rule, what stands in the line, and why it is accepted."""


class Finding(NamedTuple):
    """What bandit found: a rule's number, a file, the number of a line and its text, and bandit's words."""

    rule: str
    file: str
    line: int
    code: str
    text: str


def main(folders: Sequence[str]) -> int:
    """Run bandit, print what is not accepted, and return the exit status."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--format", "json", "--recursive", *folders]
    done = subprocess.run([*command, "--skip", ",".join(RULES)], capture_output=True, text=True)
    try:
        found = read(json.loads(done.stdout), {})
    except ValueError:
        print(done.stderr, file=sys.stderr)
        return 1
    wrong = judge(found)
    print(*wrong, f"bandit: {len(found)} findings, {len(wrong)} of them not accepted", sep="\n")
    return int(bool(wrong))


def read(report: Mapping[str, Any], texts: dict[str, list[str]]) -> list[Finding]:
    """Return the findings of a report in JSON. ``texts`` has the lines of files; those that lack are read.

    Raises:
        ValueError: bandit could not read a file.
    """
    if report["errors"]:
        raise ValueError(report["errors"])
    found = []
    for one in report["results"]:
        file = one["filename"].removeprefix("./")
        if file not in texts:
            texts[file] = Path(file).read_text("utf-8").splitlines()
        code = "\n".join(texts[file][number - 1] for number in one["line_range"])
        found.append(Finding(one["test_id"], file, one["line_number"], code, one["issue_text"]))
    return found


def judge(found: Iterable[Finding]) -> list[str]:
    """Return a line for each finding that is not accepted, and for each that is accepted here and was not found."""
    wrong: list[str] = []
    unused: set[tuple[str, ...]] = {*LINES, *FOLDERS}
    for one in found:
        listed: set[tuple[str, ...]] = {key for key in LINES if key[:2] == (one.file, one.rule) and key[2] in one.code}
        listed |= {key for key in FOLDERS if one.file.startswith(f"{key[0]}/") and one.rule == key[1]}
        unused -= listed
        if not listed and not re.search(rf"# noqa: (S\d+, )*S{one.rule[1:]}(, S\d+)* - \S", one.code):
            wrong.append(f"{one.file}:{one.line}: {one.rule} {one.text}")
    return [*wrong, *(f"{key[0]}: {key[1]} is accepted and not found: take it from the list" for key in sorted(unused))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
