"""``envelope-codec rewrap``: give wrapping keys another master key, and then take the old one away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from envelope_codec.cli.distributed.follow import DEFAULT_QUEUE, Failed
from envelope_codec.cli.keystores import explain, keystore_url, open_keystore
from envelope_codec.cli.logs import ProviderWords, quiet_logs
from envelope_codec.cli.needed import need_configuration, need_connection
from envelope_codec.cli.options import AddressOption, ConfigOption, ProfileOption, QueueOption
from envelope_codec.cli.output import Page, leave, plural
from envelope_codec.cli.reading.pace import Pace
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.cli.rewrap.backup import Backup
from envelope_codec.cli.rewrap.cautions import cautions
from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.distribution import Distribution, SharedRun, connected, leave_interrupted
from envelope_codec.cli.rewrap.master_keys import MasterKeys, load_master_keys
from envelope_codec.cli.rewrap.report import print_counts, print_plan
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.cli.rewrap.steps import IsKept
from envelope_codec.cli.rewrap.steps import drop_old as steps_of_dropping
from envelope_codec.cli.rewrap.steps import rewrap as steps_of_rewrap
from envelope_codec.cli.rewrap.survey import Survey
from envelope_codec.cli.row_batches import RowBatches
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_IN_FLIGHT = 32
_RATE = 2_000.0
_FAULTS = {"wrap": "the new master key can't wrap", "re-encrypt": "the KMS can't re-encrypt"}
"""Who can't do its part, by the operation that failed before anything was changed."""


class Asked(NamedTuple):
    """What a command was asked for.

    Attributes:
        namespaces: whose rows are worked on; empty for all.
        backup: of the keystore; None for a first pass.
        confirmed: whether nobody is asked before anything is changed.
        only_shown: whether nothing is changed.
    """

    namespaces: frozenset[str]
    backup: Path | None
    confirmed: bool
    only_shown: bool


def rewrap(
    old: Annotated[str, typer.Option("--from", metavar="OLD", help="The master key that is to go: key id or URI.")],
    new: Annotated[str, typer.Option("--to", metavar="NEW", help="The master key that is to come: key id or URI.")],
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Second pass: take OLD away from rows that NEW opens now.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For --drop-old: what keystore export wrote after the first pass."),
    ] = None,
    config: ConfigOption = None,
    namespace: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only rows of this namespace. May be given again.")
    ] = None,
    in_flight: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=256, help="How many calls are under way at once.")
    ] = _IN_FLIGHT,
    rate: Annotated[
        float, typer.Option(metavar="NUMBER", min=0.1, help="How many calls a second the KMS gets at most.")
    ] = _RATE,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Have workers do it, on any number of machines, as a workflow.")
    ] = False,
    address: AddressOption = None,
    profile: ProfileOption = None,
    queue: QueueOption = DEFAULT_QUEUE,
    work_namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="For --distributed: the namespace of the workflow itself.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=200, help="For --distributed: slices worked on at once.")
    ] = 8,
    takeover: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="For --distributed: when a silent worker's work goes to another."),
    ] = 30.0,
    re_encrypt: Annotated[
        bool,
        typer.Option("--re-encrypt", help="Have AWS wrap anew in one call, and show the secret to nobody."),
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is to be done, and do nothing.")] = False,
) -> None:
    """Give wrapping keys another master key, to retire an old one.

    It works on the rows of the keystore, and changes no payload: histories open with NEW afterwards. It shows what it
    is going to do, and asks. It may be ended at any time, and run again.

    Exit status: 0 if all rows that name OLD are done; 1 if some are not, or it had to stop; 2 for wrong usage.
    """
    if drop_old and backup is None:
        raise typer.BadParameter("give --backup FILE, which keystore export wrote after the first pass")
    if backup is not None and not drop_old:
        raise typer.BadParameter("goes with --drop-old", param_hint="--backup")
    settings = need_configuration(config)
    url = keystore_url(settings)
    asked = Asked(frozenset(namespace or ()), backup, yes, dry_run)
    how = None
    if distributed and re_encrypt:
        raise typer.BadParameter("does not go with --distributed", param_hint="--re-encrypt")
    if distributed:
        connection = need_connection(address, profile, ", whose workers are to do it")
        place = work_namespace or connection.namespace or "default"
        limits = (at_once, in_flight, rate, takeover)
        how = Distribution(connection, queue, place, old, new, asked.namespaces, backup, *limits)
    with quiet_logs() as words:
        masters = load_master_keys(settings, old, new, re_encrypts=re_encrypt)
        try:
            done = asyncio.run(_rewrap(settings, masters, asked, in_flight, rate, words, how))
        except (StoreRefused, StoreUnavailable) as error:
            leave(explain(url, error), 1)
        except Failed as failed:
            leave(f"stopped: {failed}", 1)
        except KeyboardInterrupt:
            if how is None:
                raise
            leave_interrupted(how)
        finally:
            masters.close()
    raise typer.Exit(0 if done else 1)


