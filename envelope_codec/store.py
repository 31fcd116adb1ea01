"""The protocol of a datastore, and the lookup of stores by the scheme of a URL.

A store keeps bytes under random ids. It is found by the URL's scheme, up to a ``+``, in the entry-point group
``envelope_codec.stores``, whose entries load to callables from a URL to a `PayloadStore`. Building one asks no network.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlencode

from envelope_codec._frames import frameless
from envelope_codec.datastore.lookup import Lookup, scheme_of
from envelope_codec.errors import ConfigurationError, InvalidCiphertext, StoreRefused

ENTRY_POINT_GROUP = "envelope_codec.stores"

_EXTRAS = {
    "azblob": "storage-azblob",
    "gs": "storage-gcs",
    "s3": "storage-s3",
    "postgresql": "storage-sql",
    "sqlite": "storage-sql",
    "mysql": "storage-sql",
    "mariadb": "storage-sql",
    "redis": "storage-redis",
    "rediss": "storage-redis",
    "mongodb": "storage-mongodb",
}
LARGEST = 2**31 - 1
"""Bytes that a payload has at most: no protobuf message is larger."""

MOST_UNKNOWN = 2**29
"""Bytes that are read at most of what nothing sealed tells the size of."""

_LOOKUP = Lookup(ENTRY_POINT_GROUP, "storage", "store", _EXTRAS)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Say whether ``text`` is an id of a payload. A store may hold other things too, which are not to be touched."""
    return _ID.fullmatch(text) is not None


class Stored(NamedTuple):
    """What a store tells of one payload that it keeps.

    Attributes:
        id: the id under which it was put.
        created: Unix seconds at which it was put, by the clock of the store or of whoever put it.
        size: in bytes.
    """

    id: str
    created: float
    size: int


class TooLarge(InvalidCiphertext):
    """The datastore has more bytes under an id than were put there. It is asked for no more of them."""


@runtime_checkable
class PayloadStore(Protocol):
    """A store of bytes under ids. It is used from one event loop. Ids are 32 lowercase hex digits.

    Each call raises one of three errors for what goes wrong in the store: `StoreUnavailable` (no answer; the caller
    retries), `StoreRefused` (an answer that no retry will change: permission, a missing table or bucket), or
    `PayloadMissing`. It raises them ``from None``: texts of client libraries hold addresses and credentials, and errors
    travel into workflow history.

    No call retries or keeps time. The caller does that, and cancels a call that takes too long; the store must stay
    usable then.

    A store may also have these methods:

    - ``get_within(id, limit)`` does as `get`, and raises `TooLarge` if there are more than ``limit`` bytes. It reads
      few more than these: whoever can write to the datastore may have put anything in a payload's place. Without it,
      or in a subclass that defines `get` alone, all is read, and the size is checked afterwards. Call the function
      `get_within`, which serves both.
    - ``get_plain(claim, limit)`` does so for what another driver stored there and claimed in clear.
    """

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``, durably when this returns. The same id with the same data again is no error."""
        ...

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if there is nothing."""
        ...

    async def delete(self, id: str) -> None:
        """Keep no longer what is under ``id``. It is no error if there is nothing."""
        ...

    def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds), in any order, a page at a time.

        Nothing else that may lie beside the payloads is among them.
        """
        ...

    async def check(self) -> None:
        """Raise an error if the store can't be used as it is configured.

        Such as: wrong address, missing table or bucket, no permission to write.
        """
        ...

    async def close(self) -> None:
        """Release connections. May be called twice."""
        ...


async def get_within(store: PayloadStore, id: str, limit: int) -> bytes:
    """Return what ``store`` keeps under ``id``, if that is ``limit`` bytes at most.

    Raises:
        TooLarge: there are more.
        EnvelopeError: as `PayloadStore.get`.
    """
    bounded = getattr(store, "get_within", None)
    if bounded is None or _replaces_get(type(store)):
        return check_size(await store.get(id), limit)
    data: bytes = await bounded(id, limit)
    return check_size(data, limit)


def _replaces_get(kind: type) -> bool:
    """Return whether a store has a `get` of its own beside an inherited ``get_within``, which knows nothing of it.

    So it is if someone's store wraps one that is here, and undoes in `get` what it did in `put`.
    """
    for one in kind.__mro__:
        if "get_within" in vars(one):
            return False
        if "get" in vars(one):
            return True
    return False


async def get_listed(store: PayloadStore, stored: Stored) -> bytes:
    """Return a payload that `PayloadStore.list_before` has named, if it is as large as it said, and not too large.

    Raises:
        TooLarge: there are more bytes, or more than 512 MiB, which no payload is expected to have.
        EnvelopeError: as `PayloadStore.get`.
    """
    return await get_within(store, stored.id, min(stored.size, MOST_UNKNOWN))


def check_size(data: bytes, limit: int) -> bytes:
    """Return ``data``. Raise `TooLarge` if it has more than ``limit`` bytes."""
    if len(data) > limit:
        raise too_large()
    return data


def too_large() -> TooLarge:
    """Make the error of a datastore that has more bytes under an id than it may return."""
    return TooLarge("the datastore returned other bytes than were stored: there are more", operation="get")


async def try_out(store: PayloadStore) -> None:
    """Put, get and delete something that is no payload: one way to do what `PayloadStore.check` promises."""
    await store.put("check", b"")
    await get_within(store, "check", LARGEST)
    with suppress(StoreRefused):  # who stores need not be allowed to delete
        await store.delete("check")


class StoreProvider(Protocol):
    """What an entry point in the group ``envelope_codec.stores`` loads to. Its name is the URL's scheme."""

    def __call__(self, url: str, /) -> PayloadStore: ...


class StoreUrl(NamedTuple):
    """A store's URL as the configuration gives it.

    Attributes:
        name: what Temporal sees of the store: the option ``name``, or ``envelope-`` and the scheme.
        url: the URL without that option, for the provider.
    """

    name: str
    url: str

    def __repr__(self) -> str:
        return f"StoreUrl({self.name!r})"  # the URL may hold a password

    @property
    def scheme(self) -> str:
        """The URL's scheme up to a ``+``, which names the sort of store."""
        return scheme_of(self.url)

    @frameless
    def open(self) -> PayloadStore:
        """Make the store. Asks no network.

        Raises:
            ConfigurationError: the scheme is unknown, an extra is missing, or the URL is malformed. The text shows no
                credentials.
        """
        store: PayloadStore = _LOOKUP.open(self.url)
        return store


@frameless
def parse_store_url(url: str) -> StoreUrl:
    """Take a store's URL apart.

    Raises:
        ConfigurationError: it is no such URL. The text does not repeat it, for it may hold a password.
    """
    options = _LOOKUP.options(url)
    names = [value for option, value in options if option == "name"]
    name = names[0] if names else f"envelope-{scheme_of(url)}"
    if len(names) > 1 or not _NAME.fullmatch(name):
        raise ConfigurationError("storage: the option name is letters, digits, '.', '_' and '-', 64 at most, once")
    if names:
        query = urlencode([(option, value) for option, value in options if option != "name"])
        # Not by urlunsplit, which drops slashes of a URL without a host.
        before, _, fragment = url.partition("#")
        url = before.partition("?")[0] + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")
    return StoreUrl(name, url)
