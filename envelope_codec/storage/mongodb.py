"""Payloads in MongoDB."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from envelope_codec._frames import frameless
from envelope_codec.datastore.mongodb_connection import Duplicate, MongoConnection
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, PayloadMissing
from envelope_codec.store import LARGEST, Stored, check_size, is_id, too_large, try_out

_PART = 2 * 2**20  # a document has 16 MiB at most
_PAGE = 1_000


class MongoStore:
    """A `PayloadStore` in a collection: ``mongodb://USER:PASSWORD@HOST/DATABASE?collection=envelope_payloads``, or
    ``mongodb+srv://``.

    Everything in the URL but ``collection`` is PyMongo's. A payload that is too large for a document is kept in parts,
    ``ID``, ``ID.1`` and so on. The first part is written last, so that a payload is there only when it is whole.
    """

    @frameless
    def __init__(self, url: str) -> None:
        self._connection = MongoConnection(url, "storage", "envelope_payloads")
        self._payloads = self._connection.collection
        self._call = self._connection.call

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        now, count = int(time.time()), max(1, -(-len(data) // _PART))
        for number in range(count - 1, -1, -1):
            part: dict[str, Any] = {"_id": f"{id}.{number}" if number else id, "created": now}
            part["data"] = data[number * _PART : (number + 1) * _PART]
            if number == 0:
                part |= {"size": len(data), "parts": count}
            try:
                await self._call("put", self._payloads.insert_one(part))
            except Duplicate:
                continue  # an earlier attempt has come through, and only its answer was lost

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes.

        Up to 16 MiB too many may be read, the size of a document: older servers can't tell the size beforehand.
        """
        first = await self._read_part(id)
        parts, count = [_bytes_of(first, limit)], _count_parts(first)
        if count > max(1, limit):  # no part of several is empty
            raise too_large()
        left = limit - len(parts[0])
        for number in range(1, count):
            parts.append(_bytes_of(await self._read_part(f"{id}.{number}"), left))
            left -= len(parts[-1])
        return b"".join(parts)

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        await self._call("delete", self._payloads.delete_one({"_id": id}))
        parts = {"_id": {"$gte": f"{id}.", "$lt": f"{id}/"}}  # '/' is the character after '.'
        await self._call("delete", self._payloads.delete_many(parts))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds).

        Parts without a first one count as a payload: its writing was cut short.
        """
        cut_short = set[str]()
        cursor = self._payloads.find({"created": {"$lt": before}}, {"created": 1, "size": 1}, batch_size=_PAGE)
        try:
            while page := await self._call("list", cursor.to_list(_PAGE)):
                for found in page:
                    id, _, part = str(found["_id"]).partition(".")
                    if not is_id(id) or id in cut_short:
                        continue
                    if part:
                        if await self._call("list", self._payloads.find_one({"_id": id}, {"_id": 1})) is not None:
                            continue
                        cut_short.add(id)
                    yield Stored(id, float(found["created"]), int(found.get("size", 0)))
        finally:
            with suppress(EnvelopeError):
                await self._call("list", cursor.close())

    async def check(self) -> None:
        """Put, get and delete a document that is no payload. Raises if that is not possible."""
        await try_out(self)

    async def close(self) -> None:
        """Release the connections."""
        await self._connection.close()

    async def _read_part(self, id: str) -> dict[str, Any]:
        found = await self._call("get", self._payloads.find_one({"_id": id}))
        if found is None:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return found


def _bytes_of(part: dict[str, Any], limit: int) -> bytes:
    data = part.get("data")
    if not isinstance(data, bytes):
        raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
    return check_size(data, limit)


def _count_parts(first: dict[str, Any]) -> int:
    count = first.get("parts")
    return count if isinstance(count, int) else 1
