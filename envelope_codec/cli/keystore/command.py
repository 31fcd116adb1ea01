"""``envelope-codec keystore``: its table and roles, whether it can be used, and its backup."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from envelope_codec.cli.keystore.authentication import keep, make_auth_record, settings_of
from envelope_codec.cli.keystore.restoration import Restoration
from envelope_codec.cli.keystore.trial import WORDS, Trial, configured_role, try_operations
from envelope_codec.cli.keystore_file import NewRows, RowFile, new_row_file
from envelope_codec.cli.keystore_hint import keystore_hint
from envelope_codec.cli.keystores import explain, keystore_url, open_keystore
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.needed import need_configuration
from envelope_codec.cli.options import ConfigOption
from envelope_codec.cli.output import Page, leave, plural
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.namespaces import is_pattern
from envelope_codec.keystore import KeystoreUrl, parse_keystore_url
from envelope_codec.keystore_role import Operation, Role, TryableKeystore

_ROLES = {
    Role.open: "those that only open: the codec server, and workers with sealing = false",
    Role.seal: "workers that seal",
    Role.share: "workers that seal with shared wrapping keys",
    Role.export: "keystore export, and doctor",
    Role.rewrap: "rewrap, audit --import and keystore import",
}

_CHANGE = (
    "To put a new record in the place of an old one: give all processes both, the old id first; then both, the new id "
    "first; once all have had that for max_age, the new one alone. The old row may stay."
)

keystore = typer.Typer(no_args_is_help=True, help="Look after the keystore that wrapping keys are kept in.")


@keystore.command()
def ddl(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="A keystore. Without it, the configured one is taken.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print what makes the table, and what each role is granted.

    A keystore without a table has the latter alone. No server is asked, and nothing is run.
    """
    named = parse_keystore_url(url) if url is not None else keystore_url(need_configuration(config))
    opened = named.open()
    statements = getattr(opened, "ddl", None)
    if statements is None and not isinstance(opened, TryableKeystore):
        raise ConfigurationError(f"a keystore of the scheme {named.scheme} has no table: it needs no statements")
    if statements is not None:
        print("-- The table that this version of envelope-codec reads and writes. Read it, then run it yourself.")
        print(statements, end="")
    if isinstance(opened, TryableKeystore):
        _print_grants(opened, "" if statements is None else "-- ")


def _print_grants(opened: TryableKeystore, mark: str) -> None:
    """Print what gives each role its permissions. ``mark`` makes a statement of SQL a comment: names go in first."""
    told: dict[str, list[Role]] = {}
    for role in Role:
        told.setdefault(opened.grants(role), []).append(role)
    for grants, roles in told.items():
        whom = "; and for ".join(_ROLES[role] for role in roles) if len(told) > 1 else "all roles"
        print(f"\n-- For {whom}:")
        print(grants if "\n" in grants else mark + grants)


