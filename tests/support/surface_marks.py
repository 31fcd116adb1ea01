"""What workflows and tests share outside the sandbox: texts that occur nowhere else."""

from __future__ import annotations

HAVE_FAILED: set[str] = set()
"""Ids of workflows whose first task has failed, kept outside the sandbox."""


def mark(base: str, where: str) -> str:
    """A text that occurs nowhere else; ``base`` is 8 characters or more."""
    return f"{base} in {where}"
