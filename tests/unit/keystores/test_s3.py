"""Keystores in S3: whether a server compares and permits is asked of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from envelope_codec.errors import StoreRefused
from envelope_codec.keystore import RowConflict
from envelope_codec.keystore_role import Operation, attempt
from envelope_codec.keystores import s3 as s3_module
from envelope_codec.keystores.s3 import S3Keystore
from tests.support.s3_objects import S3Objects


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Objects]:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with S3Objects().running() as running:
        yield running


@asynccontextmanager
async def opened(endpoint: str = "") -> AsyncIterator[S3Keystore]:
    keystore = S3Keystore("s3://rows/of?addressing=path" + (f"&endpoint={endpoint}" if endpoint else ""))
    try:
        yield keystore
    finally:
        await keystore.close()


async def test_a_server_that_compares_serves(server: S3Objects) -> None:
    async with opened(server.endpoint) as keystore:
        await keystore.check()
        first = await keystore.put(bytes(32), b"one", None)
        await keystore.put(bytes(32), b"two", first)
        with pytest.raises(RowConflict):
            await keystore.put(bytes(32), b"three", first)


@pytest.mark.parametrize("heeded", ["if-match", "if-none-match"])
async def test_a_server_that_ignores_a_condition_is_refused(server: S3Objects, heeded: str) -> None:
    server.heeds = {heeded}
    async with opened(server.endpoint) as keystore:
        with pytest.raises(StoreRefused, match="without comparing"):
            await keystore.check()


async def test_so_is_one_that_the_environment_names(server: S3Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    server.heeds = {"if-match"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    async with opened() as keystore:
        with pytest.raises(StoreRefused, match="without comparing"):
            await keystore.check()


@pytest.mark.parametrize("is_amazon", [True, False])
@pytest.mark.parametrize("operation", [Operation.create, Operation.replace])
async def test_a_permission_that_is_missing_is_found(
    server: S3Objects, monkeypatch: pytest.MonkeyPatch, operation: Operation, is_amazon: bool
) -> None:
    monkeypatch.setattr(s3_module, "is_amazon", lambda _: is_amazon)
    async with opened(server.endpoint) as keystore:
        await attempt(keystore, operation)
        server.takes_writes = False
        with pytest.raises(StoreRefused) as caught:
            await attempt(keystore, operation)
        assert not isinstance(caught.value, RowConflict)
