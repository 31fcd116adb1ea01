"""A trial: what these credentials may do in a keystore, and for which roles that is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.keystore_role import NEEDED, Operation, Role

Failure = StoreRefused | StoreUnavailable

WORDS: Mapping[Operation, str] = {
    Operation.read: "read a row",
    Operation.create: "put a new row",
    Operation.replace: "replace a row",
    Operation.list: "list all rows",
}
"""What people are told of each operation."""


class Tried(Protocol):
    """What is needed of a keystore."""

    async def attempt(self, operation: Operation) -> None: ...


class Trial:
    """What became of each operation.

    Attributes:
        failures: of those that were not possible.
    """

    def __init__(self, failures: Mapping[Operation, Failure]) -> None:
        self.failures = failures

    def lacking(self, role: Role) -> Failure | None:
        """Return the first failure of what ``role`` needs, or None if it can do all of it."""
        return next((self.failures[one] for one in NEEDED[role] if one in self.failures), None)


async def try_operations(keystore: Tried) -> Trial:
    """Try all operations, one after another. None of them changes a row.

    Raises:
        StoreUnavailable: not even reading got an answer.
    """
    failures: dict[Operation, Failure] = {}
    for operation in Operation:
        try:
            await keystore.attempt(operation)
        except (StoreRefused, StoreUnavailable) as error:
            if operation is Operation.read and isinstance(error, StoreUnavailable):
                raise
            failures[operation] = error
    return Trial(failures)


def configured_role(config: EnvelopeConfig) -> Role:
    """Return the role of a process with this configuration. In direct mode nothing is published."""
    if not config.sealing or config.wrapping == "direct":
        return Role.open
    return Role.share if config.share_wrapping_keys and config.verify_wraps else Role.seal
