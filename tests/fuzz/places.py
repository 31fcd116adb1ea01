"""Where inputs are kept."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
"""A folder for each target: inputs that a fuzzer found, and that show what the seeds do not; past findings as well."""

FOUND = ROOT / ".devstack" / "fuzz"
"""Inputs that runs on this machine found, which the next run goes on from, and their findings."""

FINDINGS = FOUND / "findings"


def kept(name: str) -> list[Path]:
    """Return the files of a target in the corpus."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
