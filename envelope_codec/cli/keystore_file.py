"""A keystore's rows in a file: a backup that proves that it is whole.

The file has one line of JSON for its head, one for each row, in ascending order of keys, and one for its end, with the
number of rows and a digest of all before it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Any

from envelope_codec.errors import ConfigurationError
from envelope_codec.keystore import Kept, key_of_digits
from envelope_codec.keystore_row import MAX_ROW, KeystoreRow, MalformedRow, parse_row

FORMAT = "envelope-codec/keystore-1"

_LONGEST = 2 * MAX_ROW
"""Bytes of a line: more than base64 makes of a row and its key."""


class NewRows:
    """The rows of a file that is being written.

    Attributes:
        written: how many rows it has.
        left_out: how many were none.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.written = self.left_out = 0
        self._stream = stream
        self._digest = sha256()
        self._put({"format": FORMAT})

    def add(self, kept: Kept) -> None:
        """Write one row, if it is one."""
        try:
            parse_row(kept.key, kept.data)
        except MalformedRow:
            self.left_out += 1
            return
        self._put({"key": kept.key.hex(), "row": base64.b64encode(kept.data).decode()})
        self.written += 1

    def end(self) -> None:
        """Write the end, by which the file is known to be whole."""
        self._put({"rows": self.written, "sha256": self._digest.hexdigest()})

    def _put(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        self._digest.update(data)
        self._stream.write(data)


@contextmanager
def new_row_file(path: Path) -> Iterator[NewRows]:
    """Write a new file, which is there whole afterwards, or not at all. Only its owner can read it.

    Raises:
        ConfigurationError: there is a file already, or it can't be written.
    """
    taken = f"{str(path)!r} exists and is left as it is: name another file"
    if path.exists():
        raise ConfigurationError(taken)
    try:
        descriptor, name = mkstemp(dir=path.parent, prefix=".envelope-codec-")
        fresh = Path(name)
        try:
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - pathlib opens no descriptors
                rows = NewRows(stream)
                yield rows
                rows.end()
                stream.flush()
                os.fsync(descriptor)
            os.link(fresh, path)  # unlike a rename, a link never replaces a file that is there
        finally:
            fresh.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise ConfigurationError(taken) from None
    except OSError as error:
        raise ConfigurationError(f"can't write {str(path)!r}: {error.strerror}") from None


class RowFile:
    """A file of rows that was written before.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> int:
        """Read all of it, and return how many rows it has.

        Raises:
            ConfigurationError: it is no such file, or is not whole.
        """
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[KeystoreRow]:
        """Yield its rows. Only after the last one is it known that the file is whole.

        Raises:
            ConfigurationError: it is no such file, or is not whole.
        """
        try:
            with self._path.open("rb") as stream:
                yield from _read(stream)
        except OSError as error:
            raise ConfigurationError(f"can't read {str(self._path)!r}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError, MalformedRow):
            raise ConfigurationError(
                f"{str(self._path)!r} is no whole file of keystore export, or was changed since"
            ) from None


def _read(stream: IO[bytes]) -> Iterator[KeystoreRow]:
    """Yield the rows. Raises `ValueError` and others where anything is not as `NewRows` wrote it."""
    digest, count, last = sha256(), 0, b""
    head = stream.readline(_LONGEST)
    if json.loads(head) != {"format": FORMAT}:
        raise ValueError
    digest.update(head)
    while line := stream.readline(_LONGEST):  # what is longer is cut, and then it is no line of JSON
        entry = json.loads(line)
        if "rows" in entry:
            if entry != {"rows": count, "sha256": digest.hexdigest()} or stream.read(1):
                raise ValueError
            return
        key = key_of_digits(entry["key"])
        if key is None or key <= last:
            raise ValueError
        yield parse_row(key, _decoded(entry["row"]))
        digest.update(line)
        count, last = count + 1, key
    raise ValueError


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
