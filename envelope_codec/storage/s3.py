"""Payloads in Amazon S3, or in a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import NO_CONFIGURATION
from envelope_codec.datastore.s3_client import Boto3Client, make_client
from envelope_codec.datastore.s3_error import translate
from envelope_codec.errors import ConfigurationError, InvalidCiphertext, MalformedEnvelope
from envelope_codec.store import Stored, is_id

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

_OPTIONS = frozenset(("region", "endpoint", "profile", "addressing"))
_PAGE = 1_000


class S3Store:
    """A `PayloadStore` in a bucket: ``s3://BUCKET/PREFIX?region=…&endpoint=…&profile=…&addressing=path``.

    Credentials are found as by any AWS tool. The store needs ``s3:PutObject`` and ``s3:GetObject``; tidying up needs
    ``s3:ListBucket`` and ``s3:DeleteObject`` as well.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.fragment:
            raise ConfigurationError(
                "storage: a bucket is s3://BUCKET/PREFIX; credentials are found as by any AWS tool"
            )
        options = _parse_options(parts.query)
        self._bucket = parts.netloc
        prefix = unquote(parts.path).strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = Boto3Client(make_client(options), lambda: make_client(options))

    async def put(self, id: str, data: bytes) -> None:
        """Keep ``data`` under ``id``."""
        await self._call("put", self._s3.put_object(bucket=self._bucket, key=self._prefix + id, data=data))

    async def get(self, id: str) -> bytes:
        """Return what is kept under ``id``. Raises `PayloadMissing` if nothing is."""
        return await self._call("get", self._s3.get_object(bucket=self._bucket, key=self._prefix + id))

    async def get_plain(self, claim: Mapping[str, str]) -> bytes:
        """Return what the SDK's own S3 driver stored in this bucket, and claimed in clear."""
        if claim.get("bucket") != self._bucket or claim.get("hash_algorithm") != "sha256" or "key" not in claim:
            raise MalformedEnvelope("the reference to the datastore is for another bucket, or not one of S3")
        data = await self._call("get", self._s3.get_object(bucket=self._bucket, key=claim["key"]))
        if sha256(data).hexdigest() != claim.get("hash_value"):
            raise InvalidCiphertext("the datastore returned other bytes than were stored", operation="get")
        return data

    async def delete(self, id: str) -> None:
        """Delete what is kept under ``id``, if anything is."""
        key = self._prefix + id
        await self._call("delete", self._s3.run(lambda s3: s3.delete_object(Bucket=self._bucket, Key=key)))

    async def list_before(self, before: float) -> AsyncIterator[Stored]:
        """Yield all payloads that were put before ``before`` (Unix seconds)."""
        token: dict[str, Any] = {}
        while True:

            def list_page(s3: S3Client, token: dict[str, Any] = token) -> Any:
                return s3.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", MaxKeys=_PAGE, **token
                )

            page = await self._call("list", self._s3.run(list_page))
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

    async def _call(self, operation: str, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except (ClientError, BotoCoreError, CredentialsUnavailable, OSError) as error:
            raise translate(error, operation) from None
        except ConfigurationError as error:  # a forked child can't make the client that its parent could
            failure = CredentialsUnavailable(NO_CONFIGURATION, error.reason)
        raise translate(failure, operation)


def _parse_options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option, value in options.items():
        if option not in _OPTIONS or not value:
            known = ", ".join(sorted({"name", *_OPTIONS}))
            raise ConfigurationError(f"storage: s3:// has no option {option!r}, or it is empty (known: {known})")
    if "@" in options.get("endpoint", ""):
        raise ConfigurationError("storage: endpoint must not hold credentials (…@…); S3 takes signed requests")
    return options
