"""A keystore in MongoDB."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import WriteError

from envelope_codec._frames import frameless
from envelope_codec.datastore.mongodb_connection import Duplicate, MongoConnection
from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import MOST_READ, PROBE, Kept, conflict, key_of_digits
from envelope_codec.keystore_role import Role, replace_nothing

_PAGE = 200
_LONGEST_REVISION = 64  # characters: a revision has 32
_ACTIONS = {
    Role.open: ["find"],
    Role.seal: ["find", "insert"],
    Role.share: ["find", "insert", "update"],
    Role.export: ["find"],
    Role.rewrap: ["find", "insert", "update"],
}
_NO_ID = (2, 53)  # codes of MongoDB: an array is no id
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
            found = await self._connection.call("list", _read_page(page))
            for _, kept in found:
                if kept is not None:
                    yield kept
            if len(found) < _PAGE:
                return
            last = found[-1][0]

    async def check(self) -> None:
        """Read, and put what can't be put. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Put a document whose id MongoDB takes from nobody: it asks for the permission first.

        A server that takes it keeps that one document, which is no row.
        """
        with suppress(Duplicate):
            await self._connection.call("put", self._put_what_is_refused())

    async def try_replace(self) -> None:
        """Replace what is not there."""
        await replace_nothing(self)

    def grants(self, role: Role) -> str:
        """Return the command that makes a role which has what ``role`` needs."""
        resource = {"db": self._rows.database.name, "collection": self._rows.name}
        privileges = [{"resource": resource, "actions": _ACTIONS[role]}]
        return f"db.createRole({json.dumps({'role': f'envelope_{role.value}', 'privileges': privileges, 'roles': []})})"

    async def close(self) -> None:
        """Release the connections."""
        await self._connection.close()

    async def _put_what_is_refused(self) -> None:
        try:
            await self._rows.insert_one({"_id": [], "data": b"", "revision": ""})
        except WriteError as error:
            if error.code not in _NO_ID:
                raise


async def _read_page(page: Any) -> list[tuple[str, Kept | None]]:
    """Read ids and rows. No document is held as a whole: any of them may have 16 MiB."""
    found = []
    async for document in page:
        key = key_of_digits(document["_id"])
        found.append((document["_id"], None if key is None else _kept(key, document)))
    return found


def _kept(key: bytes, document: dict[str, Any]) -> Kept | None:
    data, revision = document.get("data"), document.get("revision")
    if not isinstance(data, bytes) or not isinstance(revision, str) or len(revision) > _LONGEST_REVISION:
        return None
    return Kept(key, data[:MOST_READ], revision)
