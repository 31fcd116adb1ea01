"""A connection to a collection of MongoDB, made from the URL of a store or a keystore."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bson.errors import BSONError
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import DuplicateKeyError, InvalidURI, PyMongoError

from envelope_codec._frames import frameless
from envelope_codec.datastore.background_loop import BackgroundLoop
from envelope_codec.datastore.client_warnings import in_our_words
from envelope_codec.datastore.mongodb_error import translate
from envelope_codec.errors import ConfigurationError, StoreUnavailable

_T = TypeVar("_T")

# Calls that are given up go on, and have to end some time. A caller waits for 10 s, and longer for large payloads.
_SETTINGS = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 15_000,
    "waitQueueTimeoutMS": 10_000,
    "maxPoolSize": 32,
}


class Duplicate(Exception):
    """The id is there already."""


class MongoConnection:
    """A client of PyMongo, and one collection. No network is asked when it is made.

    PyMongo must not be cancelled: before Python 3.12 a call that is cancelled while it waits for a server can keep a
    lock of the client for ever, and no later call ends. So PyMongo runs in an event loop of its own.

    Args:
        url: everything in it but ``collection`` is PyMongo's.
        setting: that the URL was given in, for texts of errors.
        collection: its name, where the URL gives none.

    Attributes:
        collection: of PyMongo. A secondary may lag behind, so that the primary alone is read.

    Raises:
        ConfigurationError: PyMongo can't read the URL.
    """

    @frameless
    def __init__(self, url: str, setting: str, collection: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        collection = options.pop("collection", collection)
        url = urlunsplit(parts._replace(query=urlencode(options)))
        self._loop = BackgroundLoop()
        given = {option.lower() for option in options}  # PyMongo takes its options in any case
        try:
            ours = {name: value for name, value in _SETTINGS.items() if name.lower() not in given}
            with in_our_words("PyMongo", setting):
                self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, **cast(Any, ours))
            database = self._client.get_default_database("envelope")
            self.collection = database.get_collection(collection, read_preference=ReadPreference.PRIMARY)
        except (InvalidURI, MongoConfigurationError, ValueError, TypeError, PyMongoError):
            raise ConfigurationError(
                f"{setting}: PyMongo can't read the URL, or the names of database or collection"
            ) from None

    async def call(self, operation: str, work: Coroutine[Any, Any, _T]) -> _T:
        """Do ``work``, and raise our errors in place of PyMongo's.

        Raises:
            Duplicate: the id is there already.
        """
        try:
            return await self._loop.run(work)
        except DuplicateKeyError:
            raise Duplicate from None
        except (PyMongoError, BSONError, OSError, asyncio.TimeoutError) as error:
            raise translate(error, operation) from None

    async def close(self) -> None:
        """Release the connections."""
        try:
            with suppress(StoreUnavailable):  # it is closed already, or its server is gone
                await self.call("close", self._client.close())
        finally:
            self._loop.close()
