"""The suite that every store has to pass, over each store of this project and its real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envelope_codec.testing.store_conformance import StoreConformance
from tests.support.harness_stores import SERVED, aws_environment, of_kind


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


class TestFiles(StoreConformance):
    harness_class = of_kind("file")


class TestSqlite(StoreConformance):
    harness_class = of_kind("sqlite")


class TestPostgresql(StoreConformance):
    harness_class = of_kind("postgresql")


@pytest.mark.skipif("mariadb" not in SERVED, reason="no mariadbd, which no package for pip brings")
class TestMariaDb(StoreConformance):
    harness_class = of_kind("mariadb")


class TestRedis(StoreConformance):
    harness_class = of_kind("redis")


class TestRedisCluster(StoreConformance):
    harness_class = of_kind("redis+cluster")


class TestRedisSentinel(StoreConformance):
    harness_class = of_kind("redis+sentinel")


class TestMongoDb(StoreConformance):
    harness_class = of_kind("mongodb")


class TestAzureBlobs(StoreConformance):
    harness_class = of_kind("azblob")


class TestGcs(StoreConformance):
    harness_class = of_kind("gs")


class TestS3(StoreConformance):
    harness_class = of_kind("s3")
