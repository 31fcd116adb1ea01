"""The protocol of a keystore, and the lookup of keystores by the scheme of a URL.

A keystore keeps wrapped keys, so that a master key can be retired that histories still need. It keeps bytes under keys
of 32 bytes, each with a revision, and knows nothing of what the bytes mean (`envelope_codec.keystore_row` does). It is
found by the URL's scheme, up to a ``+``, in the entry-point group ``envelope_codec.keystores``, whose entries load to
callables from a URL to a `Keystore`. Building one asks no network.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

from envelope_codec._frames import frameless
from envelope_codec.datastore.lookup import Lookup, scheme_of
from envelope_codec.errors import StoreRefused

ENTRY_POINT_GROUP = "envelope_codec.keystores"
KEY_LENGTH = 32

MOST_READ = 65_536 + 1
"""Bytes of a row that are read at most: what is longer is none, and whoever can write there may have left anything."""

_EXTRAS = {
    "dynamodb": "keystore-dynamodb",
    "s3": "storage-s3",
    "postgresql": "storage-sql",
    "sqlite": "storage-sql",
    "mysql": "storage-sql",
    "mariadb": "storage-sql",
    "redis": "storage-redis",
    "rediss": "storage-redis",
    "mongodb": "storage-mongodb",
}
_LOOKUP = Lookup(ENTRY_POINT_GROUP, "keystore", "keystore", _EXTRAS)
_DIGITS = re.compile(f"[0-9a-f]{{{2 * KEY_LENGTH}}}")
PROBE = b"check"
"""What is tried out is kept under this: it is the key of no row."""

NO_REVISION = f'"{"0" * 32}"'
"""What no row has as its revision, and what has the form of one in every keystore: it must be the server that refuses.

S3 takes a revision for no ETag, and is not asked at all, where it has no quotes.
"""

BLIND = "the datastore writes without comparing revisions: rows would be lost"
"""Reason of a refusal: nobody must use such a datastore."""


class RowConflict(StoreRefused):
    """The row has not got the revision that a `Keystore.put` named: read it again. Nothing was changed.

    It is a refusal to whoever does not handle it: the same call never succeeds.
    """


class Kept(NamedTuple):
    """One row of a keystore.

    Attributes:
        key: 32 bytes.
        data: the row's bytes.
        revision: of these bytes; opaque. It is never given to other bytes under the same key.
    """

    key: bytes
    data: bytes
    revision: str


@runtime_checkable
class Keystore(Protocol):
    """A keystore. It is used from one event loop. There is no way to delete a row, and its role needs none.

    Each call raises one of two errors for what goes wrong in the datastore: `StoreUnavailable` (no answer; the caller
    retries) or `StoreRefused` (an answer that no retry will change: permission, a missing table or bucket). It raises
    them ``from None``: texts of client libraries hold addresses and credentials, and errors travel into workflow
    history.

    No call retries or keeps time. The caller does that, and cancels a call that takes too long; the keystore must stay
    usable then. A `put` that ended with `StoreUnavailable`, or that was cancelled, may have come through all the same.
    """

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, as the last `put` that returned left it, or later. None: nothing is."""
        ...

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key``, durably when this returns, and return the new revision.

        Args:
            key: of the row.
            data: 64 KiB at most.
            revision: what is there must have this one. None: nothing may be there.

        Raises:
            RowConflict: it is not so. Of all who name one revision, one alone succeeds.
        """
        ...

    def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``, in ascending order, a page at a time.

        A row that is there from beginning to end is among them. Nothing else that lies beside the rows is.
        """
        ...

    async def check(self) -> None:
        """Raise an error if a process that seals can't use the keystore as it is configured.

        Such as: wrong address, missing table or bucket, no permission to read a row or to put a new one. What it leaves
        there, if anything, is no row.
        """
        ...

    async def close(self) -> None:
        """Release connections. May be called twice."""
        ...


def conflict() -> RowConflict:
    """Make the error of a `Keystore.put` that named another revision than is there."""
    return RowConflict("the keystore's row is of another revision", operation="put")


def key_of_digits(digits: object) -> bytes | None:
    """Return the key that these 64 lowercase hex digits are, or None if they are none."""
    if not isinstance(digits, str) or _DIGITS.fullmatch(digits) is None:
        return None
    return bytes.fromhex(digits)


async def try_out(keystore: Keystore) -> None:
    """Put something that is no row: one way to do what `Keystore.check` promises.

    Some servers that speak a part of S3 ignore conditions. They would lose rows.

    Raises:
        StoreRefused: the datastore does not compare revisions.
    """
    kept = await keystore.get(PROBE)
    with suppress(RowConflict):  # somebody else is trying it out as well
        await keystore.put(PROBE, b"", kept.revision if kept else None)
    for wrong in (None, NO_REVISION):
        try:
            await keystore.put(PROBE, b"", wrong)
        except RowConflict:
            continue
        raise StoreRefused(BLIND)


class KeystoreProvider(Protocol):
    """What an entry point in the group ``envelope_codec.keystores`` loads to. Its name is the URL's scheme."""

    def __call__(self, url: str, /) -> Keystore: ...


class KeystoreUrl(NamedTuple):
    """A keystore's URL as the configuration gives it. `parse_keystore_url` checks its form."""

    url: str

    def __repr__(self) -> str:
        return f"KeystoreUrl({self.scheme}://…)"  # the URL may hold a password

    @property
    def scheme(self) -> str:
        """The URL's scheme up to a ``+``, which names the sort of keystore."""
        return scheme_of(self.url)

    @frameless
    def open(self) -> Keystore:
        """Make the keystore. Asks no network.

        Raises:
            ConfigurationError: the scheme is unknown, an extra is missing, or the URL is malformed. The text shows no
                credentials.
        """
        keystore: Keystore = _LOOKUP.open(self.url)
        return keystore


@frameless
def parse_keystore_url(url: str) -> KeystoreUrl:
    """Check the form of a keystore's URL.

    Raises:
        ConfigurationError: it is no such URL. The text does not repeat it, for it may hold a password.
    """
    _LOOKUP.options(url)
    return KeystoreUrl(url)
