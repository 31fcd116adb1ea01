"""What only AWS KMS has, against LocalStack: aliases, replicas, roles, clients handed in; and forks and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from devstack import LocalStack

from envelope_codec.errors import ConfigurationError, InvalidCiphertext, KeyDenied
from envelope_codec.kms import WrappedSecret
from envelope_codec_aws import AwsKms
from tests.support.harness_aws import REGION, AwsHarness

SECRET = bytes(range(32))
CONTEXT = {"temporal-namespace": "shop", "envelope-codec:purpose": "wrapping-key"}
ROLE = "arn:aws:iam::000000000000:role/worker"


@pytest.fixture(scope="module")
def aws(localstack: LocalStack) -> Iterator[AwsHarness]:
    harness = AwsHarness(localstack)
    yield harness
    harness.close()


@pytest.fixture(scope="module")
def admin(aws: AwsHarness) -> Any:
    return aws.client()


def new_key(admin: Any, **options: Any) -> str:
    return str(admin.create_key(**options)["KeyMetadata"]["Arn"])


def new_alias(admin: Any, target: str) -> str:
    name = f"alias/test/{uuid.uuid4()}"
    admin.create_alias(AliasName=name, TargetKeyId=target)
    return f"{target.rpartition(':')[0]}:{name}"


def test_an_alias_is_resolved_and_recorded_as_the_arn_of_its_key(aws: AwsHarness, admin: Any) -> None:
    target = new_key(admin)
    alias = new_alias(admin, target)
    key = AwsKms(alias, endpoint=aws.endpoint)
    assert key.key_id == alias
    wrapped = key.wrap(SECRET, CONTEXT)
    assert (wrapped.key_id, wrapped.key_version) == (target, "")
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    key.close()


def test_what_was_wrapped_through_an_alias_opens_with_the_key_and_the_reverse(aws: AwsHarness, admin: Any) -> None:
    target = new_key(admin)
    by_arn = AwsKms(target, endpoint=aws.endpoint)
    by_alias = AwsKms(new_alias(admin, target), endpoint=aws.endpoint)
    assert by_alias.unwrap(by_arn.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET  # has wrapped nothing itself before
    assert by_arn.unwrap(by_alias.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    assert by_alias.accepts(target)
    assert not by_alias.accepts(new_key(admin))
    by_arn.close()
    by_alias.close()


def test_an_alias_pointed_at_another_key_seals_under_it_and_opens_both(aws: AwsHarness, admin: Any) -> None:
    first, second = new_key(admin), new_key(admin)
    alias = new_alias(admin, first)
    key = AwsKms(alias, endpoint=aws.endpoint)
    old = key.wrap(SECRET, CONTEXT)
    # The bare id, because LocalStack loses the key of an alias that is given the ARN.
    admin.update_alias(AliasName=alias.rpartition(":")[2], TargetKeyId=second.rpartition("/")[2])
    new = key.wrap(SECRET, CONTEXT)
    assert (old.key_id, new.key_id) == (first, second)
    assert key.accepts(first)
    assert key.accepts(second)
    assert [key.unwrap(wrapped, CONTEXT).secret for wrapped in (old, new)] == [SECRET, SECRET]
    key.close()


def test_what_an_alias_pointed_at_earlier_opens_by_its_account(aws: AwsHarness, admin: Any) -> None:
    first, second = new_key(admin), new_key(admin)
    account = first.split(":")[4]
    wrapped = AwsKms(first, endpoint=aws.endpoint).wrap(SECRET, CONTEXT)
    uri = f"awskms:///{new_alias(admin, second)}?endpoint={aws.endpoint}"
    strict, generous = AwsKms.from_uri(uri), AwsKms.from_uri(f"{uri}&decrypt_accounts=999999999999,{account}")
    elsewhere = AwsKms.from_uri(f"{uri}&decrypt_accounts=999999999999")
    assert not strict.accepts(first)
    assert not elsewhere.accepts(first)
    assert generous.accepts(first)
    assert generous.unwrap(wrapped, CONTEXT).secret == SECRET
    assert not generous.accepts(first.replace(REGION, "eu-west-1"))
    assert generous.wrap(SECRET, CONTEXT).key_id == second
    with pytest.raises(InvalidCiphertext):
        elsewhere.unwrap(wrapped, CONTEXT)
    for key in (strict, generous, elsewhere):
        key.close()


def test_an_alias_that_does_not_exist_is_a_refusal(aws: AwsHarness, admin: Any) -> None:
    target = new_key(admin)
    key = AwsKms(f"{target.rpartition(':')[0]}:alias/nobody-made-it", endpoint=aws.endpoint)
    with pytest.raises(KeyDenied):
        key.wrap(SECRET, CONTEXT)
    with pytest.raises(KeyDenied):
        key.accepts(target)
    key.close()


def test_a_replica_opens_what_the_primary_wrapped_and_the_reverse(aws: AwsHarness, admin: Any) -> None:
    primary = new_key(admin, MultiRegion=True)
    replica = str(
        admin.replicate_key(KeyId=primary, ReplicaRegion="eu-west-1")["ReplicaKeyMetadata"]["Arn"],
    )
    assert replica == primary.replace(REGION, "eu-west-1")
    here, there = AwsKms(primary, endpoint=aws.endpoint), AwsKms(replica, endpoint=aws.endpoint)
    alias = new_alias(aws.client("eu-west-1"), replica)
    there_by_alias = AwsKms(alias, endpoint=aws.endpoint)
    from_here, from_there = here.wrap(SECRET, CONTEXT), there.wrap(SECRET, CONTEXT)
    assert (from_here.key_id, from_there.key_id) == (primary, replica)
    for reader in (here, there, there_by_alias):
        for wrapped in (from_here, from_there):
            assert reader.accepts(wrapped.key_id)
            assert reader.unwrap(wrapped, CONTEXT).secret == SECRET
        reader.close()


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"temporal-namespace": "shop"},
        {**CONTEXT, "temporal-namespace": "bank"},
        {**CONTEXT, "more": "1"},
    ],
    ids=["none", "part of it", "other value", "more of it"],
)
def test_another_context_is_refused(context: dict[str, str], aws: AwsHarness, admin: Any) -> None:
    key = AwsKms(new_key(admin), endpoint=aws.endpoint)
    wrapped = key.wrap(SECRET, CONTEXT)
    with pytest.raises(InvalidCiphertext) as caught:
        key.unwrap(wrapped, context)
    assert "context" in str(caught.value)
    key.close()


def test_what_another_key_wrapped_is_bad_ciphertext_and_no_refusal(aws: AwsHarness, admin: Any) -> None:
    mine, other = (AwsKms(new_key(admin), endpoint=aws.endpoint) for _ in range(2))
    wrapped = other.wrap(SECRET, CONTEXT)
    with pytest.raises(InvalidCiphertext):
        mine.unwrap(wrapped, CONTEXT)
    with pytest.raises(InvalidCiphertext, match="another key"):
        mine.unwrap(WrappedSecret(mine.key_id, "", wrapped.ciphertext), CONTEXT)
    mine.close()
    other.close()


def test_a_role_is_assumed(aws: AwsHarness, admin: Any) -> None:
    options = {"sts_endpoint": aws.endpoint, "role": ROLE, "role_session_name": "worker-1", "external_id": "shop"}
    key = AwsKms.from_uri(aws.uri(new_key(admin), **options))
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    key.close()


def test_a_profile_gives_the_credentials(
    aws: AwsHarness, admin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text("[profile shop]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    key = AwsKms.from_uri(aws.uri(new_key(admin), profile="shop"))
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    key.close()


def test_a_client_handed_in_does_the_work_and_stays_open(
    aws: AwsHarness, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("kms", region_name=REGION, endpoint_url=aws.endpoint)
    asked: list[str] = []
    closed: list[str] = []
    client.meta.events.register("before-call.kms", lambda model, **_: asked.append(model.name))
    monkeypatch.setattr(client, "close", lambda: closed.append("closed"))
    key = AwsKms(new_alias(admin, new_key(admin)), client=client)
    assert key.accepts(key.wrap(SECRET, CONTEXT).key_id)
    assert not key.accepts(new_key(admin))
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    key.close()
    assert asked == ["Encrypt", "DescribeKey", "Encrypt", "Decrypt"]
    assert closed == []


def test_many_threads_may_use_one_key_at_once(aws: AwsHarness, admin: Any) -> None:
    key = AwsKms(new_alias(admin, new_key(admin)), endpoint=aws.endpoint)
    start = threading.Barrier(16)
    opened: list[bytes] = []

    def work(number: int) -> None:
        secret = bytes([number]) * 32
        start.wait()  # so that they also build the client together
        for _ in range(5):
            opened.append(secret if key.unwrap(key.wrap(secret, CONTEXT), CONTEXT).secret == secret else b"mixed up")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == sorted(bytes([number]) * 32 for number in range(16) for _ in range(5))
    key.close()


def run_python(script: str, *arguments: str, config: str = "/dev/null") -> subprocess.CompletedProcess[str]:
    """In a process of its own, because a fork of the test run would copy its threads' locks."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "AWS_CONFIG_FILE": config},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_child_has_a_client_of_its_own_and_the_parent_keeps_its_own(aws: AwsHarness) -> None:
    script = """
        import os, sys
        from envelope_codec.kms import master_key

        def sockets():
            found = set()
            for name in os.listdir("/proc/self/fd"):
                try:
                    found.add(os.readlink(f"/proc/self/fd/{name}"))
                except FileNotFoundError:
                    pass
            return {link for link in found if link.startswith("socket:")}

        key, context = master_key(sys.argv[1]), {"temporal-namespace": "shop"}
        wrapped = key.wrap(bytes(32), context)
        before = sockets()
        assert before, "the parent keeps no connection, so this shows nothing"
        child = os.fork()
        if child == 0:
            again = key.wrap(bytes(32), context)
            ok = key.unwrap(wrapped, context).secret == key.unwrap(again, context).secret == bytes(32)
            os._exit(0 if ok and sockets() - before else 1)
        assert os.waitpid(child, 0)[1] == 0, "child"
        assert key.unwrap(wrapped, context).secret == bytes(32)
        assert sockets() == before, "the parent had to connect again"
    """
    done = run_python(script, aws.create_key())
    assert done.returncode == 0, done.stderr


