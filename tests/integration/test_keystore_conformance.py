"""The suite that every keystore has to pass, over each keystore of this project and its real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envelope_codec.testing.keystore_conformance import KeystoreConformance
from tests.support.harness_keystores import of_kind
from tests.support.harness_stores import SERVED, aws_environment


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


class TestFiles(KeystoreConformance):
    harness_class = of_kind("file")


class TestSqlite(KeystoreConformance):
    harness_class = of_kind("sqlite")


class TestPostgresql(KeystoreConformance):
    harness_class = of_kind("postgresql")


@pytest.mark.skipif("mariadb" not in SERVED, reason="no mariadbd, which no package for pip brings")
class TestMariaDb(KeystoreConformance):
    harness_class = of_kind("mariadb")


class TestRedis(KeystoreConformance):
    harness_class = of_kind("redis")


class TestRedisCluster(KeystoreConformance):
    harness_class = of_kind("redis+cluster")


class TestRedisSentinel(KeystoreConformance):
    harness_class = of_kind("redis+sentinel")


class TestMongoDb(KeystoreConformance):
    harness_class = of_kind("mongodb")


class TestS3(KeystoreConformance):
    harness_class = of_kind("s3")


class TestDynamoDb(KeystoreConformance):
    harness_class = of_kind("dynamodb")
