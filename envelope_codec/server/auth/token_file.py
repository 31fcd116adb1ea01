"""Files of static tokens, for machines: a name and a digest for each token, never the token itself."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import NamedTuple

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import show_value
from envelope_codec.observe import logger

PREFIX = "ect_"
"""Begins each token, so that it can be told from others, and be found where it has been left by mistake."""

_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,100}")
_LINE = re.compile(r"(?P<name>\S+) +sha256:(?P<digest>[0-9a-f]{64})(?: +until:(?P<until>\S+))?")
_UNTIL = "%Y-%m-%dT%H:%M:%SZ"
_LARGEST = 2**18  # bytes of a file
_MOST = 1_000  # tokens of a file; each is compared with what a caller sends


class TokensUnavailable(Exception):
    """A file can't be read, so that it is not known which tokens are valid."""


class StaticToken(NamedTuple):
    """A token, as a file has it.

    Attributes:
        name: of the machine that has it. Several tokens may have one name, as while one replaces another.
        digest: SHA-256 of the token. That is enough, and needs no salt and no stretching: a token is 32 random bytes,
            which nobody can try out.
        until: Unix seconds when it ends; None if it does not.
    """

    name: str
    digest: bytes
    until: float | None = None

    @classmethod
    def parse(cls, line: str) -> StaticToken:
        """Read a line of a file. Raises ValueError."""
        found = _LINE.fullmatch(line)
        if found is None or not _NAME.fullmatch(found["name"]):
            raise ValueError("give NAME, sha256:DIGEST and perhaps until:TIME, as `envelope-codec token` writes them")
        until = found["until"]
        moment = None if until is None else datetime.strptime(until, _UNTIL).replace(tzinfo=timezone.utc).timestamp()
        return cls(found["name"], bytes.fromhex(found["digest"]), moment)

    def __str__(self) -> str:
        until = "" if self.until is None else f" until:{datetime.fromtimestamp(self.until, timezone.utc):{_UNTIL}}"
        return f"{self.name} sha256:{self.digest.hex()}{until}"


def make_token(name: str, until: float | None = None) -> tuple[str, StaticToken]:
    """Make a token. Return it, and what a file has of it.

    Raises:
        ConfigurationError: ``name`` can't be one.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{show_value(name)} is no name of a token: give letters, digits, and . _ @ -")
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    return token, StaticToken(name, _digest(token), until)


class TokenFile:
    """A file of static tokens. It is read again once it has changed.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: it can't be read, or is wrong.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens, self._stamp = _read(path)
        self._said: object = None

    def tokens(self) -> Sequence[StaticToken]:
        """Return the tokens that the file has now.

        Raises:
            TokensUnavailable: it can't be read any more, or is wrong. Earlier tokens are not believed then: one of them
                may have been taken out.
        """
        try:
            found = os.stat(self._path)  # noqa: PTH116 - follows links
            if _stamp_of(found) != self._stamp:
                self._tokens, self._stamp = _read(self._path)
                logger.info("the token file %r has been read again: %d tokens", self._path, len(self._tokens))
        except (ConfigurationError, OSError) as error:
            self._complain(error)
            raise TokensUnavailable from None
        self._said = None
        return self._tokens

    def _complain(self, error: Exception) -> None:
        """Log what is wrong, once."""
        said = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
        if said != self._said:
            self._said = said
            logger.error("the token file %r can't be used, so that none of its tokens is: %s", self._path, said)


class TokenFiles:
    """All files of static tokens.

    Args:
        paths: of the files.
        now: Unix seconds.

    Raises:
        ConfigurationError: one can't be read, or is wrong.
    """

    def __init__(self, paths: Sequence[str], now: Callable[[], float] = time.time) -> None:
        self._files = [TokenFile(path) for path in paths]
        self._now = now

    def __bool__(self) -> bool:
        return bool(self._files)

    def find(self, token: str) -> StaticToken | None:
        """Return what the files have of ``token``, also if it has ended; None if they don't have it.

        Each is compared, in constant time, so that the time tells nothing of how near a made-up token is.

        Raises:
            TokensUnavailable: a file can't be read any more, and no other one has the token.
        """
        digest = _digest(token)
        found: StaticToken | None = None
        all_read = True
        for file in self._files:
            try:
                tokens = file.tokens()
            except TokensUnavailable:
                all_read = False
                continue
            for each in tokens:
                if hmac.compare_digest(each.digest, digest):
                    found = each
        if found is None and not all_read:
            raise TokensUnavailable
        return found

    def has_ended(self, token: StaticToken) -> bool:
        """Return whether the time of ``token`` is over."""
        return token.until is not None and self._now() >= token.until


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _read(path: str) -> tuple[list[StaticToken], tuple[int, ...]]:
    """Return the tokens of a file, and its stamp."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the stamp must be of what is read
            found = os.fstat(file.fileno())
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"server.token_files: can't read {path!r}: {error.strerror}") from None
    if found.st_mode & stat.S_IWOTH:
        raise ConfigurationError(f"server.token_files: everyone may write to {path!r}: chmod o-w it")
    return parse_tokens(data, path), _stamp_of(found)


def parse_tokens(data: bytes, path: str) -> list[StaticToken]:
    """Return the tokens in what the file at ``path`` has. Raises `ConfigurationError` if it is wrong."""
    if len(data) > _LARGEST:
        raise ConfigurationError(f"server.token_files: {path!r} is larger than {_LARGEST} bytes")
    tokens = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                tokens.append(StaticToken.parse(text))
            except ValueError:  # whose text may hold the line, which may be a token
                raise ConfigurationError(
                    f"server.token_files: line {number} of {path!r} is wrong: give NAME, sha256:DIGEST and perhaps "
                    "until:TIME, as `envelope-codec token` writes them"
                ) from None
    if len(tokens) > _MOST:
        raise ConfigurationError(f"server.token_files: {path!r} has more than {_MOST} tokens")
    return tokens


def _stamp_of(found: os.stat_result) -> tuple[int, ...]:
    # Not st_mode alone: whoever lets everyone write changes the time of the inode, too.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev
