"""A datastore is counted without a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envelope_codec.cli.audit import stored
from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.record_import import RecordImport
from envelope_codec.cli.audit.stored import count_store, count_stored
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.storage.files import FileStore
from envelope_codec.store import Stored
from envelope_codec.testing import FakeKeystore
from tests.support.audited_payloads import under
from tests.support.harness_stores import new_id


class Counter:
    done = 0

    def expect(self, doing: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        self.done += 1


async def test_all_payloads_of_the_namespace_are_counted(tmp_path: Path) -> None:
    store, watcher = FileStore(f"file://{tmp_path}"), Counter()
    for payload in (under("OLD"), under("OLD"), under("NEW")):
        await store.put(new_id(), payload.SerializeToString())
    tally = await count_store(store, frozenset(("default",)), watcher)
    await store.close()
    assert {key.key_id: need.payloads for key, need in tally.needs.items()} == {"OLD": 2, "NEW": 1}
    assert (tally.sources, watcher.done) == (3, 3)


async def test_what_is_larger_than_it_is_listed_is_counted_as_no_envelope(tmp_path: Path) -> None:
    class Lying(FileStore):
        async def list_before(self, before: float) -> AsyncIterator[Stored]:
            async for one in super().list_before(before):
                yield one._replace(size=10)

    store = Lying(f"file://{tmp_path}")
    await store.put(new_id(), under("OLD").SerializeToString())
    tally = await count_store(store, frozenset(("default",)), Counter())
    await store.close()
    assert (tally.sources, dict(tally.unreadable)) == (1, {"no envelope that can be read": 1})


@pytest.mark.parametrize("data", [b"\xff", b""])
def test_what_is_no_envelope_is_counted_apart(data: bytes) -> None:
    tally = count_stored(data, frozenset(("default",)))
    assert sum(tally.unreadable.values()) + sum(tally.foreign.values()) == 1


def test_another_namespace_does_not_count() -> None:
    data = under("OLD").SerializeToString()
    assert count_stored(data, frozenset(("other",))).needs == {}
    assert KeyVersion("OLD", "") in count_stored(data, frozenset(("other", "default"))).needs


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
async def test_each_is_counted_once_however_many_there_are(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_BATCH", 2)
    store, watcher = FileStore(f"file://{tmp_path}"), Counter()
    for _ in range(number):
        await store.put(new_id(), under("OLD").SerializeToString())
    tally = await count_store(store, frozenset(("default",)), watcher)
    await store.close()
    assert (tally.sources, tally.kinds["envelope"], watcher.done) == (number, number, number)


async def test_records_are_imported_as_they_are_found(tmp_path: Path) -> None:
    store, client = FileStore(f"file://{tmp_path}"), KeystoreClient(FakeKeystore())
    await store.put(new_id(), under("OLD").SerializeToString())
    added = []
    for namespace in ("other", "default"):
        importer = RecordImport(client)
        await count_store(store, frozenset((namespace,)), Counter(), importer)
        added.append(importer.imported.added)
    await store.close()
    await client.aclose()
    assert added == [0, 1], "of its own namespace alone"
