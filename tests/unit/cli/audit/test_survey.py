"""An audit from its connection to its findings: what can't be used ends it, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.survey import run_audit
from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.storage.files import FileStore
from envelope_codec.testing import FakeKeystore, FakeKms
from tests.support.audited_payloads import under
from tests.support.audited_server import AuditedServer, Workflow
from tests.support.harness_stores import new_id

T0 = 1_700_000_000_000


class Connected(Connection):
    """A connection to a server that is a part of the test, or the reason why there is none."""

    def __init__(self, server: AuditedServer, failure: ConnectionFailed | None = None) -> None:
        super().__init__("temporal.test:7233", None, {})
        self.__dict__.update(server=server, failure=failure)

    async def open(self, seconds: float, **more: Any) -> Any:
        if self.__dict__["failure"] is not None:
            raise self.__dict__["failure"]
        return self.__dict__["server"].client()


async def audit(
    settings: EnvelopeConfig | None = None, failure: ConnectionFailed | None = None, *, importing: bool = False
) -> Findings:
    server = AuditedServer([Workflow("w", T0 - 2_000, T0 - 1_000, (under("OLD"),))])
    connection = Connected(server, failure)
    with Checkpoint(None, {}, T0) as known:
        return await run_audit(connection, "default", "", known, 0, 1_000, settings, importing=importing)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ConnectionFailed("refused"), "no connection to temporal.test:7233: refused"),
        (ConnectionFailed("", late=True), "no answer from temporal.test:7233"),
    ],
)
async def test_a_server_that_can_not_be_reached_is_named(failure: ConnectionFailed, text: str) -> None:
    with pytest.raises(Stopped) as stopped:
        await audit(failure=failure)
    assert str(stopped.value) == text


async def test_without_a_configuration_the_histories_alone_are_read() -> None:
    findings = await audit()
    assert {key.key_id for key in findings.whole.needs} == {"OLD"}
    assert (findings.stores, findings.imported) == ({}, None)


async def test_stored_payloads_are_counted_by_store(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}")
    await store.put(new_id(), under("STORED").SerializeToString())
    await store.close()
    findings = await audit(EnvelopeConfig(key=FakeKms(), storage=f"file://{tmp_path}"))
    [tally] = findings.stores.values()
    assert {key.key_id for key in tally.needs} == {"STORED"}


async def test_a_store_that_can_not_be_read_ends_the_audit(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"^the datastore .* can't be read: "):
        await audit(EnvelopeConfig(key=FakeKms(), storage=f"file://{tmp_path}/missing"))


async def test_a_keystore_that_can_not_be_used_ends_an_import_before_the_scan() -> None:
    keystore = FakeKeystore()
    keystore.down = True
    settings = EnvelopeConfig(key=FakeKms(), keystore=keystore)
    with pytest.raises(Stopped, match=r"^the keystore can't be used: "):
        await audit(settings, importing=True)


async def test_records_are_imported_only_when_asked_for() -> None:
    keystore = FakeKeystore()
    settings = EnvelopeConfig(key=FakeKms(), keystore=keystore)
    assert (await audit(settings)).imported is None
    assert keystore.kept == {}
    assert (await audit(settings, importing=True)).imported is not None
    assert len(keystore.kept) == 1
