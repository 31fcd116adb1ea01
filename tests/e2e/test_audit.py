"""``envelope-codec audit`` on the real server: which master keys its histories need, and nothing is overlooked."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleIntervalSpec, ScheduleSpec
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from envelope_codec.cli import main
from tests.support.audited_census import Census, Key
from tests.support.harness_stores import Sqlite
from tests.support.server_records import eventually

NAMESPACES = ("retired", "moving", "stored", "census", "doubtful")
NEW_IN_TEMPORAL = {"activity.enableStandalone": "true", "nexusoperation.enableStandalone": "true"}
"""What the SDK can use and the dev server has switched off."""


class Told(NamedTuple):
    status: int
    printed: str
    complained: str

    @property
    def document(self) -> Any:
        return json.loads(self.printed)

    def key(self, key_id: str) -> Any:
        [found] = [key for key in self.document["keys"] if key["key_id"] == key_id]
        return found


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Key, Key]:
    return Key(tmp_path / "old.json"), Key(tmp_path / "new.json")


@pytest.fixture(scope="module")
def temporal_server(run_server: Any) -> Iterator[TemporalServer]:
    with run_server(TemporalServer(db=False, namespaces=NAMESPACES, dynamic_config=NEW_IN_TEMPORAL)) as server:
        yield server


@pytest.fixture
def audit(temporal_server: TemporalServer, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command, without waiting for visibility."""

    async def audit(namespace: str, *options: str) -> Told:
        capsys.readouterr()
        where = ["--address", temporal_server.address, "--namespace", namespace, "--wait", "0"]
        with pytest.raises(SystemExit) as left:
            await asyncio.to_thread(main, ["audit", *where, *options])
        return Told(int(left.value.code or 0), *capsys.readouterr())

    return audit


async def start(client: Client, *ids: str) -> None:
    for id in ids:
        await client.start_workflow("Unserved", "marigold", id=id, task_queue="none", memo={"m": 1})


async def end(client: Client, *ids: str) -> None:
    for id in ids:
        await client.get_workflow_handle(id).terminate()


async def listed(client: Client, query: str, count: int) -> None:
    async def is_listed() -> bool:
        return (await client.count_workflows(query)).count == count

    await eventually(is_listed, f"{count} workflows that meet {query!r}")


def schedule(workflow_id: str) -> Schedule:
    action = ScheduleActionStartWorkflow("Unserved", "marigold", id=workflow_id, task_queue="none", memo={"m": 1})
    return Schedule(action=action, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=30))]))


async def test_what_each_key_is_needed_for(
    audit: Any, connect: Any, keys: tuple[Key, Key], temporal_server: TemporalServer
) -> None:
    namespace, (old, new) = "retired", keys
    former, _ = await connect(old.uri, namespace=namespace)
    await start(former, "closed-1", "closed-2", "open-1")
    await end(former, "closed-1", "closed-2")
    await former.create_schedule("s", schedule("scheduled"), memo={"outer": 1})
    plain = await Client.connect(temporal_server.address, namespace=namespace)
    await start(plain, "clear-1")
    client, _ = await connect(new.uri, namespace=namespace)
    await start(client, "open-2")
    await listed(client, "", 5)

    told = await audit(namespace, "--json")
    assert (told.status, told.document["complete"]) == (0, True), told.complained
    found = told.key(old.id)
    assert (found["state"], told.key(new.id)["seals_now"]) == ("needed", True)
    parts = told.document["parts"]
    assert {name: part["keys"][0]["payloads"] for name, part in parts.items() if name == "closed"} == {"closed": 4}
    assert "schedules" in " ".join(found["verdict"])
    schedules_own = next(key for key in parts["open"]["keys"] if key["key_id"] == old.id)
    assert "temporal-sys-scheduler:s" in schedules_own["examples"], "the server's own workflow holds the action"
    assert told.document["clear_by_encoding"] == {"json/plain": 2}
    assert "clear-1" in told.document["first_in_clear"]

    assert (await audit(namespace, "--fail-if-needed", old.uri)).status == 3
    assert (await audit(namespace, "--fail-if-needed", old.id, "--query", "WorkflowId = 'open-2'")).status == 4
    lines = list(csv.DictReader(io.StringIO((await audit(namespace, "--csv")).printed)))
    assert {line["key_id"] for line in lines} == {old.id, new.id}


