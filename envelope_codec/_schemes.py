"""Suggestions for a scheme of a URL that nothing is installed for."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_SHORTEST = 2
_SIMILAR = 0.8


def suggest_scheme(scheme: str, installed: Collection[str]) -> str:
    """Say which of the ``installed`` schemes is likely meant: the end of a sentence. Empty if none or several may be.

    A part of a scheme counts, as ``vault`` does for ``hashivault``, and so does a slip of the fingers.
    """
    if len(scheme) < _SHORTEST:
        return ""
    parts = [name for name in installed if scheme in name or name in scheme]
    likely = parts or get_close_matches(scheme, installed, n=1, cutoff=_SIMILAR)
    return f": did you mean {likely[0]}://…?" if len(likely) == 1 else ""
