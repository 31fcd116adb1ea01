"""What a process does with a keystore, what it has to be permitted there, and whether it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import BLIND, KEY_LENGTH, NO_REVISION, PROBE, Keystore, RowConflict


class Operation(Enum):
    """What may be permitted. There is no deleting."""

    read = "read"
    create = "create"
    replace = "replace"
    list = "list"


class Role(str, Enum):
    """What a process does with a keystore.

    - ``open``: it only opens, as the codec server and workers with ``sealing = false`` do.
    - ``seal``: it publishes records of new wrapping keys, and opens.
    - ``share``: it seals with shared wrapping keys, and so changes which one is shared now.
    - ``export``: it reads all rows, as ``keystore export`` and ``doctor`` do.
    - ``rewrap``: it changes rows, as ``rewrap``, ``audit --import`` and ``keystore import`` do.
    """

    open = "open"
    seal = "seal"
    share = "share"
    export = "export"
    rewrap = "rewrap"


NEEDED: Mapping[Role, tuple[Operation, ...]] = MappingProxyType(
    {
        Role.open: (Operation.read,),
        Role.seal: (Operation.read, Operation.create),
        Role.share: (Operation.read, Operation.create, Operation.replace),
        Role.export: (Operation.read, Operation.list),
        Role.rewrap: tuple(Operation),
    }
)
"""What each role has to be permitted. `Role.seal` needs `Operation.replace` too where rows may be there already."""


@runtime_checkable
class TryableKeystore(Protocol):
    """A keystore that can be tried out, and that knows how permissions are given. All of this project's are such."""

    async def try_create(self) -> None:
        """Raise what `Keystore.put` would raise where nothing is there. Leave nothing."""
        ...

    async def try_replace(self) -> None:
        """Raise what `Keystore.put` would raise in the place of a row. Leave nothing."""
        ...

    def grants(self, role: Role) -> str:
        """Return the statements, or the policy, that give ``role`` what it needs, and nothing more."""
        ...


async def attempt(keystore: Keystore, operation: Operation) -> None:
    """Raise what ``operation`` would raise. Leave nothing, if the keystore can be tried out so.

    Raises:
        StoreUnavailable, StoreRefused: as the keystore raised it.
    """
    if operation is Operation.read:
        await keystore.get(os.urandom(KEY_LENGTH))
    elif operation is Operation.list:
        async for _ in keystore.rows():
            break
    elif operation is Operation.create:
        await (keystore.try_create() if isinstance(keystore, TryableKeystore) else keystore.check())
    else:
        await (keystore.try_replace() if isinstance(keystore, TryableKeystore) else replace_nothing(keystore))


async def replace_nothing(keystore: Keystore) -> None:
    """Replace what is not there: one way to do what `TryableKeystore.try_replace` promises.

    It serves where the datastore asks for the permission before it looks for the row.

    Raises:
        StoreRefused: the datastore does not compare revisions.
    """
    with suppress(RowConflict):
        await keystore.put(PROBE, b"", NO_REVISION)
        raise StoreRefused(BLIND, operation="put")
