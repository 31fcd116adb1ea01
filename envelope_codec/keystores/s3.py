"""A keystore in Amazon S3, or in a server that speaks its protocol and compares what it replaces."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from envelope_codec.datastore.aws_policy import aws_policy, with_role
from envelope_codec.datastore.s3_client import Boto3Client, in_our_errors, is_amazon, make_client, parse_bucket
from envelope_codec.datastore.s3_error import MISSING, check_stored, code_of
from envelope_codec.datastore.s3_rules import BucketRules
from envelope_codec.errors import PayloadMissing
from envelope_codec.keystore import MOST_READ, PROBE, Kept, conflict, key_of_digits, try_out
from envelope_codec.keystore_role import Role, replace_nothing

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_T = TypeVar("_T")

_PAGE = 200
_AT_ONCE = 16
_ETAG = re.compile(r'"[0-9A-Za-z._:+/=-]{1,200}"')
# 412: the condition does not hold. 409: another write of the object was under way, and is not this one.
_CONFLICTS = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


class S3Keystore:
    """A `Keystore` in a bucket: ``s3://BUCKET/PREFIX?region=…&endpoint=…&profile=…&role=…&sse=…``.

    Credentials are found as by any AWS tool, and assume ``role`` if it is given. Every role of the keystore needs
    ``s3:ListBucket``: without it, S3 does not tell a row that is missing from one that may not be read. A row is an
    object, and its revision is the object's ETag.
    """

    def __init__(self, url: str) -> None:
        self._bucket, self._prefix, options = parse_bucket(url, "keystore")
        self._rules, self._role = BucketRules.of(options, "keystore"), options.get("role")
        client = make_client(options, "keystore")
        # boto3 takes an endpoint from the environment and from its configuration file as well.
        self._amazon = is_amazon({"endpoint": client.meta.endpoint_url})
        self._s3 = Boto3Client(client, lambda: make_client(options, "keystore"))

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        name = self._prefix + key.hex()

        def read(s3: S3Client) -> Kept:
            answer = s3.get_object(Bucket=self._bucket, Key=name)
            with answer["Body"] as body:
                return Kept(key, body.read(MOST_READ), answer["ETag"])

        try:
            return await self._ask("get", self._s3.run(read))
        except PayloadMissing:
            return None

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        if revision is not None and _ETAG.fullmatch(revision) is None:
            raise conflict()  # "*", or a list of tags, would match whatever is there
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if revision is None else {"IfMatch": revision}
        name = self._prefix + key.hex()

        def write(s3: S3Client) -> str | None:
            try:
                return check_stored(s3.put_object(Bucket=self._bucket, Key=name, Body=data, **condition))
            except ClientError as error:
                if code_of(error) in (_CONFLICTS | (MISSING if revision is not None else set())):
                    return None
                raise

        fresh = await self._ask("put", self._s3.run(write))
        if fresh is None:
            raise conflict()
        return fresh

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        start: dict[str, Any] = {"StartAfter": self._prefix + after.hex()} if after else {}
        while True:

            def list_page(s3: S3Client, start: dict[str, Any] = start) -> Any:
                return s3.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", MaxKeys=_PAGE, **start
                )

            page = await self._ask("list", self._s3.run(list_page))
            names = (entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", ()))
            keys = [key for key in map(key_of_digits, names) if key is not None]
            for first in range(0, len(keys), _AT_ONCE):
                for kept in await asyncio.gather(*map(self.get, keys[first : first + _AT_ONCE])):
                    if kept is not None:
                        yield kept
            if not page.get("IsTruncated"):
                return
            start = {"ContinuationToken": page["NextContinuationToken"]}

    async def check(self) -> None:
        """Read, and replace what is not there. Raises if that is not possible, or if the server ignores conditions.

        Of a server that is not Amazon's, not all can be proved so. An empty object is put there, which is no row and
        stays, and is not overwritten any more.
        """
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Replace what is not there: S3 asks for the same permission."""
        await (replace_nothing(self) if self._amazon else try_out(self))

    async def try_replace(self) -> None:
        """Do as `try_create` does: S3 has one permission for both."""
        await self.try_create()

    def grants(self, role: Role) -> str:
        """Return the policy that grants ``role`` what it needs."""
        bucket = f"arn:aws:s3:::{self._bucket}"
        writes = ["s3:PutObject"] if role in (Role.seal, Role.share, Role.rewrap) else []
        statements = [(["s3:GetObject", *writes], f"{bucket}/{self._prefix}*"), (["s3:ListBucket"], bucket)]
        if self._rules.uses_kms:
            generates = ["kms:GenerateDataKey"] if writes else []
            statements.append((["kms:Decrypt", *generates], self._rules.key_resource))
        return with_role(aws_policy(statements), self._role)

    async def close(self) -> None:
        """Release the connections."""
        self._s3.close()

    async def _ask(self, operation: str, work: Awaitable[_T]) -> _T:
        return await in_our_errors(operation, work, self._rules)
