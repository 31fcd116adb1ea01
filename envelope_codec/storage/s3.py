"""Payloads in Amazon S3, or in a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from envelope_codec.datastore.s3_client import Boto3Client, in_our_errors, make_client, parse_bucket
from envelope_codec.datastore.s3_rules import BucketRules
from envelope_codec.errors import InvalidCiphertext, MalformedEnvelope
from envelope_codec.store import LARGEST, Stored, is_id

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

_PAGE = 1_000


class S3Store:
    """A `PayloadStore` in a bucket: ``s3://BUCKET/PREFIX?region=…&endpoint=…&profile=…&role=…&sse=…``.

    Credentials are found as by any AWS tool, and assume ``role`` if it is given. The store needs ``s3:PutObject`` and
    ``s3:GetObject``; tidying up needs ``s3:ListBucket`` and ``s3:DeleteObject`` as well. With ``sse=aws:kms`` it needs
    ``kms:GenerateDataKey`` and ``kms:Decrypt`` on that key.
    """

    def __init__(self, url: str) -> None:
        self._bucket, self._prefix, options = parse_bucket(url, "storage")
        self._rules = BucketRules.of(options, "storage")
        self._s3 = Boto3Client(make_client(options), lambda: make_client(options))

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        await self._ask("put", self._s3.put_object(bucket=self._bucket, key=self._prefix + id, data=data))

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self.get_within(id, LARGEST)

    async def get_within(self, id: str, limit: int) -> bytes:
        """Do as `get`, and raise `TooLarge` if there are more than ``limit`` bytes."""
        return await self._read(self._prefix + id, limit)

    async def get_plain(self, claim: Mapping[str, str], limit: int = LARGEST) -> bytes:
        """Return what the SDK's own S3 driver stored in this bucket, and claimed in clear.

        Raises:
            TooLarge: there are more than ``limit`` bytes.
        """
        if claim.get("bucket") != self._bucket or claim.get("hash_algorithm") != "sha256" or "key" not in claim:
            raise MalformedEnvelope("the reference to the datastore is for another bucket, or not one of S3")
        data = await self._read(claim["key"], limit)
        if sha256(data).hexdigest() != claim.get("hash_value"):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        return data

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        key = self._prefix + id
        await self._ask("delete", self._s3.run(lambda s3: s3.delete_object(Bucket=self._bucket, Key=key)))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        token: dict[str, Any] = {}
        while True:

            def list_page(s3: S3Client, token: dict[str, Any] = token) -> Any:
                return s3.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", MaxKeys=_PAGE, **token
                )

            page = await self._ask("list", self._s3.run(list_page))
            for entry in page.get("Contents", ()):
                id, created = entry["Key"].removeprefix(self._prefix), entry["LastModified"].timestamp()
                if is_id(id) and created < before:
                    yield Stored(id, created, entry["Size"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def check(self) -> None:
        """Put and get an object that is no payload. Raises if that is not possible."""
        await self.put("check", b"")
        await self.get("check")

    async def close(self) -> None:
        """Release the connections."""
        self._s3.close()

    async def _ask(self, operation: str, work: Awaitable[_T]) -> _T:
        return await in_our_errors(operation, work, self._rules)

    async def _read(self, key: str, limit: int) -> bytes:
        return await self._ask("get", self._s3.get_object(bucket=self._bucket, key=key, limit=limit))
