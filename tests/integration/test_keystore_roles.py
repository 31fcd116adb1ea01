"""Each role of a keystore, with what `keystore ddl` gives it and nothing more, on servers that check permissions.

LocalStack checks none. The server of this repository for DynamoDB does once it is told to, and has an S3 as well. It
knows no resources of DynamoDB's, so that this policy is tried for all tables.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from devstack import DynamoDbServer
from sqlalchemy.engine import make_url

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.envelope import Purpose
from envelope_codec.errors import KmsUnavailable, StoreRefused
from envelope_codec.keys.draft import Draft
from envelope_codec.keystore import PROBE, Keystore, parse_keystore_url
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_role import NEEDED, Operation, Role, attempt
from envelope_codec.testing import FakeKms
from tests.support.harness_keystores import DynamoDb, Keystores
from tests.support.harness_stores import SERVED, aws_environment

KINDS = [kind for kind in ("postgresql", "mariadb", "redis") if kind in SERVED]
ONE_PERMISSION_TO_WRITE = ("redis", "dynamodb", "s3")
"""Where who may put a new row may replace one as well."""


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with aws_environment():
        yield


def opened(url: str) -> Any:
    return parse_keystore_url(url).open()


async def login(harness: Any, url: str, role: Role) -> str:
    """The URL for somebody new who has the permissions of this role alone."""
    grants, name = opened(url).grants(role), f"{role.value}_{uuid.uuid4().hex[:8]}"
    if harness.name == "redis":
        command = [word.replace("PASSWORD", "sesame") for word in shlex.split(grants)]
        command[2] = name
        with harness._client() as client:
            client.execute_command(*command)
        parts = urlsplit(url)
        return parts._replace(netloc=f"{name}:sesame@{parts.netloc}").geturl()
    made = f"CREATE USER {name} IDENTIFIED BY" if harness.name == "mariadb" else f"CREATE ROLE {name} LOGIN PASSWORD"
    await harness.execute(f"{made} 'sesame'", grants.replace(f"TO envelope_{role.value}", f"TO {name}"))
    return make_url(url).set(username=name, password="sesame").render_as_string(hide_password=False)


async def possible(keystore: Keystore, there: bytes, revision: str) -> tuple[set[Operation], str]:
    """What can be done in earnest, and the revision of the row that is there afterwards."""
    done = set[Operation]()
    try:
        await keystore.get(there)
        done.add(Operation.read)
    except StoreRefused:
        pass
    try:
        await keystore.put(os.urandom(32), b"new", None)
        done.add(Operation.create)
    except StoreRefused:
        pass
    try:
        revision = await keystore.put(there, os.urandom(8), revision)
        done.add(Operation.replace)
    except StoreRefused:
        pass
    try:
        assert [kept async for kept in keystore.rows()]
        done.add(Operation.list)
    except StoreRefused:
        pass
    return done, revision


async def attempted(keystore: Keystore) -> set[Operation]:
    """What is said to be possible."""
    done = set[Operation]()
    for operation in Operation:
        try:
            await attempt(keystore, operation)
        except StoreRefused as error:
            assert "ermission" in error.reason  # noqa: PT017 - each refusal is looked at
        else:
            done.add(operation)
    return done


async def keys_in(keystore: Keystore) -> set[bytes]:
    found = {kept.key async for kept in keystore.rows()}
    probe = await keystore.get(PROBE)
    return found | ({PROBE} if probe is not None else set())


def expected(kind: str, role: Role) -> set[Operation]:
    wanted = set(NEEDED[role])
    if Operation.create in wanted and kind in ONE_PERMISSION_TO_WRITE:
        wanted.add(Operation.replace)
    if Operation.read in wanted and kind not in ("redis", "dynamodb"):
        wanted.add(Operation.list)  # who may read one row may read all
    return wanted


@pytest.mark.parametrize("kind", KINDS)
async def test_each_role_can_do_what_it_needs_and_no_more_and_trying_leaves_nothing(
    kind: str, keystores: Keystores
) -> None:
    harness: Any = keystores[kind]
    url, there = await harness.place(), os.urandom(32)
    admin = opened(url)
    revision = await admin.put(there, b"a row", None)
    for role in Role:
        keystore = opened(await login(harness, url, role))
        before = await keys_in(admin)
        assert await attempted(keystore) == expected(kind, role), role
        assert await keys_in(admin) == before
        done, revision = await possible(keystore, there, revision)
        assert done == expected(kind, role), role
        await keystore.close()
    await admin.close()


def as_user(monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])


async def test_the_policies_of_aws_allow_each_role_what_it_needs_and_no_more(
    run_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_server(DynamoDbServer()) as server:
        how = {"endpoint_url": server.endpoint, "region_name": "us-east-1"}
        made: Any = boto3.session.Session()
        made.client("s3", **how).create_bucket(Bucket="rows")
        options = f"endpoint={server.endpoint}&region=us-east-1"
        urls = {"dynamodb": await DynamoDb(server).place(), "s3": f"s3://rows/wrapped?{options}&addressing=path"}
        iam, keys, kept = made.client("iam", **how), dict[Any, Any](), dict[str, tuple[bytes, str]]()
        for kind, url in urls.items():
            kept[kind] = os.urandom(32), ""
            for role in Role:
                policy = json.loads(opened(url).grants(role))
                if kind == "dynamodb":
                    policy["Statement"][0]["Resource"] = "*"
                name = f"{kind}-{role.value}"
                iam.create_user(UserName=name)
                iam.put_user_policy(UserName=name, PolicyName="rows", PolicyDocument=json.dumps(policy))
                keys[kind, role] = iam.create_access_key(UserName=name)["AccessKey"]
            kept[kind] = kept[kind][0], await opened(url).put(kept[kind][0], b"a row", None)
        heading = {"Content-Type": "text/plain"}  # from now on permissions are checked
        checking = urllib.request.Request(f"{server.endpoint}/moto-api/reset-auth", b"0", heading)
        (await asyncio.to_thread(urllib.request.urlopen, checking)).close()
        for (kind, role), key in keys.items():
            as_user(monkeypatch, key)
            keystore = opened(urls[kind])
            there, revision = kept[kind]
            assert await attempted(keystore) == expected(kind, role), (kind, role)
            done, revision = await possible(keystore, there, revision)
            kept[kind] = there, revision
            assert done == expected(kind, role), (kind, role)
            await keystore.close()


async def test_who_only_opens_needs_to_read_and_publishes_nothing(
    keystores: Keystores, caplog: pytest.LogCaptureFixture
) -> None:
    harness: Any = keystores["postgresql"]
    url = await harness.place()
    old, new = FakeKms("fakekms://old"), FakeKms("fakekms://new")
    draft = Draft(Purpose.WRAPPING_KEY, 1_700_000_000, {"temporal-namespace": "default"})
    moved, again = draft.wrap_by(old), draft.wrap_by(new)
    row = replace(publish(moved), verified=(*moved.recipients, *again.recipients))
    admin = opened(url)
    await admin.put(row.key, row.serialize(), None)
    reader = await login(harness, url, Role.open)
    keyring = EnvelopeConfig(key=new, keystore=reader, sealing=False).keyring()
    assert await keyring.opening_key(moved) == draft.key
    assert "publish failed" not in caplog.text
    keyring.close()
    keyring = EnvelopeConfig(key=new, keystore=reader, timeout=0.2).keyring()
    with pytest.raises(KmsUnavailable, match="the keystore"):
        await keyring.sealing_key("default")
    keyring.close()
    assert "publish failed: StoreRefused: permission on the table or the database is missing" in caplog.text
    assert "`envelope-codec keystore check` says" in caplog.text
    keyring = EnvelopeConfig(key=new, keystore=await login(harness, url, Role.seal)).keyring()
    await keyring.sealing_key("default")
    keyring.close()
    assert len(await keys_in(admin)) == 2
    await admin.close()


async def test_a_role_that_lacks_something_is_told_what_gives_it(
    keystores: Keystores, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    harness: Any = keystores["postgresql"]
    url = await harness.place()
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "localfile:///nowhere"\nkeystore = "{await login(harness, url, Role.open)}"\n')

    def check(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["keystore", "check", "--config", str(file), *more])
        return int(left.value.code or 0), *capsys.readouterr()

    status, printed, told = await asyncio.to_thread(check)
    assert status == 1
    assert "Enough to: open, export" in printed
    assert "not enough to seal: permission on the table" in told
    assert "GRANT SELECT, INSERT ON" in printed
    assert "sesame" not in printed + told
    assert (await asyncio.to_thread(check, "--for", "open"))[0] == 0
    admin = opened(url)
    assert await keys_in(admin) == set()
    await admin.close()
