"""Whether an old master key can go: what histories need of it, and what the keystore has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli import main
from envelope_codec.cli.audit.command import INCOMPLETE, NEEDED, _status
from envelope_codec.cli.audit.need import MAX_IDS, Need
from envelope_codec.cli.audit.report import Report
from envelope_codec.cli.audit.rewrapped import Rewrapped, find_reasons, find_rewrapped, see_rewrapped
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.envelope import Recipient, build_record
from envelope_codec.keystore_row import KeystoreRow
from tests.support.audit_findings import findings, found
from tests.support.rewrapped_rows import LONG_AGO, Bench, imported, row_by

NOW = LONG_AGO + 30 * 86_400.0


class World(Bench):
    """Histories that need wrapping keys of the old master key, and a keystore with their rows."""

    def need(self, rows: Iterable[KeystoreRow]) -> Need:
        need = Need()
        for row in rows:
            need.add(build_record(row.head, row.id, [Recipient("fakekms://old", "", b"c")]), 2)
        return need

    async def see(self, need: Need, new: str = "fakekms://new", now: float = NOW) -> Rewrapped:
        config = EnvelopeConfig(key=self.new, decrypt_keys=(self.old,), keystore=self.keystore)
        return await find_rewrapped(self.keystore, config, new, frozenset({"fakekms://old"}), need, lambda: now)


def told(rewrapped: Rewrapped) -> str:
    return " / ".join(rewrapped.sentences(["archives"]))


async def test_it_can_go_once_the_new_key_has_opened_every_row() -> None:
    world = World()
    rows = [row_by(world.old, world.new) for _ in range(300)]
    world.keep(*rows, row_by(world.new))
    rewrapped = await world.see(world.need(rows))
    assert (rewrapped.keys, rewrapped.opened, rewrapped.is_complete) == (300, 300, True)
    assert "no history needs it but through the keystore: every one of 300 wrapping keys opens" in told(rewrapped)
    assert "archives" in told(rewrapped)
    assert world.old.unwraps == 0


async def test_rows_that_are_missing_or_lack_the_new_key_are_counted() -> None:
    world = World()
    rows = [row_by(world.old, world.new), row_by(world.old), row_by(world.old)]
    world.keep(*rows[:2])
    rewrapped = await world.see(world.need(rows))
    assert (rewrapped.opened, rewrapped.lacking, rewrapped.absent, rewrapped.is_complete) == (1, 1, 1, False)
    assert "not yet: 1 of 3 wrapping keys open" in told(rewrapped)
    assert "1 wrapping key have no row" in told(rewrapped) or "1 wrapping key has no row" in told(rewrapped)


async def test_what_names_the_new_key_and_does_not_open_is_told() -> None:
    world = World()
    row, other = row_by(world.old, world.new), row_by(world.new)
    wrong = replace(row, verified=(row.verified[0], other.verified[0]))
    world.keep(wrong)
    rewrapped = await world.see(world.need([row]))
    assert (rewrapped.opened, sum(rewrapped.failed.values()), rewrapped.is_complete) == (0, 1, False)
    world.new.denied = True
    rewrapped = await world.see(world.need([row]))
    assert list(rewrapped.failed) == ["the master key is disabled"]


async def test_an_imported_recipient_of_the_new_key_counts_if_it_opens() -> None:
    world = World()
    row = row_by(world.old, world.new)
    world.keep(imported(row))
    assert (await world.see(world.need([row]))).is_complete


async def test_a_planted_row_with_the_same_id_neither_helps_nor_hinders() -> None:
    world = World()
    row = row_by(world.old, world.new)
    planted = replace(row_by(world.new), id=row.id)
    world.keep(planted)
    assert not (await world.see(world.need([row]))).is_complete
    world.keep(row)
    rewrapped = await world.see(world.need([row]))
    assert rewrapped.is_complete
    assert not rewrapped.failed


async def test_direct_mode_young_keys_and_too_many_speak_against_it() -> None:
    world = World()
    row = row_by(world.old, world.new)
    world.keep(row)
    need = world.need([row])
    need.purposes["direct"] = 4
    assert "4 payloads in direct mode" in told(await world.see(need))
    assert "may still seal, until" in told(await world.see(world.need([row]), now=LONG_AGO + 3_600.0))
    world.keep(row_by(world.old, created=int(NOW)))
    assert "may still seal" in told(await world.see(world.need([row]))), "published, and in no history yet"
    need = world.need([row])
    need.ids |= {number.to_bytes(32, "big") for number in range(MAX_IDS)}
    assert "or more" in told(await world.see(need))


async def test_the_old_key_is_no_new_one() -> None:
    world = World()
    row = row_by(world.old)
    world.keep(row)
    assert (await world.see(world.need([row]), "fakekms://old")).lacking == 1


async def test_an_audits_tally_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "keystore").mkdir()
    create_key_file(tmp_path / "new.json")
    config = EnvelopeConfig(key=key_uri(tmp_path / "new.json"), keystore=f"file://{tmp_path}/keystore")
    row = row_by(World().old)
    whole = found("w", build_record(row.head, row.id, row.verified))
    rewrapped = await see_rewrapped(config, key_uri(tmp_path / "new.json"), frozenset({"fakekms://old"}), whole)
    assert (rewrapped.keys, rewrapped.absent) == (1, 1)


def test_it_decides_the_exit_status() -> None:
    row = row_by(World().old)
    record = build_record(row.head, row.id, row.verified)

    def status(rewrapped: Rewrapped, **more: Any) -> int:
        asked = ("fakekms://old",)
        report = Report(findings(found("w", record), **more), "a:1", "prod", "", asked, rewrapped=rewrapped)
        assert report.document()["rewrapped"] == rewrapped.document()
        return _status(report, asked)

    assert status(Rewrapped("new", keys=1, opened=1)) == 0
    assert status(Rewrapped("new", keys=1, opened=0)) == NEEDED
    assert status(Rewrapped("new", keys=1, opened=1), new=3) == INCOMPLETE


@pytest.mark.parametrize("options", [(), ("--fail-if-needed", "OLD")])
def test_it_goes_with_an_old_key_and_a_keystore(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["audit", "--address", "a:1", "--rewrapped-to", "NEW", *options])
    assert left.value.code == 2
    assert "--rewrapped-to" in capsys.readouterr().err


async def test_a_new_key_that_is_no_uri_and_in_no_row_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    monkeypatch.setenv("VAULT_TOKEN", "t")
    world = World()
    row = row_by(world.old, world.new)
    world.keep(row)
    rewrapped = await world.see(world.need([row]), "hashivault://billing")
    (reason,) = rewrapped.reasons
    assert reason.startswith("'hashivault://billing' can't be used as a key URI (no Vault address: set VAULT_ADDR")
    assert (await world.see(world.need([row]), "fakekms://new")).reasons == []


def test_payloads_of_temporals_proxy_speak_against_the_end_of_the_old_key() -> None:
    need = Need()
    need.add_proxied()
    assert find_reasons(need) == ["1 payload of Temporal's proxy: only the master key itself opens these"]