@keystore.command()
def check(
    role: Annotated[
        Role | None,
        typer.Option(
            "--for",
            metavar="ROLE",
            help=f"What must be possible: {', '.join(Role)}. As configured, if left out.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Say what these credentials may do in the keystore.

    Each operation is tried, and no row is changed. It says what to do about one that is lacking.

    Exit status: 0 if it is enough for the role, 1 if it is not.
    """
    loaded = need_configuration(config)
    url, wanted = keystore_url(loaded), role or configured_role(loaded)

    async def work() -> Trial:
        async with open_keystore(url) as opened:
            return await try_operations(opened)

    with quiet_logs(), _leaving_with_a_fix(url):
        trial = asyncio.run(work())
    if Operation.read in trial.failures:
        leave(explain(url, trial.failures[Operation.read], wanted), 1)
    page = Page()
    page.facts((WORDS[one], str(trial.failures.get(one, "yes"))) for one in Operation)
    page.line(f"Enough to: {', '.join(one.value for one in Role if trial.lacking(one) is None) or 'nothing'}")
    error = trial.lacking(wanted)
    if error is None:
        return
    if isinstance(error, StoreRefused) and isinstance(opened := url.open(), TryableKeystore):
        print(f"What gives it the role {wanted.value}:\n{opened.grants(wanted)}")
    fix = keystore_hint(url.scheme, error, wanted)
    leave(f"the keystore: not enough to {wanted.value}: {error}. To do: {fix}", 1)


@keystore.command(name="export")
def export_rows(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write. It must not exist.")],
    config: ConfigOption = None,
) -> None:
    """Write all rows into a file, as a backup.

    Its rows hold wrapped keys alone. Keep it where the keystore's own failure does not reach it.

    Exit status: 0 if all rows are in it; 1 if it could not be written, or rows are left out that can't be read.
    """
    url = keystore_url(need_configuration(config))

    async def work(rows: NewRows) -> None:
        with Progress() as progress:
            progress.expect("reading the keystore", None)
            async with open_keystore(url) as opened:
                async for kept in opened.rows():
                    rows.add(kept)
                    progress.advance()

    with quiet_logs(), _leaving_with_a_fix(url), new_row_file(file) as rows:
        asyncio.run(work(rows))
    Page().line(f"{plural(rows.written, 'row')} written to {file}")
    if rows.left_out:
        leave(f"{plural(rows.left_out, 'row')} left out, which this version can't read", 1)


@keystore.command(name="import")
def import_rows(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What keystore export wrote.")],
    config: ConfigOption = None,
) -> None:
    """Bring rows back from a file that `export` wrote.

    The whole file is checked first. What the keystore has stays: rows that are missing are added, and rows that are
    there get those recipients that they have none of the same master key for.

    Exit status: 0 if all rows are there; 1 if some are not.
    """
    url = keystore_url(need_configuration(config))
    rows = RowFile(file)
    total = rows.check()

    async def work() -> Restoration:
        with Progress() as progress:
            progress.expect("bringing rows back", total)
            async with open_keystore(url) as opened:
                restoration = Restoration(opened, progress)
                await restoration.run(rows.rows())
                return restoration

    with quiet_logs(), _leaving_with_a_fix(url):
        done = asyncio.run(work())
    page = Page()
    page.facts((("added", f"{done.added:,}"), ("changed", f"{done.changed:,}"), ("as they were", f"{done.same:,}")))
    for reason, count in done.failures.items():
        page.line(f"{plural(count, 'row')} failed: {reason}", indent=2, style="bold")
    raise typer.Exit(int(bool(done.failures)))


@keystore.command()
def init(
    config: ConfigOption = None,
    namespace: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A namespace whose processes share. May be given again.")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Make the record that shows which shared wrapping keys are genuine.

    Sharing needs it. It is one record for each namespace: without --namespace, for those that are listed by name, or
    for "default". All master keys that seal there wrap its secret, which nothing else keeps. It asks before it writes,
    and prints the settings for all processes.

    Exit status: 0 if it is written; 1 if it is not; 2 for wrong usage.
    """
    settings = need_configuration(config)
    url = keystore_url(settings)
    if settings.wrapping == "direct":
        raise ConfigurationError("wrapping: direct mode has no wrapping keys to share")
    key_sets = KeySets(settings)
    with quiet_logs(), _leaving_with_a_fix(url):
        sealing = _sealing(key_sets, namespace or _named(settings))
        page = Page()
        for name, key_set in sealing.items():
            page.line(f"{name}: a record wrapped by {', '.join(master.key_id for master in key_set.sealing)}")
        if not yes:
            typer.confirm("Write it to the keystore?", abort=True, err=True)
        try:
            made = [make_auth_record(name, key_set) for name, key_set in sealing.items()]
        except EnvelopeError as error:
            leave(f"{error.key_id or 'a master key'}: {error}. `envelope-codec doctor` says what is missing", 1)
        finally:
            for master in key_sets.built:
                master.close()

        async def work() -> None:
            async with open_keystore(url) as opened:
                await keep(opened, made)

        asyncio.run(work())
    for record in made:
        page.line(f"{record.namespace}: {record.id}")
    page.line("The settings of all processes that are to share:")
    print(settings_of(settings.keystore_auth, made))
    if settings.keystore_auth:
        page.line(_CHANGE)


@contextmanager
def _leaving_with_a_fix(url: KeystoreUrl) -> Iterator[None]:
    """End the command where the keystore gives no answer or refuses, and say what to do about it."""
    try:
        yield
    except (StoreRefused, StoreUnavailable) as error:
        leave(explain(url, error), 1)


def _named(config: EnvelopeConfig) -> list[str]:
    return [name for name in config.namespaces if not is_pattern(name)] or ["default"]


def _sealing(key_sets: KeySets, namespaces: Iterable[str]) -> dict[str, KeySet]:
    """Return the master keys that seal in each namespace.

    Raises:
        ConfigurationError: there are none in one of them.
    """
    found: dict[str, KeySet] = {}
    for name in namespaces:
        key_set = key_sets.sealing(name)
        if key_set is None:
            raise ConfigurationError(f"namespaces: no master key is configured for {name!r}")
        found[name] = key_set
    return found
