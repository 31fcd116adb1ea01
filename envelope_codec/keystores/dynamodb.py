"""A keystore in Amazon DynamoDB."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import NO_CONFIGURATION
from envelope_codec.datastore.aws_client import OPTIONS, AwsClient, make_boto3_client, parse_options
from envelope_codec.datastore.aws_policy import aws_policy, with_role
from envelope_codec.datastore.dynamodb_error import code_of, translate
from envelope_codec.errors import ConfigurationError, StoreRefused
from envelope_codec.keystore import KEY_LENGTH, PROBE, Kept, conflict
from envelope_codec.keystore_role import Role, replace_nothing

_T = TypeVar("_T")

_PAGE = 200
_CONFLICT = "ConditionalCheckFailedException"
_SHARDS = "0123456789abcdef"
_ACTIONS = {
    Role.open: ["dynamodb:GetItem"],
    Role.seal: ["dynamodb:GetItem", "dynamodb:PutItem"],
    Role.share: ["dynamodb:GetItem", "dynamodb:PutItem"],
    Role.export: ["dynamodb:GetItem", "dynamodb:Query"],
    Role.rewrap: ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem"],
}


class DynamoDbKeystore:
    """A `Keystore` in a table: ``dynamodb://TABLE?region=…&endpoint=…&profile=…&role=…``.

    Credentials are found as by any AWS tool, and assume ``role`` if it is given. The keystore does not make the table:
    `ddl` has the command. DynamoDB keeps an order only within a partition key, which is the first hex digit of the
    row's key: 16 queries list all.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.path.strip("/") or parts.fragment:
            raise ConfigurationError("keystore: a table is dynamodb://TABLE; credentials are found as by any AWS tool")
        options = parse_options(parts.query, OPTIONS, "dynamodb", "keystore")
        self._name, self._role = parts.netloc, options.get("role")
        self._client: AwsClient[Any] = AwsClient(
            _make_client(options), lambda: _make_client(options), name="envelope-codec-dynamodb"
        )

    @property
    def ddl(self) -> str:
        """The command that makes the table."""
        return (
            f"aws dynamodb create-table --table-name {self._name} --billing-mode PAY_PER_REQUEST \\\n"
            "  --attribute-definitions AttributeName=shard,AttributeType=S AttributeName=row_key,AttributeType=B \\\n"
            "  --key-schema AttributeName=shard,KeyType=HASH AttributeName=row_key,KeyType=RANGE\n"
        )

    async def get(self, key: bytes) -> Kept | None:
        """Return what is kept under ``key``, if anything is."""
        answer = await self._call(
            "get", lambda client: client.get_item(TableName=self._name, Key=_item_key(key), ConsistentRead=True)
        )
        item = answer.get("Item")
        kept = None if item is None else _kept(item)
        if item is not None and kept is None:
            raise StoreRefused("what is there under the id is of another kind", operation="get")
        return kept

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Keep ``data`` under ``key`` if what is there has this revision. Raises `RowConflict` if it has not."""
        fresh = os.urandom(16).hex()
        item = {**_item_key(key), "data": {"B": data}, "revision": {"S": fresh}}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(row_key)"}
        if revision is not None:
            condition = {
                "ConditionExpression": "revision = :revision",
                "ExpressionAttributeValues": {":revision": {"S": revision}},
            }

        def write(client: Any) -> bool:
            try:
                client.put_item(TableName=self._name, Item=item, **condition)
            except ClientError as error:
                if code_of(error) == _CONFLICT:
                    return False
                raise
            return True

        if not await self._call("put", write):
            raise conflict()
        return fresh

    async def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Yield all rows whose key is greater than ``after``."""
        for shard in _SHARDS:
            if shard < after.hex()[:1]:
                continue
            start: dict[str, Any] | None = {}
            while start is not None:
                page = await self._call("list", partial(self._query, shard, after, start))
                for kept in map(_kept, page.get("Items", ())):
                    if kept is not None and len(kept.key) == KEY_LENGTH:
                        yield kept
                start = page.get("LastEvaluatedKey") and {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    async def check(self) -> None:
        """Read, and replace what is not there. Raises if that is not possible."""
        await self.get(PROBE)
        await self.try_create()

    async def try_create(self) -> None:
        """Replace what is not there: DynamoDB has one permission for both."""
        await replace_nothing(self)

    async def try_replace(self) -> None:
        """Do as `try_create` does."""
        await self.try_create()

    def grants(self, role: Role) -> str:
        """Return the policy that grants ``role`` what it needs. The region and the account are to be filled in."""
        policy = aws_policy([(_ACTIONS[role], f"arn:aws:dynamodb:REGION:ACCOUNT:table/{self._name}")])
        return with_role(policy, self._role)

    async def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _query(self, shard: str, after: bytes, start: Mapping[str, Any], client: Any) -> Any:
        condition = "shard = :shard" + (" AND row_key > :after" if after else "")
        values = {":shard": {"S": shard}, **({":after": {"B": after}} if after else {})}
        return client.query(
            TableName=self._name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            Limit=_PAGE,
            **start,
        )

    async def _call(self, operation: str, work: Callable[[Any], _T]) -> _T:
        try:
            return await self._client.run(work)
        except (ClientError, BotoCoreError, CredentialsUnavailable, OSError) as error:
            raise translate(error, operation) from None
        except ConfigurationError as error:  # a forked child can't make the client that its parent could
            failure = CredentialsUnavailable(NO_CONFIGURATION, error.reason)
        raise translate(failure, operation)


def _make_client(options: Mapping[str, str]) -> Any:
    return make_boto3_client("dynamodb", options, Config(), "keystore")


def _item_key(key: bytes) -> dict[str, Any]:
    return {"shard": {"S": key.hex()[:1]}, "row_key": {"B": key}}


def _kept(item: Mapping[str, Any]) -> Kept | None:
    """Return the row that an item is, or None if it is none."""
    key, data, revision = (
        item.get("row_key", {}).get("B"),
        item.get("data", {}).get("B"),
        item.get("revision", {}).get("S"),
    )
    if not isinstance(key, bytes) or not isinstance(data, bytes) or not isinstance(revision, str):
        return None
    return Kept(key, data, revision)
