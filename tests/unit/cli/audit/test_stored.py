"""A datastore is counted without a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli.audit.need import KeyVersion
from envelope_codec.cli.audit.stored import count_store, count_stored
from envelope_codec.storage.files import FileStore
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


@pytest.mark.parametrize("data", [b"\xff", b""])
def test_what_is_no_envelope_is_counted_apart(data: bytes) -> None:
    tally = count_stored(data, frozenset(("default",)))
    assert sum(tally.unreadable.values()) + sum(tally.foreign.values()) == 1


def test_another_namespace_does_not_count() -> None:
    data = under("OLD").SerializeToString()
    assert count_stored(data, frozenset(("other",))).needs == {}
    assert KeyVersion("OLD", "") in count_stored(data, frozenset(("other", "default"))).needs
