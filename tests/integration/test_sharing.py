"""Sharing in processes of their own, over a real KMS: what a cold start costs, and who a policy keeps out."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import hvac
import pytest
from devstack import OpenBao
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeConfig
from envelope_codec._facts import facts_of_key
from envelope_codec.cli.keystore.authentication import keep, make_auth_record
from envelope_codec.envelope import Purpose, kms_context
from envelope_codec.errors import KeyDenied
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.keystore_client import KeystoreClient
from tests.support.harness_vault import VaultHarness
from tests.support.kms_proxy import VAULT_THROTTLES, KmsProxy

ROOT = Path(__file__).parents[2]
WORKERS = 8


@pytest.fixture
def vault(openbao: OpenBao) -> Iterator[VaultHarness]:
    harness = VaultHarness(openbao)
    yield harness
    harness.close()


class Worker:
    """A process of the fleet."""

    def __init__(self, settings: Path) -> None:
        command = [sys.executable, "-m", "tests.support.sharing_process", str(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        assert self.read() == "ready"

    def seal(self) -> str:
        self.write("")
        return self.read()

    def open(self, sealed: list[str]) -> int:
        self.write(*sealed, "")
        return int(self.read())

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def write(self, *lines: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))

    def end(self) -> int:
        self._process.communicate("\n", timeout=60)
        return self._process.returncode


@contextmanager
def started(settings: Path) -> Iterator[list[Worker]]:
    with ThreadPoolExecutor(WORKERS) as threads:
        workers = list(threads.map(Worker, [settings] * WORKERS))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.end()


async def prepare(folder: Path, key: str) -> Path:
    """The settings of a fleet that shares, and what `envelope-codec keystore init` makes for it."""
    (folder / "keystore").mkdir()
    url = f"file://{folder}/keystore"
    key_sets = KeySets(EnvelopeConfig(key=key))
    key_set = key_sets.sealing("default")
    assert key_set is not None
    auth = make_auth_record("default", key_set)
    keystore = KeystoreClient(KeystoreUrl(url))
    await keep(keystore, [auth])
    await keystore.aclose()
    key_set.key.close()
    settings = folder / "envelope.toml"
    settings.write_text(f'key = "{key}"\nkeystore = "{url}"\nshare_wrapping_keys = true\nkeystore_auth = "{auth.id}"\n')
    return settings


async def test_a_cold_start_of_eight_workers_that_read_all_costs_few_unwraps(
    vault: VaultHarness, openbao: OpenBao, tmp_path: Path
) -> None:
    upstream = openbao.address.partition("://")[2]
    with KmsProxy(upstream, VAULT_THROTTLES).running() as proxy:
        uri = vault.create_key()
        settings = await prepare(tmp_path, uri.replace(upstream.replace(":", "%3A"), proxy.address.replace(":", "%3A")))
        before = proxy.unwraps
        assert before == 1  # that of the authentication record
        with started(settings) as workers, ThreadPoolExecutor(WORKERS) as threads:
            sealed = list(threads.map(Worker.seal, workers))
            opened = list(threads.map(lambda worker: worker.open(sealed), workers))
        assert opened == [WORKERS] * WORKERS
        records = {Payload.FromString(bytes.fromhex(one)).metadata["encryption-wrapped-key"] for one in sealed}
        assert len(records) == 1
        assert WORKERS < proxy.unwraps - before <= 2 * WORKERS + 8


@pytest.mark.parametrize("context", [{}, {"tenant": "t1"}])
def test_vault_keeps_a_role_from_making_shared_keys_by_the_policy_that_doctor_prints(
    vault: VaultHarness, openbao: OpenBao, context: dict[str, str]
) -> None:
    uri = vault.create_key()
    facts = facts_of_key(uri)
    assert facts is not None
    root = hvac.Client(url=openbao.address, token=openbao.token)
    key, bound = vault.open(uri), {**context, "temporal-namespace": "default"}
    policy = facts.keep_from_sharing(key.key_id, bound)
    root.sys.create_or_update_policy(urlsplit(uri).netloc, policy)
    for purpose, allowed in ((1, True), (2, True), (3, False)):
        for _ in range(3):
            asked = kms_context(Purpose(purpose), bound.items(), secrets.token_bytes(32))
            if allowed:
                key.wrap(bytes(32), asked)
            else:
                with pytest.raises(KeyDenied):
                    key.wrap(bytes(32), asked)
    with pytest.raises(KeyDenied):
        key.wrap(bytes(32), kms_context(Purpose(1), {**bound, "temporal-namespace": "other"}.items(), bytes(32)))
    key.close()
    root.session.close()


def test_vault_has_no_such_policy_where_a_name_sorts_before_the_purpose() -> None:
    facts = facts_of_key("hashivault://key")
    assert facts is not None
    assert not facts.keep_from_sharing("hashivault://key", {"area": "x", "temporal-namespace": "default"})
