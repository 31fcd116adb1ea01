"""Every kind of store on its real server, for the conformance suite and for the end-to-end tests."""

from __future__ import annotations

import base64
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import boto3
import pytest
import redis
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import ContainerClient
from devstack import (
    AzuriteServer,
    GcsServer,
    LocalStack,
    MariaDbServer,
    MongoServer,
    PostgresServer,
    Server,
    ValkeyServer,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from localserver import find_program
from pymongo import MongoClient
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from valkeys import PASSWORD, SENTINEL_PASSWORD, ValkeyCluster, ValkeyNode, ValkeyService

from envelope_codec.storage.sql import SqlStore
from envelope_codec.store import PayloadStore, parse_store_url
from envelope_codec.testing.store_conformance import StoreHarness
from tests.support.watch import AWS_SECRET, CREDENTIALS

NEEDLES = ("127.0.0.1", "sesame", "localhost", "nobody-here", "astray", "payloads_", "Payloads_", "text.db", "reader")
"""What is in the URLs of these stores, and must be in no text of an error."""

OTHER = "beside-the-payloads"
"""What lies beside payloads and is none."""


class Harness(StoreHarness, Protocol):
    """One kind of store, for the conformance suite and for the tests of this project.

    Attributes:
        name: of the URL scheme.
        server: what may be paused; None if there is none.
    """

    name: str
    server: Server | None

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        """Put other bytes where a payload is kept."""
        ...


class Files:
    name = "file"
    secrets = NEEDLES
    server: Server | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def place(self) -> str:
        folder = self._folder / f"päy loads {uuid.uuid4().hex}"
        folder.mkdir()
        return f"file://{quote(str(folder))}"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        (self._path(url) / id[:2] / id).write_bytes(data)

    async def put_other(self, url: str) -> None:
        (self._path(url) / OTHER).write_bytes(b"")
        (self._path(url) / "ab").mkdir(exist_ok=True)
        (self._path(url) / "ab" / OTHER).write_bytes(b"")

    async def refusing(self) -> dict[str, str]:
        (self._folder / "file").write_bytes(b"")
        refusing = {"missing": f"file://{self._folder}/astray", "no directory": f"file://{self._folder}/file"}
        if sys.platform == "linux":  # where even root may not write
            refusing["read-only"] = "file:///sys/kernel"
        return refusing

    @staticmethod
    def _path(url: str) -> Path:
        return Path(unquote(urlsplit(url).path))


SQL_SAYS = {
    "missing table": "table does not exist",
    "missing schema": "table does not exist",
    "other columns": "other columns",
    "missing database": "database does not exist",
    "wrong password": "wrong user or password",
    "no password": "wrong user or password",
    "wrong user": "wrong user or password",
    "missing folder": "its folder is missing",
    "no database": "no database",
    "read-only": "permission|read-only",
    "no permission": "permission on the table",
    "too many connections": "too many connections",
    "TLS refused": "TLS",
}
"""What is told of a SQL database that can't be used, by what is wrong with it."""


class Sql:
    """What the SQL databases share."""

    name: str
    secrets = NEEDLES
    says = SQL_SAYS
    server: Server | None = None

    def __init__(self, admin: URL) -> None:
        self._admin = admin

    async def place(self) -> str:
        url = self._url(table=f"Payloads_{uuid.uuid4().hex[:12]}")
        store = SqlStore(url)
        await self.execute(*filter(str.strip, store.ddl.split(";")))
        await store.close()
        return url

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        await self.execute(f"UPDATE {self._table(url)} SET data = :data WHERE id = :id", id=id, data=data)

    async def put_other(self, url: str) -> None:
        await self.execute(f"INSERT INTO {self._table(url)} VALUES (:id, 1, 0, 1, :data)", id=OTHER, data=b"")

    async def count(self, url: str) -> int:
        """How many rows there are."""
        [[count]] = await self.execute(f"SELECT count(*) FROM {self._table(url)}")
        return int(count)

    async def take_away(self, url: str, id: str) -> None:
        """Delete the one row with this id."""
        await self.execute(f"DELETE FROM {self._table(url)} WHERE id = :id", id=id)

    async def passing(self) -> dict[str, str]:
        """URLs of what can't be used for now, by what is wrong with it."""
        return {}

    async def execute(self, *statements: str, **values: Any) -> Any:
        """Rows of the last of the statements."""
        engine = create_async_engine(self._admin, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                result = await connection.execute(text(statement), values)
            rows = result.all() if result.returns_rows else []
        await engine.dispose()
        return rows

    def _url(self, user: str | None = None, password: str | None = None, **options: str) -> str:
        url = self._admin.set(query={**self._admin.query, **options})
        if user is not None:
            url = url.set(username=user, password=password)
        return url.render_as_string(hide_password=False)

    def _table(self, url: str) -> str:
        quote = "`" if self.name == "mariadb" else '"'
        return quote + str(make_url(url).query["table"]) + quote


class Sqlite(Sql):
    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(make_url(f"sqlite+aiosqlite:///{folder}/payloads.db"))

    async def refusing(self) -> dict[str, str]:
        place = make_url(await self.place())
        (self._folder / "text.db").write_text("no database" * 1_000)
        await self.execute("CREATE TABLE IF NOT EXISTS other (id TEXT)")
        read_only = place.set(database=f"file:{place.database}").update_query_dict({"mode": "ro", "uri": "true"})
        return {
            "missing table": self._url(table="astray"),
            "other columns": self._url(table="other"),
            "missing folder": f"sqlite:///{self._folder}/astray/payloads.db",
            "no database": f"sqlite:///{self._folder}/text.db",
            "read-only": read_only.render_as_string(),
        }


class Postgres(Sql):
    name = "postgresql"

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        super().__init__(make_url(server.url).set(drivername="postgresql+psycopg"))

    async def refusing(self) -> dict[str, str]:
        place = await self.place()
        reader = f"reader_{uuid.uuid4().hex[:8]}"
        await self.execute(
            f"CREATE ROLE {reader} LOGIN PASSWORD 'sesame'",
            f"GRANT SELECT ON {self._table(place)} TO {reader}",
            f"CREATE TABLE other_{reader} (id TEXT)",
            f"CREATE TABLE closed_{reader} (LIKE {self._table(place)})",
        )
        table = str(make_url(place).query["table"])
        return {
            "missing table": self._url(table="astray"),
            "missing schema": self._url(table="astray.payloads"),
            "other columns": self._url(table=f"other_{reader}"),
            "no permission": self._url(user=reader, password="sesame", table=f"closed_{reader}"),
            "missing database": self._admin.set(database="astray").render_as_string(hide_password=False),
            "wrong password": self._url(user="postgres", password="open-sesame"),
            "no password": self._admin.set(password=None).render_as_string(),
            "wrong user": self._url(user="nobody-here", password="open-sesame"),
            "read-only": self._url(user=reader, password="sesame", table=table),
        }

    async def passing(self) -> dict[str, str]:
        crowded = f"reader_{uuid.uuid4().hex[:8]}"
        await self.execute(f"CREATE ROLE {crowded} LOGIN PASSWORD 'sesame' CONNECTION LIMIT 0")
        return {
            "too many connections": self._url(user=crowded, password="sesame"),
            "TLS refused": self._url(sslmode="require"),
        }


class MariaDb(Sql):
    name = "mariadb"

    def __init__(self, server: MariaDbServer) -> None:
        self.server = server
        super().__init__(make_url(server.url).set(drivername="mariadb+asyncmy"))

    async def refusing(self) -> dict[str, str]:
        place = await self.place()
        reader = f"reader_{uuid.uuid4().hex[:8]}"
        await self.execute(
            f"CREATE USER {reader} IDENTIFIED BY 'sesame'",
            f"GRANT SELECT ON envelope.{self._table(place)} TO {reader}",
            f"CREATE TABLE envelope.other_{reader} (id INT)",
        )
        return {
            "missing table": self._url(table="astray"),
            "other columns": self._url(table=f"other_{reader}"),
            "no permission": self._url(user=reader, password="sesame", table=f"other_{reader}"),
            "missing database": self._admin.set(database="astray").render_as_string(hide_password=False),
            "wrong password": self._url(user="envelope", password="open-sesame"),
            "wrong user": self._url(user="nobody-here", password="open-sesame"),
            "read-only": self._url(user=reader, password="sesame", table=str(make_url(place).query["table"])),
        }

    async def passing(self) -> dict[str, str]:
        crowded, table = f"reader_{uuid.uuid4().hex[:8]}", str(make_url(await self.place()).query["table"])
        await self.execute(
            f"CREATE USER {crowded} IDENTIFIED BY 'sesame' WITH MAX_QUERIES_PER_HOUR 1",
            f"GRANT SELECT, INSERT ON envelope.`{table}` TO {crowded}",
        )
        return {"too many connections": self._url(user=crowded, password="sesame", table=table)}


class Valkey:
    name = "redis"
    secrets = NEEDLES

    def __init__(self, server: ValkeyServer) -> None:
        self.server: Any = server

    async def place(self) -> str:
        return f"{self.server.url}?prefix={quote(f'päy*lo[a]ds?^-{uuid.uuid4().hex}:')}"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        with self._client() as client:
            client.set(self._prefix(url) + id, data)

    async def put_other(self, url: str) -> None:
        with self._client() as client:
            client.set(self._prefix(url) + OTHER, b"x" * 100)
            client.rpush(self._prefix(url) + "a" * 32, "a list")
            client.set("beside" + self._prefix(url) + "b" * 32, b"x" * 100)

    async def refusing(self) -> dict[str, str]:
        with self._client() as client:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">sesame", "~*", "+@read", "+@connection")
            client.execute_command("ACL", "SETUSER", "locked", "on", ">sesame", "~other:*", "+@all")
        where = urlsplit(self.server.url).netloc
        return {
            "wrong password": f"redis://reader:open-sesame@{where}/0",
            "wrong user": f"redis://nobody-here:open-sesame@{where}/0",
            "read-only": f"redis://reader:sesame@{where}/0",
            "other keys": f"redis://locked:sesame@{where}/0",
            "no such database": f"redis://{where}/99",
        }

    def _client(self) -> Any:
        return redis.Redis.from_url(self.server.url)

    @staticmethod
    def _prefix(url: str) -> str:
        return dict(_options(url))["prefix"]


class ValkeysTogether(Valkey):
    """A Redis Cluster, or a service that a sentinel looks after."""

    def __init__(self, group: ValkeyCluster | ValkeyService) -> None:
        self.group = group
        CREDENTIALS.extend([PASSWORD.encode(), SENTINEL_PASSWORD.encode()])
        self.server = None

    @property
    def url(self) -> str:
        return self.group.url

    async def place(self) -> str:
        prefix = quote(f"päy*lo[a]ds?^-{uuid.uuid4().hex}:")
        return f"{self.url}{'&' if '?' in self.url else '?'}prefix={prefix}"

    async def refusing(self) -> dict[str, str]:
        for node in self._nodes():
            node.ask("ACL", "SETUSER", "reader", "on", ">sesame", "~*", "+@read", "+@connection", "+cluster|slots")
            node.ask("ACL", "SETUSER", "locked", "on", ">sesame", "~other:*", "+@all")

        def user(login: str) -> str:
            return self.url.replace(f"://:{PASSWORD}@", f"://{login}@")

        return {
            "wrong password": user("reader:open-sesame"),
            "wrong user": user("nobody-here:open-sesame"),
            "read-only": user("reader:sesame"),
            "other keys": user("locked:sesame"),
        }

    def _nodes(self) -> list[ValkeyNode]:
        if isinstance(self.group, ValkeyService):
            return [self.group.primary]
        return [*self.group.primaries]

    def _client(self) -> Any:
        port = self._nodes()[0].port
        kind = redis.Redis if isinstance(self.group, ValkeyService) else redis.RedisCluster
        return kind(host="127.0.0.1", port=port, password=PASSWORD)


class Mongo:
    name = "mongodb"
    secrets = NEEDLES

    def __init__(self, server: MongoServer) -> None:
        self.server = server

    async def place(self) -> str:
        return f"{self.server.url}?collection=payloads{uuid.uuid4().hex}&serverSelectionTimeoutMS=500"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        with self._client() as client:
            self._collection(client, url).update_one({"_id": id}, {"$set": {"data": data}})

    async def put_other(self, url: str) -> None:
        with self._client() as client:
            self._collection(client, url).insert_one({"_id": OTHER, "created": 1, "size": 1})
            self._collection(client, url).insert_one({"_id": 7, "created": 1, "size": 1})

    async def count(self, url: str) -> int:
        """How many documents there are."""
        with self._client() as client:
            return int(self._collection(client, url).count_documents({}))

    async def take_away(self, url: str, id: str) -> None:
        """Delete the one document with this id."""
        with self._client() as client:
            self._collection(client, url).delete_one({"_id": id})

    async def refusing(self) -> dict[str, str]:
        return {"name, read-only": f"{self.server.url}?collection=astray.payloads"}  # all that this server refuses

    def _client(self) -> Any:
        return MongoClient(self.server.url)

    @staticmethod
    def _collection(client: Any, url: str) -> Any:
        return client["envelope"][dict(_options(url))["collection"]]


class S3:
    name = "s3"
    secrets = NEEDLES

    def __init__(self, server: LocalStack) -> None:
        self.server = server
        self._bucket = f"payloads-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=self._bucket)

    async def place(self) -> str:
        return f"s3://{self._bucket}/payloads/{uuid.uuid4().hex}?{self.options}"

    @property
    def bucket(self) -> str:
        return self._bucket

    @property
    def options(self) -> str:
        return f"endpoint={self.server.endpoint}&region=us-east-1&addressing=path"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        self.client().put_object(Bucket=self._bucket, Key=self._prefix(url) + id, Body=data)

    async def put_other(self, url: str) -> None:
        for key in (OTHER, f"deeper/{'a' * 32}", "b" * 33):
            self.client().put_object(Bucket=self._bucket, Key=self._prefix(url) + key, Body=b"x")
        self.client().put_object(Bucket=self._bucket, Key=f"{'c' * 32}", Body=b"x")

    async def refusing(self) -> dict[str, str]:
        return {
            "missing": f"s3://astray-{uuid.uuid4().hex}?{self.options}",
            "no name": f"s3://No_Name!?{self.options}",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @staticmethod
    def _prefix(url: str) -> str:
        return unquote(urlsplit(url).path).strip("/") + "/"


class Gcs:
    name = "gs"
    secrets = NEEDLES
    says: ClassVar = {"missing": "the bucket does not exist", "no name": "its name, or the prefix, is not valid"}

    def __init__(self, server: GcsServer) -> None:
        self.server = server
        self._bucket = f"payloads_{uuid.uuid4().hex}"
        self._client = Client(
            project="-",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call,unused-ignore]
            client_options={"api_endpoint": server.endpoint},
        )
        self._client.create_bucket(self._bucket)

    async def place(self) -> str:
        return f"gs://{self._bucket}/{quote(f'päy loads/{uuid.uuid4().hex}')}?endpoint={self.server.endpoint}"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        self._put(self._prefix(url) + id, data)

    async def put_other(self, url: str) -> None:
        for name in (OTHER, f"deeper/{'a' * 32}", "b" * 33):
            self._put(self._prefix(url) + name, b"x")
        self._put("c" * 32, b"x")

    async def refusing(self) -> dict[str, str]:
        options = f"endpoint={self.server.endpoint}"
        return {"missing": f"gs://astray-{uuid.uuid4().hex}?{options}", "no name": f"gs://-astray-?{options}"}

    def _put(self, name: str, data: bytes) -> None:
        self._client.bucket(self._bucket).blob(name).upload_from_string(data)

    @staticmethod
    def _prefix(url: str) -> str:
        return unquote(urlsplit(url).path).strip("/") + "/"


class Azure:
    name = "azblob"
    secrets = NEEDLES
    says: ClassVar = {
        "missing": "the container does not exist",
        "no name": "the name of the container or the prefix is not valid",
    }

    def __init__(self, server: AzuriteServer) -> None:
        self.server = server
        CREDENTIALS.extend([server.key.encode(), base64.b64decode(server.key)])
        self._container = f"payloads-{uuid.uuid4().hex}"
        with self.client() as client:
            client.create_container()

    async def place(self) -> str:
        return self.url(f"{self._container}/{quote(f'päy loads/{uuid.uuid4().hex}')}")

    def url(self, path: str, account: str = AzuriteServer.account) -> str:
        """The URL of a container and prefix on this server."""
        return f"azblob://{account}/{path}?endpoint={self.server.endpoint}"

    async def overwrite(self, url: str, id: str, data: bytes) -> None:
        with self.client() as client:
            client.upload_blob(self._prefix(url) + id, data, overwrite=True)

    async def put_other(self, url: str) -> None:
        for name in (OTHER, f"deeper/{'a' * 32}", "b" * 33):
            await self.overwrite(url, name, b"x")
        with self.client() as client:
            client.upload_blob("c" * 32, b"x", overwrite=True)

    async def refusing(self) -> dict[str, str]:
        return {"missing": self.url(f"astray-{uuid.uuid4().hex}"), "no name": self.url("Astray_--x")}

    def client(self) -> ContainerClient:
        credential = AzureNamedKeyCredential(self.server.account, self.server.key)
        return ContainerClient(f"{self.server.endpoint}/{self.server.account}", self._container, credential=credential)

    @staticmethod
    def _prefix(url: str) -> str:
        return unquote(urlsplit(url).path).strip("/").partition("/")[2] + "/"


SERVED: dict[str, tuple[type[Server], type[Any]]] = {
    "azblob": (AzuriteServer, Azure),
    "gs": (GcsServer, Gcs),
    "mongodb": (MongoServer, Mongo),
    "postgresql": (PostgresServer, Postgres),
    "redis": (ValkeyServer, Valkey),
    "s3": (LocalStack, S3),
}
if find_program("mariadbd"):  # which no package for pip brings
    SERVED["mariadb"] = (MariaDbServer, MariaDb)
KINDS = ["file", "sqlite", *SERVED]
TOGETHER: dict[str, type[Any]] = {"redis+cluster": ValkeyCluster, "redis+sentinel": ValkeyService}
"""Groups of servers, for the conformance suites: whatever else is tested of Redis is tested of one server."""
OBJECT_STORES = ("azblob", "gs")
"""They are much alike. Where a test takes long, S3 stands for them."""
IN_EVERY_RUN = [pytest.param(kind, marks=[pytest.mark.nightly] if kind in OBJECT_STORES else []) for kind in KINDS]
"""`KINDS` as parameters."""
DURABLE = [kind for kind in SERVED if kind not in ("azblob", "s3")]
"""Whose servers keep what they have when they are killed."""
_FIXTURES = {
    "azblob": "azurite",
    "gs": "gcs_server",
    "mongodb": "mongo",
    "postgresql": "postgres",
    "redis": "valkey",
    "s3": "localstack",
}


class Stores:
    """Each kind of store, made with its server when it is asked for first.

    Args:
        request: of a fixture of the session.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._stack = ExitStack()
        self._made: dict[str, Harness] = {}

    def __getitem__(self, kind: str) -> Harness:
        if kind not in self._made:
            self._made[kind] = self._harness(kind)
        return self._made[kind]

    def close(self) -> None:
        self._stack.close()

    def _harness(self, kind: str) -> Harness:
        if kind in TOGETHER:
            self._request.getfixturevalue("valkey")  # or the test is skipped
            return ValkeysTogether(self._stack.enter_context(TOGETHER[kind]()))
        if kind in ("file", "sqlite"):
            folder = self._request.getfixturevalue("tmp_path_factory").mktemp(kind)
            return Files(folder) if kind == "file" else Sqlite(folder)
        server_type, harness_type = SERVED[kind]
        if kind in _FIXTURES:
            server = self._request.getfixturevalue(_FIXTURES[kind])
        else:
            server = self._stack.enter_context(self._request.getfixturevalue("run_server")(server_type()))
        harness: Harness = harness_type(server)
        return harness


def of_kind(kind: str) -> Callable[[Stores], Harness]:
    """For the conformance suite: the harness of this kind."""

    def take(stores: Stores) -> Harness:
        return stores[kind]

    return take


@contextmanager
def aws_environment() -> Iterator[None]:
    """LocalStack takes any credentials, Azurite the key of its account; the developer's own are never used."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        environment.setenv("AZURE_STORAGE_ACCOUNT", AzuriteServer.account)
        environment.setenv("AZURE_STORAGE_KEY", AzuriteServer.key)
        yield


def opened(url: str) -> PayloadStore:
    return parse_store_url(url).open()


async def listed(store: PayloadStore, before: float = 2.0**40) -> list[Any]:
    return [stored async for stored in store.list_before(before)]


def new_id() -> str:
    return os.urandom(16).hex()


def _options(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query)
