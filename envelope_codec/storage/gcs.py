"""Payloads in Google Cloud Storage."""

from __future__ import annotations

from envelope_codec.datastore.gcs_client import GcsBucket
from envelope_codec.datastore.gcs_error import NO_ANSWER
from envelope_codec.storage.objects import ObjectStore


class GcsStore(ObjectStore):
    """A `PayloadStore` in a bucket: ``gs://BUCKET/PREFIX?credentials=…&impersonate=…&quota_project=…&endpoint=…``.

    Credentials are found as by any of Google's tools. The store needs ``storage.objects.create`` and
    ``storage.objects.get``; tidying up needs ``storage.objects.list`` and ``storage.objects.delete`` as well. Nothing
    is ever overwritten, which would need the permission to delete.
    """

    def __init__(self, url: str) -> None:
        super().__init__(GcsBucket(url, "storage"), NO_ANSWER)
