"""New key material under the same master key, while workflows run: nobody restarts, nothing fails, all of it opens."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from envelope_codec.cli import main
from tests.support.real_master_keys import PROVIDERS, RealKms, quick_temporal, real_kms
from tests.support.signalled_workflows import (
    IMPATIENT,
    Carry,
    Letters,
    Office,
    Post,
    events_of,
    records_in,
    sealed_record,
    troubles,
    version_of,
)
from tests.support.small_workflow_load import Failures

MAX_AGE = 1.0  # seconds

servers = pytest.fixture(scope="module")(real_kms)
temporal_server = pytest.fixture(scope="module")(quick_temporal)


def rotate(servers: RealKms, provider: str, uri: str) -> None:
    """As the operator does it."""
    if provider == "local":
        path = unquote(uri.removeprefix("localfile://"))
        command = [sys.executable, "-m", "envelope_codec.cli", "keygen", path, "--rotate"]
        subprocess.run(command, check=True, capture_output=True)
    else:
        servers[provider].rotate(uri)


def inspected(history: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The versions of each master key that ``envelope-codec inspect`` says a history needs."""
    file = folder / "history.json"
    file.write_text(history, "utf-8")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["inspect", "--json", str(file)])
    keys = json.loads(capsys.readouterr().out)["summary"]["keys"]
    return {key["key_id"]: key["key_versions"] for key in keys}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_rotation_while_workflows_run(
    provider: str,
    servers: RealKms,
    connect: Any,
    plain: Client,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, office, failures = servers.create_key(provider), Office(), Failures()
    first, then = ("1", "2") if servers[provider].tells_versions else ("", "")
    renewing, _ = await connect(uri, max_age=MAX_AGE, observer=failures, **IMPATIENT)
    told, plugin = await connect(uri, observer=failures, **IMPATIENT)
    letters, enough = Letters(name, [renewing, told], workflows=3), asyncio.Event()
    async with office.worker(renewing, name, "renewing"), office.worker(told, name, "told"):
        await letters.write()
        await letters.arrived()
        writing = asyncio.ensure_future(letters.write_until(enough))
        old = {id(client): await sealed_record(client) for client in (renewing, told)}
        assert {version_of(record) for record in old.values()} == {first}

        await asyncio.to_thread(rotate, servers, provider, uri)
        rotated = time.monotonic()
        before = await sealed_record(told)
        assert before.id == old[id(told)].id, "a wrapping key serves on until it is renewed"
        await plugin.keyring.renew()
        after = await sealed_record(told)
        assert after.id != before.id
        assert version_of(after) == then

        while True:  # from MAX_AGE on at the latest, whatever is sealed is under the new version
            asked = time.monotonic()
            record = await sealed_record(renewing)
            if record.id != old[id(renewing)].id and version_of(record) == then:
                break
            assert asked < rotated + MAX_AGE
            await asyncio.sleep(0.02)

        await letters.more(2)
        enough.set()
        await asyncio.wait_for(writing, 60)
        await letters.end()

    stored = await events_of(plain, letters.all_ids)
    assert troubles(stored) == []
    assert failures == []
    assert set(office.stamped.values()) == {1}
    records = records_in(stored)
    assert {version_of(record) for record in records} == {first, then}
    assert {before.id, after.id} <= {record.id for record in records}
    cold, fresh = await connect(uri)
    replayer = Replayer(
        workflows=[Post, Carry], plugins=[fresh], namespace="default", workflow_runner=UnsandboxedWorkflowRunner()
    )
    histories = [await plain.get_workflow_handle(one).fetch_history() for one in letters.ids]
    for history in histories:
        await replayer.replay_workflow(history)
    assert await cold.get_workflow_handle(letters.ids[0]).result() == letters.delivered(letters.ids[0])
    shown = inspected(histories[0].to_json(), tmp_path, capsys)
    assert shown == {servers.key_id(uri): [one for one in (first, then) if one]}
