"""Errors that a failure converter has trouble with: one of each kind, with a secret in it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from temporalio.exceptions import ApplicationError


class Speechless(Exception):
    """Its text raises, and so does its representation."""

    def __str__(self) -> str:
        raise RuntimeError(f"{self.args[0]} can't be told")

    __repr__ = __str__


class Ends(BaseException):
    """Its text raises a `BaseException`."""

    def __str__(self) -> str:
        raise Ends(*self.args)


class NoCause(Exception):
    """Its cause raises."""

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError(self.args[0])


class Uncategorized(ApplicationError):
    """Its category raises."""

    @property
    def category(self) -> Any:
        raise RuntimeError(f"{self.message} has none")


class Classless(Exception):
    """Its class raises."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError(f"{self.args[0]} has none")


def cyclic(secret: str) -> BaseException:
    """Make an error whose causes come back to it."""
    one, other = ApplicationError(f"one {secret}"), ValueError(f"other {secret}")
    one.__cause__, other.__cause__ = other, one
    return one


def deep(secret: str, levels: int) -> BaseException:
    """Make an error with ``levels`` causes."""
    error: BaseException = ValueError(secret)
    for _ in range(levels):
        outer = ValueError(secret)
        outer.__cause__ = error
        error = outer
    return error


def grouped(secret: str) -> BaseException:
    """Make a group, where Python has groups."""
    try:
        return eval("ExceptionGroup")(secret, [ValueError(secret), KeyError(secret)])  # type: ignore[no-any-return]
    except NameError:
        return ValueError(secret)


UNRULY: dict[str, Callable[[str], BaseException]] = {
    "details that are not serializable": lambda secret: ApplicationError(
        f"{secret} has too little", Decimal("12.50"), type="Declined", non_retryable=True
    ),
    "text that raises": Speechless,
    "text that raises a BaseException": Ends,
    "cause that raises": NoCause,
    "cyclic causes": cyclic,
    "more causes than protobuf reads": lambda secret: deep(secret, 120),
    "more causes than Python recurses": lambda secret: deep(secret, 3_000),
    "lone surrogate": lambda secret: ApplicationError(f"{secret} \ud800", type="Surrogate"),
    "lone surrogate in the type": lambda secret: ApplicationError(secret, type="Declined \ud800"),
    "type that is no text": lambda secret: ApplicationError(secret, type=7),  # type: ignore[arg-type]
    "message that is no text": lambda secret: ApplicationError(Decimal(7)),  # type: ignore[arg-type]
    "BaseException": BaseException,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "group": grouped,
    "huge message": lambda secret: ApplicationError(secret + "x" * 3_000_000),
    "delay that is no delay": lambda secret: ApplicationError(
        secret,
        next_retry_delay="soon",  # type: ignore[arg-type]
    ),
    "category that raises": Uncategorized,
    "class that raises": Classless,
}
"""Makes an error with a secret in it, of each kind."""
