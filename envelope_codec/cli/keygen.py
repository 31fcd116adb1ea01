"""``envelope-codec keygen``: make a key file, rotate it, and disable or enable its versions."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated
from urllib.parse import quote

import typer

from envelope_codec.errors import ConfigurationError
from envelope_codec_local import LocalKeyFile
from envelope_codec_local.key_file import ALL, KeyFile


def keygen(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The key file.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Add a version and make it primary.")] = False,
    disable: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help='Let a version, or "all", neither wrap nor unwrap.'),
    ] = None,
    enable: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help='Undo --disable for a version, or for "all".'),
    ] = None,
) -> None:
    """Make or change a key file, for development and tests.

    Without options it makes a new key, and never overwrites a file. With options it changes the key that the file
    holds. It prints the key URI, the key id and the versions.

    Exit status: 0, or 1 if the file can't be made or changed.
    """
    if not str(path).isprintable():
        raise ConfigurationError(f"{str(path)!r} is no path that a key URI can hold: choose a printable one")
    disable, enable = disable or [], enable or []
    if rotate or disable or enable:
        file = change_key_file(path, lambda file: _change(file, rotate, disable, enable))
    else:
        file = create_key_file(path)
    print(f"key URI:  {key_uri(path)}")
    print(f"key id:   {LocalKeyFile(path.absolute()).key_id}")
    print(f"versions: {', '.join(_describe_versions(file))}")


def create_key_file(path: Path) -> KeyFile:
    """Write a new key to ``path``, with mode 0600.

    Raises:
        ConfigurationError: there is a file already, or it can't be written.
    """
    file = KeyFile.generate()
    with _write_beside(path, file) as fresh:
        try:
            # Unlike a rename, a link never replaces a file that is there.
            os.link(fresh, path)
        except FileExistsError:
            raise ConfigurationError(
                f"{str(path)!r} exists and is left as it is: choose another path, or add a version with --rotate"
            ) from None
    return file


def change_key_file(path: Path, change: Callable[[KeyFile], KeyFile]) -> KeyFile:
    """Replace the key file at ``path``, in one step, by what ``change`` makes of it.

    Where ``path`` is a symbolic link, the file that it points at is replaced.

    Raises:
        ConfigurationError: the file is missing, not private or not valid, or it can't be written.
    """
    LocalKeyFile(path.absolute())
    target = path.resolve()
    with _lock(target.parent):
        file = change(KeyFile.parse(target.read_bytes()))
        with _write_beside(target, file) as fresh:
            fresh.replace(target)
    return file


def key_uri(path: Path) -> str:
    """Give the key URI of the key file at ``path``."""
    return "localfile://" + quote(str(path.absolute()))


def _change(file: KeyFile, rotate: bool, disable: Sequence[str], enable: Sequence[str]) -> KeyFile:
    if both := set(disable) & set(enable):
        raise ConfigurationError(f"--disable and --enable both name {sorted(both)[0]!r}: give one of them")
    for version in [*disable, *enable]:
        if version not in {*file.versions, ALL}:
            known = ", ".join([*file.versions, ALL])
            raise ConfigurationError(f"the key file has no version {version!r} (known: {known})")
    if rotate:
        file = file.rotated()
    return replace(file, disabled=file.disabled - {*enable} | {*disable})


def _describe_versions(file: KeyFile) -> Iterator[str]:
    for version in file.versions:
        notes = ["primary"] * (version == file.primary) + ["disabled"] * file.is_disabled(version)
        yield f"{version} ({', '.join(notes)})" if notes else version


@contextmanager
def _write_beside(path: Path, file: KeyFile) -> Iterator[Path]:
    """Write ``file`` to a temporary file beside ``path``, which the caller puts in place. Afterwards it is removed."""
    try:
        descriptor, name = mkstemp(dir=path.parent, prefix=".envelope-codec-")
        fresh = Path(name)
        try:
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - pathlib opens no descriptors
                stream.write(file.to_bytes())
                stream.flush()
                os.fsync(descriptor)
            yield fresh
            _sync_folder(path.parent)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"can't write {str(path)!r}: {error.strerror}") from None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other changes of key files in ``folder`` waiting.

    Two changes at once would lose a version, and with it everything that this version wrapped.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
