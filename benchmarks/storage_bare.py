"""What a program without this library would do: each store's own client, asked for the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Bare(NamedTuple):
    """A client library at work.

    Attributes:
        put: stores bytes under an id.
        get: reads them.
        close: ends it.
    """

    put: Callable[[str, bytes], Coroutine[Any, Any, Any]]
    get: Callable[[str], Coroutine[Any, Any, bytes]]
    close: Callable[[], Coroutine[Any, Any, Any]]


async def bare(kind: str, url: str, at_once: int) -> Bare:
    """The library behind the store at ``url``, with as many connections as calls are made at once."""
    makers = {"file": _file, "redis": _redis, "mongodb": _mongodb, "s3": _s3}
    return await makers.get(kind, _sqlalchemy)(url, at_once)


async def _file(url: str, at_once: int) -> Bare:
    folder = Path(unquote(urlsplit(url).path))

    def put(id: str, data: bytes) -> None:
        fresh, path = folder / f".{id}", folder / id
        with fresh.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    async def close() -> None:
        pass

    return Bare(
        lambda id, data: asyncio.to_thread(put, id, data),
        lambda id: asyncio.to_thread((folder / id).read_bytes),
        close,
    )


async def _sqlalchemy(url: str, at_once: int) -> Bare:
    from sqlalchemy import Column, LargeBinary, MetaData, String, Table, insert, select
    from sqlalchemy.engine import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    parsed = make_url(url).set(query={})
    engine = create_async_engine(parsed, isolation_level="AUTOCOMMIT", pool_size=at_once)
    metadata = MetaData()
    table = Table("bare", metadata, Column("id", String(32), primary_key=True), Column("data", LargeBinary(2**30)))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)

    async def put(id: str, data: bytes) -> None:
        async with engine.connect() as connection:
            await connection.execute(insert(table).values(id=id, data=data))

    async def get(id: str) -> bytes:
        async with engine.connect() as connection:
            data: bytes = (await connection.execute(select(table.c.data).where(table.c.id == id))).scalar_one()
            return data

    return Bare(put, get, engine.dispose)


async def _redis(url: str, at_once: int) -> Bare:
    import redis.asyncio

    client: Any = redis.asyncio.Redis.from_url(url.partition("?")[0], max_connections=at_once)

    async def get(id: str) -> bytes:
        data: bytes = await client.get(id)
        return data

    return Bare(client.set, get, client.aclose)


async def _mongodb(url: str, at_once: int) -> Bare:
    from pymongo import AsyncMongoClient

    client: Any = AsyncMongoClient(url.partition("?")[0], maxPoolSize=at_once)
    collection = client["envelope"]["bare"]

    async def get(id: str) -> bytes:
        return bytes((await collection.find_one({"_id": id}))["data"])

    return Bare(lambda id, data: collection.insert_one({"_id": id, "data": data}), get, client.close)


async def _s3(url: str, at_once: int) -> Bare:
    import boto3
    from botocore.config import Config

    endpoint = parse_qs(urlsplit(url).query)["endpoint"][0]
    config = Config(max_pool_connections=at_once, s3={"addressing_style": "path"})
    client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
    threads, bucket = ThreadPoolExecutor(at_once), urlsplit(url).netloc

    def in_thread(work: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        async def run() -> Any:
            return await asyncio.get_running_loop().run_in_executor(threads, work)

        return run()

    async def close() -> None:
        threads.shutdown()
        client.close()

    return Bare(
        lambda id, data: in_thread(lambda: client.put_object(Bucket=bucket, Key=id, Body=data)),
        lambda id: in_thread(lambda: client.get_object(Bucket=bucket, Key=id)["Body"].read()),
        close,
    )