async def test_closed_totals_stay_while_others_come_and_go(
    audit: Any, connect: Any, keys: tuple[Key, Key], tmp_path: Path
) -> None:
    namespace, (old, new) = "moving", keys
    client, _ = await connect(old.uri, namespace=namespace)
    await start(client, *(f"before-{number}" for number in range(8)))
    await end(client, *(f"before-{number}" for number in range(4)))
    await listed(client, "", 8)
    await listed(client, "ExecutionStatus = 'Running'", 4)
    options = ("--json", "--checkpoint", str(tmp_path / "checkpoint"))
    first = (await audit(namespace, *options)).document
    await end(client, *(f"before-{number}" for number in range(4, 6)))
    await start(client, "after")
    await listed(client, "ExecutionStatus = 'Running'", 3)

    again = (await audit(namespace, "--json", "--as-of", first["as_of"])).document
    assert again["parts"]["closed"] == first["parts"]["closed"]
    assert [again["parts"][part]["read"] for part in ("closed", "open", "since")] == [4, 4, 1]
    assert (await audit(namespace, "--fail-if-needed", new.uri)).status == 0
    resumed = (await audit(namespace, *options)).document
    assert resumed["parts"]["closed"] == first["parts"]["closed"]
    told = await audit(namespace, *options, "--query", "WorkflowId = 'after'")
    assert told.status == 1
    assert "is the checkpoint of another audit, with another --query" in told.complained


async def test_datastores_are_read_where_they_are_configured(
    audit: Any, connect: Any, keys: tuple[Key, Key], tmp_path: Path
) -> None:
    namespace, (old, new) = "stored", keys
    store = await Sqlite(tmp_path).place()
    client, _ = await connect(old.uri, namespace=namespace, storage=store, storage_threshold=0)
    await start(client, "stored-1")
    await listed(client, "", 1)
    told = await audit(namespace, "--fail-if-needed", new.uri, "--json")
    assert told.status == 4
    assert any("datastores" in gap for gap in told.document["gaps"])
    file = tmp_path / "envelope.toml"
    (tmp_path / "rows").mkdir()
    file.write_text(
        f'key = "{new.uri}"\nstorage = "{store}"\nstorage_threshold = 0\nkeystore = "file://{tmp_path}/rows"\n'
    )
    options = ("--json", "--config", str(file), "--import", "--ask-kms", "--html", str(tmp_path / "report.html"))
    told = await audit(namespace, "--fail-if-needed", new.uri, *options)
    assert told.status == 0, told.document["gaps"]
    [name] = told.document["stores"]
    assert f"in the datastore {name}" in " ".join(told.key(old.id)["verdict"])
    assert "does not tell" in told.key(new.id)["kms"]
    assert f"in the datastore {name}" in (tmp_path / "report.html").read_text(encoding="utf-8")
    rows = told.document["imported"]["added"]
    assert rows == sum(version["wrapping_keys"] for version in told.key(old.id)["versions"]) > 0
    again = (await audit(namespace, *options)).document["imported"]
    assert (again["added"], again["known"]) == (0, rows), "a second import changes nothing"


async def test_every_corner_is_counted_under_its_key(
    audit: Any, connect: Any, tmp_path: Path, temporal_server: TemporalServer, name: str
) -> None:
    """Each has a key of its own, and holds a known number of payloads."""
    census = Census(connect, temporal_server.address, tmp_path, name)
    await census.fill()
    told = await audit("census", "--json")
    assert (told.status, told.document["gaps"]) == (4, [census.gap]), told.complained
    numbers = {key["key_id"]: sum(one["payloads"] for one in key["versions"]) for key in told.document["keys"]}
    assert {corner: numbers.pop(key.id, 0) for corner, key in census.keys.items()} == census.expected
    assert not numbers
    assert told.document["payloads"]["clear"] == census.clear
    assert told.document["foreign_by_encoding"] == {"binary/encrypted": 1}
    vouched = await audit(
        "census", "--foreign", "binary/encrypted", "--fail-if-needed", Key(tmp_path / "never.json").uri
    )
    assert vouched.status == 0, vouched.complained


async def test_a_number_as_division_hides_no_workflow(
    audit: Any, connect: Any, keys: tuple[Key, Key], name: str
) -> None:
    """Servers list standalone activities so. Whoever starts a workflow may choose any division."""
    old, _ = keys
    client, _ = await connect(old.uri, namespace="doubtful")
    division = SearchAttributeKey.for_keyword("TemporalNamespaceDivision")
    attributes = TypedSearchAttributes([SearchAttributePair(division, "3332429922")])
    await client.start_workflow("Unserved", 1, id=name, task_queue="none", search_attributes=attributes)
    await listed(client, "TemporalNamespaceDivision = '3332429922'", 1)
    assert (await audit("doubtful", "--fail-if-needed", old.uri)).status == 3
