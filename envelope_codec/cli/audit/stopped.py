"""The end of an audit that could not go on."""

from __future__ import annotations

from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import Self

_LONGEST_REASON = 200
_FINAL = frozenset(
    (
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    )
)


class Stopped(Exception):
    """The audit could not go on. The text says at what, and why.

    Args:
        text: the text.
        final: whether another attempt would end in the same way.
    """

    def __init__(self, text: str, *, final: bool = True) -> None:
        super().__init__(text)
        self.final = final

    @classmethod
    def at(cls, what: str, error: RPCError) -> Self:
        """Make the error for something that the server did not give."""
        return cls(f"{what} can't be read: {reason_of(error)}", final=is_final(error))


def reason_of(error: RPCError) -> str:
    """Say what the server answered, in one short line."""
    return f"{error.status.name}: {error.message[:_LONGEST_REASON]}"


def is_final(error: RPCError) -> bool:
    """Whether the server would answer the same again."""
    return error.status in _FINAL
