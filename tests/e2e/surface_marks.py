"""Texts that occur nowhere else: in user data, and in what Temporal may read."""

from __future__ import annotations


def mark(base: str, where: str) -> str:
    """A text that occurs nowhere else; ``base`` is 8 characters or more."""
    return f"{base} in {where}"
