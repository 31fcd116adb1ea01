"""The JSON that ``inspect`` reads."""

from __future__ import annotations

import json
import sys
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from envelope_codec.cli.payloads.walk import Unreadable

MAX_BYTES = 256 * 1024 * 1024
"""How many bytes are read at most. The server ends a workflow whose history is larger than 50 MiB."""


def read_document(source: str) -> list[Any]:
    """Read the JSON values in the file ``source``, or on standard input if it is ``-``. JSON lines are several values.

    Raises:
        Unreadable: the input can't be opened, is too large, is not text, or is not JSON.
    """
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(source).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: no file can have this path
        raise Unreadable(f"can't read {source!r}: {getattr(error, 'strerror', None) or 'no such file'}") from None
    return json_values(data)


def json_values(data: bytes) -> list[Any]:
    """Read the JSON values in ``data``, which is in UTF-8, UTF-16 or UTF-32.

    Raises:
        Unreadable: for the same reasons as in `read_document`.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"the input is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        raise Unreadable("the input is not text: it must be JSON, in UTF-8") from None
    decoder, values, position = JSONDecoder(), list[Any](), _skip_blanks(text, 0)
    if position == len(text):
        raise Unreadable("the input is empty")
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            position = _skip_blanks(text, position)
    except RecursionError:
        raise Unreadable("the input is nested too deeply") from None
    except JSONDecodeError as error:
        raise Unreadable(f"the input is not JSON: line {error.lineno}, column {error.colno}") from None
    except ValueError:  # a number of thousands of digits
        raise Unreadable("the input has a number that is too long") from None
    return values


def _skip_blanks(text: str, position: int) -> int:
    """Find where the next value begins."""
    while position < len(text) and text[position] in " \t\n\r":
        position += 1
    return position
