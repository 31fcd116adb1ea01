"""What goes wrong with a key file, for whoever configures it and for a running worker."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from envelope_codec.provider import Meaning
from envelope_codec_local import _hints as hints


class NotPrivate(ValueError):
    """The file belongs to another user, or others can read or write it."""


def describe_defect(path: Path, error: Exception) -> str:
    """Tell whoever configures the key what is wrong; may name the path."""
    if isinstance(error, FileNotFoundError):
        return f"key file {str(path)!r} is missing: make it with envelope-codec keygen {quote(str(path))}"
    if isinstance(error, OSError):
        return f"key file {str(path)!r} can't be read: {error.strerror}"
    return f"key file {str(path)!r} can't be used: {error}"


def look_up(error: Exception) -> Meaning:
    """Find what ``error`` means to a running worker, whose errors are stored in clear."""
    if isinstance(error, FileNotFoundError):
        return hints.MISSING
    if isinstance(error, OSError):
        return hints.UNREADABLE
    return hints.NOT_PRIVATE if isinstance(error, NotPrivate) else hints.NOT_VALID
