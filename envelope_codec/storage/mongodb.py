"""Payloads in MongoDB."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bson import Binary
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConfigurationError as MongoConfigurationError,
)
from pymongo.errors import (
    DocumentTooLarge,
    DuplicateKeyError,
    InvalidOperation,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.storage.store import Stored

_T = TypeVar("_T")
_log = logging.getLogger("envelope_codec.storage.mongodb")

_PART = 8 * 2**20  # a document has 16 MiB at most
# https://www.mongodb.com/docs/manual/reference/error-codes/: what may pass, among what the server itself says
_PASSING = {6, 7, 50, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}


class MongoStore:
    """A `PayloadStore` in a collection: ``mongodb://USER:PASSWORD@HOST/DATABASE?collection=envelope_payloads``, or
    ``mongodb+srv://``.

    Everything in the URL but ``collection`` is PyMongo's. Large payloads are kept in parts.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        collection = options.pop("collection", "envelope_payloads")
        url = urlunsplit(parts._replace(query=urlencode(options)))
        settings: dict[str, Any] = {
            "serverSelectionTimeoutMS": 5_000,
            "connectTimeoutMS": 5_000,
            "socketTimeoutMS": 20_000,
        }
        # How PyMongo spells its options does not matter to it.
        given = {option.lower() for option in options}
        try:
            self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
                url, **cast(Any, {name: value for name, value in settings.items() if name.lower() not in given})
            )
            self._payloads = self._client.get_default_database("envelope")[collection]
        except (InvalidURI, MongoConfigurationError, ValueError, TypeError, PyMongoError):
            raise ConfigurationError(
                "storage: PyMongo can't read the URL, or the names of database or collection"
            ) from None

    async def put(self, id: str, data: bytes) -> None:
        """See `PayloadStore.put`."""
        count = max(1, -(-len(data) // _PART))
        for number in range(count - 1, -1, -1):  # the first part last: it is what makes a payload be there
            part: dict[str, Any] = {"data": Binary(data[number * _PART : (number + 1) * _PART])}
            if number == 0:
                part |= {"_id": id, "created": int(time.time()), "size": len(data), "parts": count}
            else:
                part |= {"_id": f"{id}.{number}"}
            try:
                await self._do("put", self._payloads.insert_one(part))
            except _Duplicate:
                continue  # an earlier attempt has come through, and its answer has not

    async def get(self, id: str) -> bytes:
        """See `PayloadStore.get`."""
        parts = [await self._part(id)]
        for number in range(1, parts[0].get("parts", 1)):
            parts.append(await self._part(f"{id}.{number}"))
        return b"".join(bytes(part["data"]) for part in parts)

    async def delete(self, id: str) -> None:
        """See `PayloadStore.delete`."""
        first = await self._do("delete", self._payloads.find_one({"_id": id}, {"parts": 1}))
        ids = [id, *(f"{id}.{number}" for number in range(1, (first or {}).get("parts", 1)))]
        for one in reversed(ids):
            await self._do("delete", self._payloads.delete_one({"_id": one}))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """See `PayloadStore.list_before`."""
        cursor = self._payloads.find({"created": {"$lt": before}}, {"created": 1, "size": 1})
        try:
            async for found in cursor:
                yield Stored(found["_id"], float(found["created"]), found["size"])
        except PyMongoError as error:
            raise _failure(error, "list") from None

    async def check(self) -> None:
        """See `PayloadStore.check`."""
        await self.put("check", b"")
        await self.delete("check")

    async def close(self) -> None:
        """See `PayloadStore.close`."""
        await self._client.close()

    async def _part(self, id: str) -> dict[str, Any]:
        found = await self._do("get", self._payloads.find_one({"_id": id}))
        if found is None:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return found

    async def _do(self, operation: str, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except DuplicateKeyError:
            raise _Duplicate from None
        except (PyMongoError, BSONError, OSError) as error:
            raise _failure(error, operation) from None


class _Duplicate(Exception):
    """The id is there already."""


def _failure(error: Exception, operation: str) -> EnvelopeError:
    _log.debug("MongoDB %s failed: %s", operation, type(error).__name__)
    refused = isinstance(error, OperationFailure) and error.code not in _PASSING
    if refused or isinstance(error, (DocumentTooLarge, InvalidOperation, BSONError)):
        return StoreRefused("the server refused: no permission, read-only, or full", operation=operation)
    return StoreUnavailable("the server did not answer", operation=operation)
