"""A keystore in MongoDB."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from pymongo import WriteConcern

from envelope_codec._frames import frameless
from envelope_codec.datastore.mongodb_connection import Duplicate, MongoConnection
from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import Kept, conflict, key_of_digits, try_out

_PAGE = 200
_AFTER_DIGITS = "g"  # greater than any key in hex


class MongoKeystore:
    """A `Keystore` in a collection: ``mongodb://USER:PASSWORD@HOST/DATABASE?collection=envelope_keystore``, or
    ``mongodb+srv://``.

    Everything in the URL but ``collection`` is PyMongo's. A document is a row, whose ``_id`` is its key in hex. Writes
    wait for the majority of a replica set, and the primary alone is read.
    """

    @frameless
    def __init__(self, url: str) -> None:
        self._connection = MongoConnection(url, "keystore", "envelope_keystore")
        majority = WriteConcern("majority", j=True)
        self._rows = self._connection.collection.with_options(write_concern=majority)

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        found = await self._connection.call("get", self._rows.find_one({"_id": key.hex()}))
        kept = None if found is None else _kept(key, found)
        if found is not None and kept is None:
            raise StoreRefused("what is there under the id is of another kind", operation="get")
        return kept

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        fresh = os.urandom(16).hex()
        values = {"data": data, "revision": fresh}
        if revision is None:
            try:
                await self._connection.call("put", self._rows.insert_one({"_id": key.hex(), **values}))
            except Duplicate:
                raise conflict() from None
            return fresh
        expected = {"_id": key.hex(), "revision": revision}
        if (await self._connection.call("put", self._rows.update_one(expected, {"$set": values}))).matched_count != 1:
            raise conflict()
        return fresh

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        last = after.hex()
        while True:
            page = self._rows.find({"_id": {"$gt": last, "$lt": _AFTER_DIGITS}}).sort("_id", 1).limit(_PAGE)
            found = await self._connection.call("list", page.to_list(_PAGE))
            for document in found:
                key = key_of_digits(document["_id"])
                kept = None if key is None else _kept(key, document)
                if kept is not None:
                    yield kept
            if len(found) < _PAGE:
                return
            last = found[-1]["_id"]

    async def check(self) -> None:
        """Put a document that is no row. Raises if that is not possible."""
        await try_out(self)

    async def close(self) -> None:
        """Release the connections."""
        await self._connection.close()


def _kept(key: bytes, document: dict[str, Any]) -> Kept | None:
    data, revision = document.get("data"), document.get("revision")
    if not isinstance(data, bytes) or not isinstance(revision, str):
        return None
    return Kept(key, data, revision)
