"""A container of Azure Blob Storage, called from an event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import requests
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobProperties, ContainerClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from envelope_codec.datastore.azblob_credentials import CredentialsUnavailable, find_credential
from envelope_codec.datastore.azblob_error import EXISTS, MISSING, code_of, translate
from envelope_codec.datastore.bucket import Exists, Listed
from envelope_codec.datastore.bucket_url import BucketUrl, parse_bucket_url
from envelope_codec.datastore.received import Received
from envelope_codec.datastore.threaded_client import THREADS, ThreadedClient
from envelope_codec.errors import ConfigurationError, EnvelopeError, InvalidCiphertext, PayloadMissing
from envelope_codec.provider import Failed

_T = TypeVar("_T")

OPTIONS = frozenset(("endpoint", "key_file", "client_id"))
"""Names of the options that a URL of Azure Blob Storage may have."""

_FORM = "azblob://ACCOUNT/CONTAINER/PREFIX"
_HOST = "https://{}.blob.core.windows.net"
# The caller retries, with back-off and a deadline. The seconds bound how long a call that nobody waits for holds a
# thread. A payload is written by one request: several would need the permission to write, beside that to add.
_SETTINGS: dict[str, Any] = {
    "retry_total": 0,
    "retry_to_secondary": False,
    "permit_redirects": False,  # Azure Storage has none, and credentials would go to wherever they lead
    "user_agent": "envelope-codec",
    "max_single_get_size": 64 * 2**20,
    "max_single_put_size": 2**31,
    "max_chunk_get_size": 16 * 2**20,
    "logging_enable": False,
}
_TIMEOUTS = {"connection_timeout": 5.0, "read_timeout": 8.0}
_ERRORS = (AzureError, CredentialsUnavailable, requests.RequestException, HTTPError, OSError, ValueError, Failed)


class AzureContainer:
    """A container, or what lies in it under a prefix. No network is asked when it is made.

    Args:
        url: ``azblob://ACCOUNT/CONTAINER/PREFIX`` with `OPTIONS`.
        setting: that the URL was given in, for texts of errors.

    Raises:
        ConfigurationError: it is no such URL.
    """

    def __init__(self, url: str, setting: str) -> None:
        place = parse_bucket_url(url, _FORM, OPTIONS, setting)
        container, _, prefix = place.path.partition("/")
        if not container or "." in place.place:
            raise ConfigurationError(f"{setting}: the URL is {_FORM}; another server is given as the option endpoint")
        self._prefix = f"{prefix}/" if prefix else ""
        self._azure = ThreadedClient(partial(_open, place, container), _close, name="envelope-codec-azblob")

    async def create(self, name: str, data: bytes) -> None:
        """Store a blob under a name that is free.

        Raises:
            Exists: it is not.
        """
        body = [data]
        del data  # or the thread holds a large one for a moment longer than this call lasts
        await self._do("put", lambda container: _upload(container, self._prefix + name, body.pop()))

    async def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a blob.

        Args:
            name: of the blob.
            limit: how many bytes there are at most.

        Raises:
            TooLarge: there are more.
            PayloadMissing: there is no such blob.
        """
        return await self._do("get", lambda container: _download(container, self._prefix + name, limit))

    async def delete(self, name: str) -> None:
        """Delete a blob, if there is one."""
        try:
            await self._do("delete", lambda container: container.delete_blob(self._prefix + name))
        except PayloadMissing:
            return

    async def list_page(self, token: str | None, size: int) -> tuple[list[Listed], str | None]:
        """Return some of the blobs that lie right under the prefix, and a token that gets the next ones."""
        return await self._do("list", lambda container: _list(container, self._prefix, token, size))

    def close(self) -> None:
        """Release the connections. Does not wait for calls under way."""
        self._azure.close()

    async def _do(self, operation: str, work: Callable[[ContainerClient], _T]) -> _T:
        def ask(container: ContainerClient) -> _T:
            try:
                return work(container)
            except HttpResponseError as error:
                if code_of(error) in MISSING and operation in ("get", "delete"):
                    raise PayloadMissing("the datastore has no such payload", operation=operation) from None
                raise

        try:
            return await self._azure.run(ask)
        except (EnvelopeError, Exists):
            raise
        except _ERRORS as error:
            raise translate(error, operation) from None


def _open(place: BucketUrl, container: str) -> ContainerClient:
    """Make the client of one process.

    Raises:
        CredentialsUnavailable: there are no credentials.
    """
    endpoint = place.endpoint
    is_local = endpoint is not None and endpoint.startswith("http:")
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS))
    session.trust_env = not is_local  # else a proxy would be asked for this machine
    # An emulator has all accounts under one host.
    url = f"{endpoint}/{place.place}" if is_local else endpoint or _HOST.format(place.place)
    return ContainerClient(
        url,
        container,
        credential=find_credential(place.place, place.options, is_local=is_local),
        transport=RequestsTransport(session=session, use_env_settings=not is_local, **_TIMEOUTS),
        **_SETTINGS,
    )


def _close(container: ContainerClient) -> None:
    container.close()
    close = getattr(container.credential, "close", None)
    if close is not None:
        close()


def _upload(container: ContainerClient, name: str, data: bytes) -> None:
    try:
        container.upload_blob(name, data, length=len(data), overwrite=False, max_concurrency=1)
    except HttpResponseError as error:
        if code_of(error) in EXISTS:
            raise Exists from None
        raise


def _download(container: ContainerClient, name: str, limit: int) -> bytes:
    received = Received(limit)

    def look(response: Any) -> None:
        """Stop before the body is read, if that is too large, or would grow when it is unpacked here."""
        headers = response.http_response.headers
        if response.http_response.status_code >= 300:
            return
        if headers.get("Content-Encoding"):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        whole = str(headers.get("Content-Range", "")).rpartition("/")[2]
        for size in (whole, str(headers.get("Content-Length", ""))):
            if size.isdigit():
                received.expect(int(size))

    data: bytes = container.download_blob(name, max_concurrency=1, raw_response_hook=look).readall()
    received.expect(len(data))
    return data


def _list(container: ContainerClient, prefix: str, token: str | None, size: int) -> tuple[list[Listed], str | None]:
    found = container.walk_blobs(name_starts_with=prefix or None, delimiter="/", results_per_page=size)
    pages: Any = found.by_page(continuation_token=token)
    listed = [
        Listed(blob.name.removeprefix(prefix), (blob.creation_time or blob.last_modified).timestamp(), int(blob.size))
        for blob in next(pages, ())
        if isinstance(blob, BlobProperties)  # else it is what names below have in common
    ]
    return listed, pages.continuation_token or None
