"""Payloads in Azure Blob Storage."""

from __future__ import annotations

from envelope_codec.datastore.azblob_client import AzureContainer
from envelope_codec.datastore.azblob_error import NO_ANSWER
from envelope_codec.storage.objects import ObjectStore


class AzureBlobStore(ObjectStore):
    """A `PayloadStore` in a container: ``azblob://ACCOUNT/CONTAINER/PREFIX?endpoint=…&key_file=…&client_id=…``.

    Tokens are had as by any of Azure's tools, unless an account key is given. The store needs to write blobs and to
    read them; tidying up needs to list and delete them as well. Nothing is ever overwritten.
    """

    def __init__(self, url: str) -> None:
        super().__init__(AzureContainer(url, "storage"), NO_ANSWER)
