"""``envelope-codec token``: make a static token, by which a machine may use the codec server."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from envelope_codec._grammar import Seconds
from envelope_codec.errors import ConfigurationError
from envelope_codec.server.auth.token_file import StaticToken, TokenFile, make_token, parse_tokens

_LONGEST_DAYS = 36_500


def token(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the machine, for rules and the audit trail: its sub.")
    ],
    file: Annotated[
        Path, typer.Option(metavar="FILE", help="The file that server.token_files names. It is made if it is missing.")
    ],
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long the token is valid, as 90d. Unless given: for good."),
    ] = None,
) -> None:
    """Make a token by which a machine may use the codec server.

    Prints the token to standard output. This is the only time that it is seen: the file gets its name and its digest.
    To take a token away, delete its line.

    Exit status: 0, or 1 if the file can't be changed.
    """
    seconds = None if expires is None else _parse_expiry(expires)
    made, entry = make_token(name, None if seconds is None else time.time() + seconds)
    append(file, entry)
    print(made)
    print(f"added to {str(file)!r}: {name}, whose token is not kept", file=sys.stderr)


def append(path: Path, entry: StaticToken) -> None:
    """Add a line to the file of tokens at ``path``, and make the file, with mode 0600, if it is missing.

    Raises:
        ConfigurationError: the file is wrong, or can't be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 - pathlib opens no descriptors
            fcntl.flock(file, fcntl.LOCK_EX)
            TokenFile(str(path))  # nothing is added to what is wrong, or is another file
            data = file.read()
            begin = "" if not data or data.endswith(b"\n") else "\n"
            line = f"{begin}{entry}\n".encode()
            parse_tokens(data + line, str(path))  # a running server would believe none of a file with too many
            if file.write(line) != len(line):
                os.ftruncate(descriptor, len(data))  # nor one with half a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
    except OSError as error:
        raise ConfigurationError(f"can't write {str(path)!r}: {error.strerror}") from None


def _parse_expiry(text: str) -> float:
    try:
        seconds: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_DAYS * 86_400:
        raise ConfigurationError(f"--expires: give a duration, such as 90d or 12h, of up to {_LONGEST_DAYS}d")
    return seconds
