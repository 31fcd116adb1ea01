"""The chapters of the demo of re-keying: each does something, looks whether it is so, and says what it measured."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

from temporalio.client import WorkflowHistory

from envelope_codec.cli.demo.rekey_story import Opened, Story, fingerprints, sealed_in
from envelope_codec.cli.demo.report import Report
from envelope_codec.cli.demo.tool import Ended, codec_server, run_on_terminal, run_tool
from envelope_codec.errors import KeyDenied, KeyNotConfigured
from envelope_codec.kms import master_key

PROCESSES = 10
"""How many seal, each under wrapping keys of its own."""

_LATER = 20
_COLUMNS = 60
"""Of the terminal whose picture is taken: so that it can be read on a telephone."""


class Broken(Exception):
    """Something did not go as it must. The text says what."""


class Chapters:
    """The chapters, told in their order.

    Args:
        story: does the work.
        report: is printed.
        save: a folder for what the audits print; None if that is not wanted.

    Attributes:
        commands: that were run, in words.
    """

    def __init__(self, story: Story, report: Report, save: Path | None) -> None:
        self._story, self._report, self._save = story, report, save
        self._old_id, self._new_id = (_key_id(uri) for uri in (story.old, story.new))
        self._histories: dict[str, WorkflowHistory] = {}
        self._before: dict[str, str] = {}
        self._open_ids: list[str] = []
        self._sealed_at = 0.0
        self.commands: list[str] = []

    async def seal(self, workflows: int) -> None:
        """Make a keystore, and seal workflows under OLD."""
        story, report = self._story, self._report
        report.heading(f"1. {workflows} workflows are sealed under OLD, and their wrapping keys kept in a keystore")
        self._sealing = story.write_settings("old.toml", story.old)
        self._moving = story.write_settings("envelope.toml", story.new, story.old)
        self._restored = story.write_settings("restored.toml", story.new, keystore="restored.db")
        self._cold = story.write_settings("cold.toml", story.new)
        with report.step("keystore") as remark:
            for settings, database in ((self._sealing, "keystore.db"), (self._restored, "restored.db")):
                ended = _well("keystore ddl", await run_tool("keystore", "ddl", "--config", str(settings)))
                await asyncio.to_thread(_run_sql, story.folder / database, ended.printed)
            remark("a SQLite file, with the table of envelope-codec keystore ddl")
        ids = [f"order-{number}" for number in range(workflows)]
        waiting = workflows // 50
        with report.step("workflows") as remark:
            self._open_ids = await story.seal(self._sealing, ids, waiting=waiting, processes=PROCESSES)
            self._sealed_at = time.time()
            remark(f"{workflows - waiting} ended, {waiting} wait; sealed by {PROCESSES} processes")
        with report.step("histories, fetched raw") as remark:
            self._histories = await story.fetch(ids)
            self._before = fingerprints(self._histories)
            events = sum(len(one.events) for one in self._histories.values())
            remark(f"{len(self._histories)} histories, {events:,} events, {self._payloads:,} payloads, each hashed")

    async def audit_before(self) -> None:
        """Ask which master keys are needed."""
        self._report.heading("2. Which master keys do histories need?")
        page = self._story.folder / "audit-before.html"
        await self._run(*self._audit, "--html", str(page), saved_as="audit-before")
        if not page.exists():
            raise Broken("the audit has left no page")

    async def move(self, max_age: float) -> None:
        """Seal under NEW from now on, re-wrap to NEW what is under OLD, and back the keystore up."""
        self._report.heading("3. The fleet seals under NEW, and OLD only opens. Then rewrap, and a backup")
        with self._report.step("other workflows") as remark:
            ids = [f"later-{number}" for number in range(_LATER)]
            await self._story.seal(self._moving, ids, waiting=0, processes=2)
            remark(f"{_LATER}, sealed under NEW")
        with self._report.step("wait for max_age") as remark:
            await asyncio.sleep(max(0, self._sealed_at + max_age + 1 - time.time()))
            remark(f"no wrapping key under OLD seals any more ({max_age:g} s here, 24 h by default)")
        names = ("--from", self._old_id, "--to", self._new_id, "--config", str(self._moving))
        await self._run("rewrap", *names, "-y")
        await self._run("keystore", "export", str(self._backup), "--config", str(self._moving))
        await self._run("keystore", "import", str(self._backup), "--config", str(self._restored))
        with self._report.step("a trial of the backup") as remark:
            decoded = await self._story.decode(self._restored, self._histories.values())
            _expect(decoded.number == self._payloads, f"with the backup, {decoded.number} payloads open")
            remark(f"{decoded.number:,} payloads open with NEW and what was restored")
        await self._run(*self._gate)

    async def drop_old(self) -> None:
        """Take OLD out of the keystore."""
        names = ("--from", self._old_id, "--to", self._new_id, "--config", str(self._moving))
        await self._run("rewrap", *names, "--drop-old", "--backup", str(self._backup), "-y")

    async def retire(self, take_away: Callable[[], str]) -> None:
        """Take OLD away, and see that it opens nothing any more."""
        self._report.heading("4. OLD is disabled, and scheduled for deletion")
        with self._report.step("AWS KMS") as remark:
            remark(await asyncio.to_thread(take_away))
        with self._report.step("a trial") as remark:
            gone = self._story.write_settings("old-alone.toml", self._story.old, keystore="")
            error, _ = await self._story.fail_to_open(gone, self._first)
            _expect(isinstance(error, KeyDenied), f"OLD does not refuse, but says: {error}")
            remark(f"OLD opens nothing: {type(error).__name__}: {error}")

    async def audit_after(self) -> None:
        """Ask again which master keys are needed, and whether NEW opens all that names OLD."""
        self._report.heading("5. What does the audit say now?")
        await self._run(*self._gate, saved_as="audit-after")

    async def open_all(self, port: int, ui: str, stack: AsyncExitStack) -> None:
        """Open everything with NEW and the keystore alone. ``stack`` ends the codec server."""
        story, report, histories = self._story, self._report, self._histories.values()
        report.heading("6. With NEW and the keystore alone, and no key at hand")
        with report.step("histories, unchanged") as remark:
            now = fingerprints(await story.fetch(self._before))
            same = sum(now[one] == self._before[one] for one in now)
            _expect(same == len(self._before), f"{len(self._before) - same} histories have changed")
            remark(f"{same} of {len(self._before)} have the same bytes as before")
        with report.step("replayed") as remark:
            replayed = await story.replay(self._cold, histories)
            _expect(replayed.number == len(self._before), f"{replayed.number} histories replay")
            remark(f"{replayed.number} histories; {_calls(replayed)}")
        with report.step("decoded") as remark:
            decoded = await story.decode(self._cold, histories)
            _expect(decoded.number == self._payloads, f"{decoded.number} payloads open")
            remark(f"{decoded.number:,} payloads; {_calls(decoded)}")
        with report.step("codec server") as remark:
            server = await stack.enter_async_context(codec_server(self._cold, port, ui))
            shown = 0
            for history in histories:
                shown += len(await asyncio.to_thread(server.decode, "default", sealed_in(history)))
            _expect(shown == self._payloads, f"the codec server shows {shown} payloads")
            remark(f"shows {shown:,} payloads of {len(histories)} histories to the Web UI")
        with report.step("what waited goes on") as remark:
            results = await story.finish(self._cold, self._open_ids)
            _expect(all(one.endswith("received by Ada") for one in results), "an open workflow has another result")
            remark(f"{len(results)} workflows got a signal, and have ended")

    async def go_without(self) -> None:
        """See what fails without the keystore."""
        story, report = self._story, self._report
        report.heading("7. The same without the keystore")
        for name, keys, kind in (
            ("OLD still configured", (story.old,), KeyDenied),
            ("OLD taken out", (), KeyNotConfigured),
        ):
            settings = story.write_settings("without.toml", story.new, *keys, keystore="")
            error, log = await story.fail_to_open(settings, self._first)
            said = [line for line in log if self._old_id in line and "docs/rekeying.md" in line]
            _expect(isinstance(error, kind) and bool(said), f"without the keystore, it says: {error}; {log}")
            report.facts({name: f"{type(error).__name__}: {error}", "the log": said[-1]})

    @property
    def _backup(self) -> Path:
        return self._story.folder / "backup.jsonl"

    @property
    def _audit(self) -> tuple[str, ...]:
        # Nothing changes on this server, whose list is up to date at once.
        return ("audit", "--address", self._story.address, "--namespace", "default", "--wait", "1")

    @property
    def _gate(self) -> tuple[str, ...]:
        """The audit that ends well only where OLD can go."""
        names = ("--fail-if-needed", self._old_id, "--rewrapped-to", self._new_id)
        return (*self._audit, *names, "--config", str(self._moving))

    @property
    def _first(self) -> WorkflowHistory:
        return next(iter(self._histories.values()))

    @property
    def _payloads(self) -> int:
        return sum(len(sealed_in(one)) for one in self._histories.values())

    async def _run(self, *arguments: str, saved_as: str = "") -> None:
        """Run a command, and print it with what it printed. What is saved is as a narrow terminal shows it."""
        ended = _well(arguments[0], await run_tool(*arguments))
        self.commands.append(self._report.command(self._short(arguments), ended.printed))
        if self._save is not None and saved_as:
            shown = _well(arguments[0], await run_on_terminal(*arguments, columns=_COLUMNS)).printed
            await asyncio.to_thread((self._save / f"{saved_as}.txt").write_text, shown, "utf-8")

    def _short(self, arguments: tuple[str, ...]) -> list[str]:
        """Leave out where the demo keeps its files."""
        return [one.replace(f"{self._story.folder}/", "") for one in arguments]


def _key_id(uri: str) -> str:
    master = master_key(uri)
    try:
        return str(master.key_id)
    finally:
        master.close()


def _well(command: str, ended: Ended) -> Ended:
    """Return how a command ended, if that is well."""
    if ended.status:
        raise Broken(f"{command} ended with {ended.status}: {' '.join((ended.complained or ended.printed).split())}")
    return ended


def _expect(so: bool, otherwise: str) -> None:
    if not so:
        raise Broken(otherwise)


def _calls(opened: Opened) -> str:
    counts = opened.counts
    asked = sum(count for (operation, _), count in counts.items() if operation == "unwrap")
    return f"{asked} calls of the KMS, {counts['lookup', 'ok']} of the keystore"


def _run_sql(database: Path, statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(statements)
