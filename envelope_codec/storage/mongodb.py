"""Payloads in MongoDB."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bson.errors import BSONError
from pymongo import AsyncMongoClient, ReadPreference
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
    WriteConcernError,
)

from envelope_codec._frames import frameless
from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    InvalidCiphertext,
    PayloadMissing,
    StoreRefused,
    StoreUnavailable,
)
from envelope_codec.storage.background_loop import BackgroundLoop
from envelope_codec.store import Stored, in_our_words, is_id, try_out

_T = TypeVar("_T")
_log = logging.getLogger("envelope_codec.storage.mongodb")

_PART = 2 * 2**20  # a document has 16 MiB at most
# https://www.mongodb.com/docs/manual/reference/error-codes/: those codes of the server that may pass
_PASSING = {6, 7, 50, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
_REFUSED = "the server refused, and its log may say why"
_LOGIN = "the server refused the login: wrong user or password, or another authSource"
_PERMISSION = "permission on the collection is missing"
_NAME = "the server does not take the name of the database or the collection"
_FULL = "the server is full: its disk or its quota"
_REASONS = {
    **dict.fromkeys((11, 18, 8000, 334), _LOGIN),
    **dict.fromkeys((13, 31, 33, 8), _PERMISSION),
    **dict.fromkeys((26, 73, 72, 48), _NAME),
    **dict.fromkeys((14031, 12501, 8001), _FULL),
    121: "the collection has a rule that refuses payloads",
    352: "the server does not know what was asked for: it is too old, or not MongoDB",
    59: "the server does not know what was asked for: it is too old, or not MongoDB",
}
_PAGE = 1_000
# Calls that are given up go on, and have to end some time. A caller waits for 10 s, and longer for large payloads.
_SETTINGS = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 15_000,
    "waitQueueTimeoutMS": 10_000,
    "maxPoolSize": 32,
}


class MongoStore:
    """A `PayloadStore` in a collection: ``mongodb://USER:PASSWORD@HOST/DATABASE?collection=envelope_payloads``, or
    ``mongodb+srv://``.

    Everything in the URL but ``collection`` is PyMongo's. A payload that is too large for a document is kept in parts,
    ``ID``, ``ID.1`` and so on. The first part is written last, so that a payload is there only when it is whole.

    PyMongo must not be cancelled: before Python 3.12 a call that is cancelled while it waits for a server can keep a
    lock of the client for ever, and no later call ends. So PyMongo runs in an event loop of its own.
    """

    @frameless
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        collection = options.pop("collection", "envelope_payloads")
        url = urlunsplit(parts._replace(query=urlencode(options)))
        self._loop = BackgroundLoop()
        given = {option.lower() for option in options}  # PyMongo takes its options in any case
        try:
            ours = {name: value for name, value in _SETTINGS.items() if name.lower() not in given}
            with in_our_words("PyMongo"):
                self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, **cast(Any, ours))
            database = self._client.get_default_database("envelope")
            # A secondary may lag behind. A payload that it has not got yet would count as missing.
            self._payloads = database.get_collection(collection, read_preference=ReadPreference.PRIMARY)
        except (InvalidURI, MongoConfigurationError, ValueError, TypeError, PyMongoError):
            raise ConfigurationError(
                "storage: PyMongo can't read the URL, or the names of database or collection"
            ) from None

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
            except _Duplicate:
                continue  # an earlier attempt has come through, and only its answer was lost

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        first = await self._read_part(id)
        others = [await self._read_part(f"{id}.{number}") for number in range(1, _count_parts(first))]
        parts = [part.get("data") for part in (first, *others)]
        if not all(isinstance(part, bytes) for part in parts):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        return b"".join(cast("list[bytes]", parts))

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
        try:
            with suppress(StoreUnavailable):  # it is closed already, or its server is gone
                await self._call("close", self._client.close())
        finally:
            self._loop.close()

    async def _read_part(self, id: str) -> dict[str, Any]:
        found = await self._call("get", self._payloads.find_one({"_id": id}))
        if found is None:
            raise PayloadMissing("the datastore has no such payload", operation="get")
        return found

    async def _call(self, operation: str, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await self._loop.run(work)
        except DuplicateKeyError:
            raise _Duplicate from None
        except (PyMongoError, BSONError, OSError, asyncio.TimeoutError) as error:
            raise _translate(error, operation) from None


class _Duplicate(Exception):
    """The id is there already."""


def _count_parts(first: dict[str, Any]) -> int:
    count = first.get("parts")
    return count if isinstance(count, int) else 1


def _translate(error: Exception, operation: str) -> EnvelopeError:
    _log.debug("MongoDB %s failed: %s %s", operation, type(error).__name__, getattr(error, "code", None) or "")
    passing = isinstance(error, WriteConcernError) or getattr(error, "code", None) in _PASSING
    if isinstance(error, OperationFailure) and not passing:
        return StoreRefused(_REASONS.get(error.code or 0, _REFUSED), operation=operation)
    if isinstance(error, (DocumentTooLarge, InvalidOperation, BSONError)):
        return StoreRefused(_REFUSED, operation=operation)
    return StoreUnavailable("the server did not answer", operation=operation)
