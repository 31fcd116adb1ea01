"""A master key of AWS is retired for one of Vault, on real servers."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from devstack import PostgresServer
from temporalio.api.common.v1 import Payload

from envelope_codec import EnvelopeCodec, EnvelopeConfig, EnvelopeError
from envelope_codec.cli import main
from envelope_codec.keystores.sql import SqlKeystore
from tests.support.harness_keystores import SERVED_BY
from tests.support.real_master_keys import RealKms, real_kms

kms = pytest.fixture(scope="module")(real_kms)

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a text"')


@pytest.fixture
def keystore(tmp_path: Path) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path}/keystore.db"
    with sqlite3.connect(tmp_path / "keystore.db") as database:
        database.executescript(SqlKeystore(url).ddl)
    database.close()
    return url


@pytest.fixture
def configure(tmp_path: Path, keystore: str) -> Callable[[str, str], str]:
    """Write the settings of readers, and return the path of the file."""

    def write(key: str, decrypt_key: str) -> str:
        file = tmp_path / "envelope.toml"
        file.write_text(f'key = "{key}"\ndecrypt_keys = ["{decrypt_key}"]\nkeystore = "{keystore}"\n')
        return str(file)

    return write


async def command(*arguments: str) -> int:
    """Exit status of ``envelope-codec`` with these arguments."""

    def run() -> int:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        return int(left.value.code or 0)

    return await asyncio.to_thread(run)


async def test_what_aws_sealed_opens_with_vault_once_the_key_of_aws_is_gone(
    kms: RealKms, keystore: str, configure: Callable[[str, str], str], tmp_path: Path
) -> None:
    old, new = kms.create_key("aws"), kms.create_key("vault")
    settings = configure(new, old)
    sealed = []
    for namespace in ("billing", "orders", "billing"):
        writer = EnvelopeCodec(EnvelopeConfig(key=old, keystore=keystore), namespace=namespace)
        sealed.append((namespace, await writer.encode([PLAIN])))
        writer.close()
    names = ("--from", kms.key_id(old), "--to", new, "--config", settings)
    assert await command("rewrap", "-y", *names) == 0
    backup = str(tmp_path / "backup")
    assert await command("keystore", "export", backup, "--config", settings) == 0
    assert await command("rewrap", "-y", "--drop-old", "--backup", backup, *names) == 0
    kms["aws"].disable(old)
    kms["aws"].schedule_deletion(old)
    for namespace, payloads in sealed:
        reader = EnvelopeCodec(EnvelopeConfig(key=new, keystore=keystore), namespace=namespace)
        assert await reader.decode(payloads) == [PLAIN]
        reader.close()
        without = EnvelopeCodec(EnvelopeConfig(key=new), namespace=namespace)
        with pytest.raises(EnvelopeError):
            await without.decode(payloads)
        without.close()


async def test_a_key_that_readers_lack_or_that_is_denied_changes_nothing(
    kms: RealKms, keystore: str, configure: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, other = kms.create_key("aws"), kms.create_key("vault"), kms.create_key("vault")
    settings = configure(other, old)
    writer = EnvelopeCodec(EnvelopeConfig(key=old, keystore=keystore), namespace="billing")
    await writer.encode([PLAIN])
    writer.close()
    names = ("--from", old, "--to", new, "--config", settings)
    assert await command("rewrap", "-y", *names) == 1
    assert "In namespace billing, readers can't unwrap" in capsys.readouterr().out
    kms["vault"].disable(new)
    assert await command("rewrap", "-y", *names) == 1
    assert "In namespace billing, the new master key can't wrap" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.nightly)])
async def test_passes_that_are_killed_over_postgresql_end_the_same(
    times: int, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Several times both passes, each killed at a random moment."""
    await SERVED_BY["postgresql"](postgres).execute(*SqlKeystore(postgres.url).ddl.rstrip().rstrip(";").split(";"))
    command = [sys.executable, "-m", "tests.support.rewrap_killed", str(tmp_path), postgres.url, str(times)]
    run = partial(subprocess.run, command, capture_output=True, text=True, timeout=590, cwd=Path(__file__).parents[2])
    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 0, f"some were killed: {done.stdout}"
