"""The end of an audit that could not go on."""

from __future__ import annotations

from temporalio.service import RPCError
from typing_extensions import Self

_LONGEST_REASON = 200


class Stopped(Exception):
    """The audit could not go on. The text says at what, and why."""

    @classmethod
    def at(cls, what: str, error: RPCError) -> Self:
        """Make the error for something that the server did not give."""
        return cls(f"{what} can't be read: {reason_of(error)}")


def reason_of(error: RPCError) -> str:
    """Say what the server answered, in one short line."""
    return f"{error.status.name}: {error.message[:_LONGEST_REASON]}"