def test_a_child_forked_while_a_thread_fetches_credentials_is_not_stuck(aws: AwsHarness, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    (tmp_path / "credentials.sh").write_text(
        f"touch {started}\n"
        f"while [ ! -e {go} ]; do sleep 0.02; done\n"
        'echo \'{"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "test"}\'\n'
    )
    (tmp_path / "config").write_text(f"[profile slow]\ncredential_process = sh {tmp_path}/credentials.sh\n")
    script = """
        import os, pathlib, signal, sys, threading, time
        from envelope_codec.kms import master_key

        key, context = master_key(sys.argv[1]), {"temporal-namespace": "shop"}
        started, go = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
        thread = threading.Thread(target=key.wrap, args=(bytes(32), context))
        thread.start()
        while not started.exists():
            time.sleep(0.01)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            go.touch()
            os._exit(0 if key.unwrap(key.wrap(bytes(32), context), context).secret == bytes(32) else 1)
        assert os.waitpid(child, 0)[1] == 0, "child"
        thread.join()
        assert key.wrap(bytes(32), context).ciphertext
    """
    arn = aws.create_key().partition("///")[2].partition("?")[0]
    done = run_python(script, aws.uri(arn, profile="slow"), str(started), str(go), config=str(tmp_path / "config"))
    assert done.returncode == 0, done.stderr


def test_a_key_re_encrypts_for_another_one_of_its_region(aws: AwsHarness, admin: Any) -> None:
    old, new = (AwsKms(new_key(admin), endpoint=aws.endpoint) for _ in range(2))
    wrapped = old.wrap(SECRET, CONTEXT)
    made = old.rewrap_to(new, wrapped, CONTEXT)
    assert made.key_id == new.key_id
    assert new.unwrap(made, CONTEXT).secret == SECRET
    for other in ({**CONTEXT, "temporal-namespace": "other"}, {}):
        with pytest.raises(InvalidCiphertext):
            old.rewrap_to(new, wrapped, other)
    with pytest.raises(InvalidCiphertext):
        new.rewrap_to(old, wrapped, CONTEXT)
    elsewhere = AwsKms(new.key_id.replace(REGION, "eu-west-1"), endpoint=aws.endpoint)
    with pytest.raises(ConfigurationError, match="within one region"):
        old.rewrap_to(elsewhere, wrapped, CONTEXT)
    with pytest.raises(ConfigurationError, match="another key of AWS KMS"):
        old.rewrap_to(object(), wrapped, CONTEXT)
    admin.disable_key(KeyId=old.key_id)
    with pytest.raises(KeyDenied):
        old.rewrap_to(new, wrapped, CONTEXT)