async def _rewrap(
    config: EnvelopeConfig,
    masters: MasterKeys,
    asked: Asked,
    in_flight: int,
    rate: float,
    words: ProviderWords,
    how: Distribution | None,
) -> bool:
    """Do what was asked for. Return whether all rows are done."""
    async with AsyncExitStack() as stack:
        keystore = await stack.enter_async_context(open_keystore(keystore_url(config)))
        client = await stack.enter_async_context(connected(how, config)) if how is not None else None
        with Progress() as progress:
            rows = RowBatches(keystore)
            limits: Any = {"in_flight": in_flight, "pace": Pace(rate), "words": words.take}
            if how is not None and client is not None:
                run: Run = SharedRun(how, client, progress, rows, masters, **limits)
            else:
                run = Run(rows, masters, progress=progress, **limits)
            try:
                return await Command(run, masters, config, asked, Page(), progress.pause).do()
            finally:
                run.close()


class Command:
    """One pass over a keystore, from the survey to the counts.

    Args:
        run: does the work.
        masters: the master keys.
        config: the settings.
        asked: for what.
        page: to print on.
        hide: takes the progress bar off the screen, for a question.
        now: Unix seconds.
    """

    def __init__(
        self,
        run: Run,
        masters: MasterKeys,
        config: EnvelopeConfig,
        asked: Asked,
        page: Page,
        hide: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._run = run
        self._masters = masters
        self._config = config
        self._asked = asked
        self._page = page
        self._hide = hide
        self._now = now

    async def do(self) -> bool:
        """Show what is to be done, ask, do it, and say how it ended. Return whether all rows are done.

        Raises:
            EnvelopeError: the keystore or a master key can't be used.
        """
        await self._run.in_thread(self._masters.check)
        survey = await self._survey()
        dropping = self._asked.backup is not None
        self._hide()
        warnings = cautions(self._config, survey, self._masters.sealing)
        print_plan(self._page, survey, self._masters.ids, warnings, dropping=dropping)
        if survey.concerns_none(self._masters.ids):
            self._page.line(
                "Nothing was changed: no row names either master key. See that keystore names the one of this fleet, "
                "and --from the key id that audit prints",
                style="bold",
            )
            return False
        if not survey.under_old:
            return not (survey.unreadable or survey.frozen)
        backup = await self._backup(survey, self._asked.backup) if self._asked.backup is not None else None
        if self._asked.only_shown:
            return True
        if not self._asked.confirmed:
            typer.confirm("Go on?", abort=True, err=True)
        await self._run.check_keystore()
        return await (self._drop(survey, backup) if backup is not None else self._add(survey))

    async def _add(self, survey: Survey) -> bool:
        """Do the first pass."""
        if not await self._is_possible(survey):
            return False
        ids = self._masters.ids
        counts = await self._run.follow_all("rewrapping", survey.under_old, lambda key: steps_of_rewrap(key, ids))
        self._print(counts)
        after = await self._survey(is_last=True)
        return self._end(counts, after, after.lacking, "without a recipient of the new master key")

    async def _drop(self, survey: Survey, backup: Backup) -> bool:
        """Do the second pass."""
        ids = self._masters.ids
        counts = await self._run.follow_all(
            "dropping the old master key", survey.under_old, lambda key: steps_of_dropping(key, ids, backup.has)
        )
        self._print(counts)
        after = await self._survey(is_last=True)
        return self._end(counts, after, len(after.under_old), "that name the old master key")

    async def _backup(self, survey: Survey, path: Path) -> Backup:
        """Read the backup, and leave if it, or the first pass, lacks anything."""
        if survey.lacking or survey.unreadable:
            leave(
                f"nothing was changed: the first pass is not complete. {plural(survey.lacking, 'row')} without a "
                f"verified recipient of the new master key, {survey.unreadable} that can't be read",
                1,
            )
        backup = Backup(path, self._masters.ids)
        missing = await self._missing_from(backup)
        if missing:
            leave(
                f"nothing was changed: the backup lacks {plural(missing, 'row')} as the first pass left them. Make "
                "another one with keystore export",
                1,
            )
        return backup

    async def _missing_from(self, backup: Backup) -> int:
        """Count the rows under the old master key whose recipients of the new one the backup has not got."""
        return (await self._survey(is_kept=backup.has)).not_kept

    async def _is_possible(self, survey: Survey) -> bool:
        """Try the new master key in each namespace before anything is changed. Print what is wrong."""
        possible = True
        for namespace, row in sorted(survey.samples.items()):
            try:
                await self._run.in_thread(self._masters.try_new, row)
            except EnvelopeError as error:
                who = _FAULTS.get(error.operation or "", "readers can't unwrap")
                self._page.line(f"Nothing was changed. In namespace {namespace}, {who}: {error}", style="bold")
                possible = False
        return possible

    async def _survey(self, is_kept: IsKept | None = None, *, is_last: bool = False) -> Survey:
        youngest_safe = self._now() - self._config.max_age
        return await self._run.survey(youngest_safe, self._asked.namespaces, is_kept, is_last=is_last)

    def _print(self, counts: Counts) -> None:
        self._hide()
        print_counts(self._page, counts)

    def _end(self, counts: Counts, after: Survey, left: int, which: str) -> bool:
        """Say what is left, and return whether all rows are done."""
        self._hide()
        if left:
            self._page.line(f"{plural(left, 'row')} left {which}: run it again", indent=2, style="bold")
        return not (left or after.unreadable or counts.failed or counts.untried)
