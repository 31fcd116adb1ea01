"""The import of records into a keystore: nothing is lost there, and nothing replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.service import RPCError, RPCStatusCode

from envelope_codec.cli.audit import record_import
from envelope_codec.cli.audit.checkpoint import Checkpoint
from envelope_codec.cli.audit.record_import import Imported, RecordImport
from envelope_codec.cli.audit.scan import Scan
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.stored import count_stored
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.envelope import MAX_RECIPIENTS, Purpose, Recipient, Record, build_record
from envelope_codec.errors import StoreUnavailable
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_row import KeystoreRow, parse_row, row_key
from envelope_codec.testing import FakeKeystore
from tests.support.audited_payloads import record, sealed
from tests.support.audited_server import AuditedServer, Workflow

T0 = 1_700_000_000_000
OLD, NEW = record("OLD"), record("NEW")


class Importing:
    """An import into a keystore with faults."""

    def __init__(self) -> None:
        self.keystore = FakeKeystore()
        self.client = KeystoreClient(self.keystore)
        self.slept: list[float] = []
        self.importer = self.again()

    def again(self) -> RecordImport:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return RecordImport(self.client, sleep)

    async def put(self, *records: Record) -> Imported:
        for one in records:
            self.importer.note(one)
        await self.importer.flush()
        return self.importer.imported

    def row(self, its: Record) -> KeystoreRow:
        key = row_key(its)
        return parse_row(key, self.keystore.kept[key][0])


@pytest.fixture
async def importing() -> AsyncIterator[Importing]:
    made = Importing()
    yield made
    await made.client.aclose()


def with_recipients(its: Record, *recipients: Recipient) -> Record:
    return build_record(its.head, its.id, list(recipients))


async def test_a_record_becomes_a_row_for_which_nobody_vouches(importing: Importing) -> None:
    assert await importing.put(OLD, NEW) == Imported(added=2)
    assert (importing.row(OLD).verified, importing.row(OLD).imported) == ((), OLD.recipients)


async def test_a_record_that_was_noted_is_not_asked_for_again(importing: Importing) -> None:
    await importing.put(*[OLD] * 1_000)
    assert (importing.keystore.gets, importing.keystore.puts) == (1, 1)


async def test_a_second_import_changes_nothing(importing: Importing) -> None:
    await importing.put(OLD)
    importing.importer = importing.again()
    assert await importing.put(OLD) == Imported(known=1)
    assert importing.keystore.puts == 1


async def test_a_published_row_stays_and_gets_what_it_lacks(importing: Importing) -> None:
    key = row_key(OLD)
    importing.keystore.kept[key] = publish(OLD).serialize(), "1"
    both = with_recipients(OLD, Recipient("OLD", "", b"planted"), Recipient("OTHER", "", b"o"))
    assert await importing.put(both) == Imported(extended=1)
    assert importing.row(OLD).verified == OLD.recipients
    assert [one.key_id for one in importing.row(OLD).imported] == ["OTHER"]


async def test_direct_mode_is_never_imported(importing: Importing) -> None:
    assert await importing.put(record("OLD", purpose=Purpose.DATA_KEY)) == Imported()
    assert importing.keystore.gets == 0


async def test_recipients_without_room_are_counted(importing: Importing) -> None:
    for number in range(MAX_RECIPIENTS + 1):
        await importing.put(with_recipients(OLD, Recipient("OLD", "", b"%d" % number)))
    assert importing.importer.imported == Imported(added=1, extended=MAX_RECIPIENTS - 1, known=1, full=1)


async def test_what_is_no_row_is_left(importing: Importing) -> None:
    importing.keystore.kept[row_key(OLD)] = b"later", "1"
    assert await importing.put(OLD) == Imported(foreign=1)
    assert importing.keystore.kept[row_key(OLD)] == (b"later", "1")


async def test_made_up_records_do_not_fill_the_keystore(importing: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_import, "MAX_ROWS", 3)
    assert await importing.put(*(record("OLD", name=str(number)) for number in range(5))) == Imported(added=3, left=2)
    assert len(importing.keystore.kept) == 3


async def test_a_row_that_another_writes_meanwhile_is_read_again(importing: Importing) -> None:
    other, done = with_recipients(OLD, Recipient("OTHER", "", b"o")), list[int]()

    def write(operation: str) -> None:
        if operation == "put" and not done:
            done.append(1)
            importing.keystore.kept[row_key(OLD)] = publish(other).serialize(), "x"

    importing.keystore.before_call = write
    assert await importing.put(OLD) == Imported(extended=1)
    assert (importing.row(OLD).verified, importing.row(OLD).imported) == (other.recipients, OLD.recipients)


async def test_others_that_write_without_end_stop_it(importing: Importing) -> None:
    def write(operation: str) -> None:
        if operation == "put":
            revision = str(importing.keystore.puts)
            importing.keystore.kept[row_key(OLD)] = publish(record("OLD")).serialize(), f"x{revision}"

    other = with_recipients(OLD, Recipient("OTHER", "", b"o"))
    importing.keystore.before_call = write
    with pytest.raises(Stopped, match="others write to the same row of the keystore again and again"):
        await importing.put(other)


async def test_a_keystore_that_is_away_for_a_moment_is_asked_again(importing: Importing) -> None:
    left = [1, 1, 1]

    def fail(operation: str) -> None:
        if left:
            left.pop()
            raise StoreUnavailable("no answer", operation=operation)

    importing.keystore.before_call = fail
    assert await importing.put(OLD) == Imported(added=1)
    assert importing.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("fault", ["down", "refuses"])
async def test_a_keystore_that_stays_away_or_refuses_stops_it(importing: Importing, fault: str) -> None:
    importing.keystore.down = fault == "down"
    importing.keystore.refuses = {"put"}
    with pytest.raises(Stopped, match="a record can't be imported into the keystore"):
        await importing.put(OLD)
    assert bool(importing.slept) is (fault == "down"), "a refusal is not tried again"


class Silent:
    def expect(self, doing: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        pass


async def scan(server: AuditedServer, importer: RecordImport, path: Path | None = None) -> None:
    async def sleep(seconds: float) -> None:
        pass

    with Checkpoint(path, {"--import": "yes"}, T0) as checkpoint:
        watcher = cast(Watcher, Silent())
        await Scan(server.reader(), checkpoint, watcher, sleep=sleep, importer=importer).run()


def server(*records: Record) -> AuditedServer:
    made = AuditedServer(
        [
            Workflow("c", T0 - 9, T0 - 5, (sealed(records[0]),)),
            Workflow("o", T0 - 9, 0, (sealed(records[1]),)),
            Workflow("s", T0 + 9, 0, (sealed(records[2]),)),
        ]
    )
    made.schedules["s"] = sealed(records[3])
    return made


async def test_the_records_of_all_parts_are_imported(importing: Importing) -> None:
    records = [record("OLD", name=str(number)) for number in range(4)]
    await scan(server(*records), importing.importer)
    assert importing.keystore.kept.keys() == {row_key(one) for one in records}


async def test_a_window_whose_records_were_not_imported_is_read_again(importing: Importing, tmp_path: Path) -> None:
    records = [record("OLD", name=str(number)) for number in range(4)]
    importing.keystore.refuses = {"put"}
    with pytest.raises(Stopped):
        await scan(server(*records), importing.importer, tmp_path / "checkpoint")
    importing.keystore.refuses = set()
    await scan(server(*records), importing.again(), tmp_path / "checkpoint")
    assert importing.keystore.kept.keys() == {row_key(one) for one in records}


async def test_what_a_stopped_scan_had_imported_stays(importing: Importing, tmp_path: Path) -> None:
    records = [record("OLD", name=str(number)) for number in range(4)]
    of = server(*records)

    def fail(name: str, request: Any) -> None:
        if name == "list_schedules":
            raise RPCError("down", RPCStatusCode.UNAVAILABLE, b"")

    of.before = fail
    with pytest.raises(Stopped):
        await scan(of, importing.importer, tmp_path / "checkpoint")
    assert importing.keystore.kept.keys() == {row_key(one) for one in records[:2]}
    await scan(server(*records), importing.again(), tmp_path / "checkpoint")
    assert importing.keystore.kept.keys() == {row_key(one) for one in records}


def test_the_records_of_datastores_are_noted_for_their_namespaces_alone() -> None:
    noted: list[Record] = []
    data = sealed(OLD).SerializeToString()
    count_stored(data, frozenset(["other"]), noted.append)
    assert noted == []
    count_stored(data, frozenset(["default"]), noted.append)
    assert [one.id for one in noted] == [OLD.id]
