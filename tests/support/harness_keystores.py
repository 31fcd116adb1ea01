"""Every kind of keystore on its real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
from devstack import DynamoDbServer

from envelope_codec.keystores.sql import SqlKeystore
from tests.support import harness_stores
from tests.support.harness_stores import NEEDLES, OTHER, SERVED, Sql

KEY = "ab" * 32


class Files(harness_stores.Files):
    async def put_other(self, url: str) -> None:
        await super().put_other(url)
        (self._path(url) / "ab" / KEY.upper()).write_bytes(b"")
        (self._path(url) / "ab" / f"cd{KEY[2:]}").write_bytes(b"")
        (self._path(url) / KEY).write_bytes(b"")

    async def overwrite_row(self, url: str, key: bytes, data: bytes) -> None:
        (self._path(url) / key.hex()[:2] / key.hex()).write_bytes(data)


class _Sql(Sql):
    async def place(self) -> str:
        url = self._url(table=f"Payloads_{uuid.uuid4().hex[:12]}")
        keystore = SqlKeystore(url)
        await self.execute(*filter(str.strip, keystore.ddl.split(";")))
        await keystore.close()
        return url

    async def put_other(self, url: str) -> None:
        row = {"key": OTHER.encode()[:10], "data": b"", "revision": "r"}
        await self.execute(f"INSERT INTO {self._table(url)} VALUES (:key, :data, :revision)", **row)

    async def overwrite_row(self, url: str, key: bytes, data: bytes) -> None:
        await self.execute(f"UPDATE {self._table(url)} SET data = :data WHERE row_key = :key", key=key, data=data)


class Sqlite(_Sql, harness_stores.Sqlite):
    pass


class Postgres(_Sql, harness_stores.Postgres):
    pass


class MariaDb(_Sql, harness_stores.MariaDb):
    pass


class Valkey(harness_stores.Valkey):
    async def put_other(self, url: str) -> None:
        with self._client() as client:
            client.set(self._prefix(url) + OTHER, b"x" * 100)
            client.rpush(self._prefix(url) + KEY, "a list")
            client.hset(self._prefix(url) + "cd" * 32, "data", "no revision")
            client.hset("beside" + self._prefix(url) + KEY, mapping={"data": "d", "revision": "r"})

    async def overwrite_row(self, url: str, key: bytes, data: bytes) -> None:
        with self._client() as client:
            client.hset(self._prefix(url) + key.hex(), "data", data)


class Mongo(harness_stores.Mongo):
    async def put_other(self, url: str) -> None:
        with self._client() as client:
            rows = self._collection(client, url)
            rows.insert_one({"_id": OTHER, "data": b"", "revision": "r"})
            rows.insert_one({"_id": 7, "data": b"", "revision": "r"})
            rows.insert_one({"_id": KEY, "data": "a text", "revision": "r"})

    async def overwrite_row(self, url: str, key: bytes, data: bytes) -> None:
        with self._client() as client:
            self._collection(client, url).update_one({"_id": key.hex()}, {"$set": {"data": data}})


class S3(harness_stores.S3):
    async def put_other(self, url: str) -> None:
        for key in (OTHER, f"0/{KEY}", f"{KEY}/{KEY}", f"{KEY}0", KEY.upper()):
            self.client().put_object(Bucket=self.bucket, Key=self._prefix(url) + key, Body=b"x")
        self.client().put_object(Bucket=self.bucket, Key=KEY, Body=b"x")


class DynamoDb:
    name = "dynamodb"
    secrets = NEEDLES

    def __init__(self, server: DynamoDbServer) -> None:
        self.server = server

    async def place(self) -> str:
        name = f"Payloads_{uuid.uuid4().hex}"
        self._make(name, "row_key", "B")
        return f"dynamodb://{name}?{self._options}"

    async def put_other(self, url: str) -> None:
        for key in (b"beside", b"\xab" * 33):
            item = {"data": {"B": b""}, "revision": {"S": "r"}}
            self._put(url, {"shard": {"S": key.hex()[:1]}, "row_key": {"B": key}, **item})
        self._put(url, {"shard": {"S": "a"}, "row_key": {"B": b"\xab" * 32}, "data": {"S": "a text"}})

    async def refusing(self) -> dict[str, str]:
        other = f"Payloads_{uuid.uuid4().hex}"
        self._make(other, "another", "S")
        return {
            "missing table": f"dynamodb://astray?{self._options}",
            "other key": f"dynamodb://{other}?{self._options}",
        }

    @property
    def _options(self) -> str:
        return f"endpoint={self.server.endpoint}&region=us-east-1"

    def _client(self) -> Any:
        made: Any = boto3.session.Session()
        return made.client(
            "dynamodb",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def _make(self, name: str, sort_key: str, kind: str) -> None:
        self._client().create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "shard", "AttributeType": "S"},
                {"AttributeName": sort_key, "AttributeType": kind},
            ],
            KeySchema=[
                {"AttributeName": "shard", "KeyType": "HASH"},
                {"AttributeName": sort_key, "KeyType": "RANGE"},
            ],
        )

    def _put(self, url: str, item: dict[str, Any]) -> None:
        self._client().put_item(TableName=urlsplit(url).netloc, Item=item)


SERVED_BY: dict[str, type[Any]] = {
    "file": Files,
    "sqlite": Sqlite,
    "postgresql": Postgres,
    "mariadb": MariaDb,
    "redis": Valkey,
    "mongodb": Mongo,
    "s3": S3,
}
KINDS = ["file", "sqlite", "dynamodb", *SERVED]


class Keystores(harness_stores.Stores):
    """Each kind of keystore, made with its server when it is asked for first."""

    def _harness(self, kind: str) -> Any:
        if kind == "dynamodb":
            run_server = self._request.getfixturevalue("run_server")
            return DynamoDb(self._stack.enter_context(run_server(DynamoDbServer())))
        stores: Any = super()._harness(kind)
        made = SERVED_BY[kind]
        if kind in ("file", "sqlite"):
            return made(stores._folder)
        return made(stores.server)


def of_kind(kind: str) -> Callable[[Keystores], Any]:
    """For the conformance suite: the harness of this kind."""

    def take(keystores: Keystores) -> Any:
        return keystores[kind]

    return take
