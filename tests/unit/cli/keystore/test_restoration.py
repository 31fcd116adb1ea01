"""A restoration: what is missing comes back, and what is there stays."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.cli.keystore.restoration import Restoration
from envelope_codec.keystore_change import add_verified, drop
from envelope_codec.keystore_row import KeystoreRow
from tests.support.rewrapped_rows import Bench, Nobody, imported, row_by


async def restored(bench: Bench, *rows: KeystoreRow) -> Restoration:
    restoration = Restoration(bench.keystore, Nobody())
    await restoration.run(rows)
    return restoration


def with_new(bench: Bench, row: KeystoreRow) -> KeystoreRow:
    return add_verified(row, bench.masters.move(row, row.verified[0]))


async def test_missing_rows_come_back_and_then_nothing_changes() -> None:
    bench = Bench()
    rows = [row_by(bench.old) for _ in range(40)]
    done = await restored(bench, *rows)
    assert (done.added, done.changed, done.same) == (40, 0, 0)
    before = dict(bench.keystore.kept)
    done = await restored(bench, *rows)
    assert (done.added, done.changed, done.same) == (0, 0, 40)
    assert bench.keystore.kept == before


async def test_a_row_that_is_there_gets_what_it_lacks_and_keeps_what_it_has() -> None:
    bench = Bench()
    saved = row_by(bench.old)
    now = with_new(bench, saved)
    shortened = drop(now, bench.old.key_id, now.verified[1])
    bench.keep(shortened)
    done = await restored(bench, saved)
    assert done.changed == 1
    assert bench.row(saved).verified == (now.verified[1], now.verified[0])


async def test_an_older_ciphertext_of_a_key_replaces_none() -> None:
    bench = Bench()
    saved = row_by(bench.old)
    later = replace(saved, verified=(replace(saved.verified[0], ciphertext=b"later"),))
    bench.keep(later)
    done = await restored(bench, saved)
    assert done.same == 1
    assert bench.row(saved) == later


async def test_imported_recipients_come_back_as_such() -> None:
    bench = Bench()
    row = row_by(bench.old)
    bench.keep(row)
    saved = imported(with_new(bench, row))
    await restored(bench, saved)
    assert [one.key_id for one in bench.row(row).imported] == [bench.new.key_id]
    assert bench.row(row).verified == row.verified


async def test_what_cannot_be_read_is_left() -> None:
    bench = Bench()
    row = row_by(bench.old)
    bench.keystore.kept[row.key] = b"\x02of a later version", "1"
    done = await restored(bench, row)
    assert done.failures.total() == 1
    assert bench.keystore.kept[row.key][0] == b"\x02of a later version"


async def test_others_may_write_meanwhile() -> None:
    bench = Bench()
    row = row_by(bench.old)
    now = with_new(bench, row)

    def publish(operation: str) -> None:
        if operation == "put":
            bench.keystore.before_call = lambda _: None
            bench.keep(now)

    bench.keystore.before_call = publish
    assert (await restored(bench, row)).same == 1
    assert bench.row(row) == now

    def bump(operation: str) -> None:
        if operation == "put":
            bench.keystore.kept[row.key] = bench.keystore.kept[row.key][0], str(bench.keystore.puts)

    bench.keep(row)
    bench.keystore.before_call = bump
    assert (await restored(bench, now)).failures.total() == 1
