"""A bucket of Google Cloud Storage, called from an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import requests
from google.api_core.client_info import ClientInfo
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from envelope_codec.datastore.bucket import Exists, Listed
from envelope_codec.datastore.bucket_url import BucketUrl, parse_bucket_url
from envelope_codec.datastore.gcs_credentials import WIRE_LOG, CredentialsUnavailable, FreshCredentials
from envelope_codec.datastore.gcs_error import NameRefused, names_bucket, translate
from envelope_codec.datastore.received import Received
from envelope_codec.datastore.threaded_client import THREADS, ThreadedClient
from envelope_codec.errors import EnvelopeError, PayloadMissing
from envelope_codec.provider import Failed

_T = TypeVar("_T")

OPTIONS = frozenset(("endpoint", "credentials", "impersonate", "quota_project"))
"""Names of the options that a URL of Google Cloud Storage may have."""

_FORM = "gs://BUCKET/PREFIX"
# Seconds to connect, and for each piece of an answer. They bound how long a call that nobody waits for holds a thread.
# The caller retries, with back-off and a deadline.
_CALL: dict[str, Any] = {"timeout": (5.0, 8.0), "retry": None}
_FIELDS = "items(name,size,timeCreated),nextPageToken"
_ERRORS = (GoogleAPICallError, GoogleAuthError, CredentialsUnavailable, DataCorruption, InvalidResponse)
_NETWORK = (requests.RequestException, HTTPError, OSError, Failed)


class GcsBucket:
    """A bucket, or what lies in it under a prefix. No network is asked when it is made.

    Args:
        url: ``gs://BUCKET/PREFIX`` with `OPTIONS`.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: it is no such URL.
    """

    def __init__(self, url: str, setting: str) -> None:
        place = parse_bucket_url(url, _FORM, OPTIONS, setting)
        self._name, self._prefix = place.place, f"{place.path}/" if place.path else ""
        self._gcs = ThreadedClient(
            partial(_Session, place, FreshCredentials(place.options)), _Session.close, name="envelope-codec-gcs"
        )

    async def create(self, name: str, data: bytes) -> None:
        """Store an object under a name that is free.

        Raises:
            Exists: it is not.
        """
        body = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self._do("put", lambda blob: _upload(blob, body.pop()), name)

    async def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of an object.

        Args:
            name: of the object.
            limit: how many bytes there are at most.

        Raises:
            TooLarge: there are more.
            PayloadMissing: there is no such object.
        """
        return await self._do("get", lambda blob: _download(blob, limit), name)

    async def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        try:
            await self._do("delete", lambda blob: blob.delete(**_CALL), name)
        except PayloadMissing:
            return

    async def list_page(self, token: str | None, size: int) -> tuple[list[Listed], str | None]:
        """Return some of the objects that lie right under the prefix, and a token that gets the next ones."""
        return await self._run("list", partial(self._list, token=token, size=size))

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        self._gcs.close()

    async def _do(self, operation: str, work: Callable[[Blob], _T], name: str) -> _T:
        def ask(client: Client) -> _T:
            try:
                return work(_blob(client, self._name, self._prefix + name))
            except GoogleAPICallError as error:
                if error.code != 404 or operation == "put" or names_bucket(error):
                    raise
            self._find(client)
            raise PayloadMissing("the datastore has no such payload", operation=operation)

        return await self._run(operation, ask)

    async def _run(self, operation: str, work: Callable[[Client], _T]) -> _T:
        try:
            return await self._gcs.run(lambda session: session.ask(work))
        except (EnvelopeError, Exists):
            raise
        except (*_ERRORS, *_NETWORK, NameRefused) as error:
            raise translate(error, operation) from None

    def _list(self, client: Client, token: str | None, size: int) -> tuple[list[Listed], str | None]:
        found = client.list_blobs(
            _bucket(client, self._name),
            prefix=self._prefix,
            delimiter="/",
            page_size=size,
            page_token=token,
            fields=_FIELDS,
            **_CALL,
        )
        pages: Iterator[Any] = found.pages
        listed = [
            Listed(blob.name.removeprefix(self._prefix), blob.time_created.timestamp(), int(blob.size))
            for blob in next(pages)
        ]
        return listed, cast("str | None", found.next_page_token)

    def _find(self, client: Client) -> None:
        """Raise what the server says if there is no bucket: some say of an object that is missing just the same."""
        try:
            self._list(client, None, 1)
        except GoogleAPICallError as error:
            if error.code != 403:  # who may not list is told so of a bucket that exists
                raise


class _Session:
    """The client of one process.

    Raises:
        CredentialsUnavailable: there are no credentials.
    """

    def __init__(self, place: BucketUrl, fresh: FreshCredentials) -> None:
        endpoint, self._fresh = place.endpoint, fresh
        is_local = endpoint is not None and endpoint.startswith("http:")
        credentials: Any = AnonymousCredentials() if is_local else fresh.load()  # type: ignore[no-untyped-call,unused-ignore]
        tokens, session = requests.Session(), AuthorizedSession(credentials, max_refresh_attempts=1)  # type: ignore[no-untyped-call,unused-ignore]
        for one in (tokens, session):
            one.mount("https://", HTTPAdapter(pool_maxsize=THREADS))
            one.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
        session.trust_env = not is_local  # else a proxy would be asked for this machine
        session.max_redirects = 0  # Google Cloud Storage has none
        self._request = partial(Request(tokens), timeout=_CALL["timeout"][1])  # type: ignore[no-untyped-call,unused-ignore]
        self._tokens = tokens
        universe = credentials.universe_domain
        # With an endpoint in any case: else the library follows STORAGE_EMULATOR_HOST.
        api = {"api_endpoint": endpoint or f"https://storage.{universe}", "universe_domain": universe}
        self._client = Client(
            project="-",  # the project is asked for nothing but buckets
            credentials=credentials,
            client_info=ClientInfo(user_agent="envelope-codec"),  # type: ignore[no-untyped-call,unused-ignore]
            client_options=api,
            _http=session,
        )

    def ask(self, work: Callable[[Client], _T]) -> _T:
        """Do ``work``, with a token that is valid."""
        with WIRE_LOG.silenced():  # of the work too, which gets another token where one is refused
            self._fresh.refresh(self._request)
            return work(self._client)

    def close(self) -> None:
        self._client.close()
        self._tokens.close()


def _bucket(client: Client, name: str) -> Any:
    try:
        return client.bucket(name)
    except ValueError:
        raise NameRefused from None


def _blob(client: Client, bucket: str, name: str) -> Blob:
    blob: Blob = _bucket(client, bucket).blob(name)
    return blob


def _upload(blob: Blob, data: bytes) -> None:
    try:
        blob.upload_from_string(data, content_type="application/octet-stream", if_generation_match=0, **_CALL)
    except GoogleAPICallError as error:
        if error.code == 412:
            raise Exists from None
        raise


def _download(blob: Blob, limit: int) -> bytes:
    received = Received(limit)
    # Raw: else an object that claims to be compressed is unpacked here, to whatever size.
    blob.download_to_file(received, raw_download=True, **_CALL)
    return received.take()
