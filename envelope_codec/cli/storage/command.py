"""``envelope-codec storage``: the table it needs, whether it can be used, what is in it, and what may go."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from envelope_codec._grammar import Seconds
from envelope_codec.cli.configuration import NothingConfigured, load_configuration
from envelope_codec.cli.connection import Connection, ConnectionUnusable, load_connection
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.output import Page, json_text, printable
from envelope_codec.cli.storage.garbage import Collection, Findings, Stopped
from envelope_codec.cli.storage.reader import Reader
from envelope_codec.cli.storage.report import (
    Check,
    Progress,
    Stats,
    gc_document,
    print_checks,
    print_gc,
    print_stats,
    stats_document,
)
from envelope_codec.cli.storage.state import State
from envelope_codec.cli.store_hint import store_hint
from envelope_codec.cli.stores import (
    check_store,
    chosen_store,
    configured_stores,
    opened,
    proves_nothing,
    stores_by_setting,
)
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.store import StoreUrl, parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec

_YOUNGEST = 86_400.0
"""What is younger is never deleted, in seconds: a task may still be under way that is going to refer to it."""

storage = typer.Typer(no_args_is_help=True, help="Look after the datastore that payloads are kept in.")

ConfigOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="A TOML file of settings; else ENVELOPE_CODEC_*.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


@storage.command()
def ddl(
    url: Annotated[str | None, typer.Argument(help="Of a SQL database; else the configured storage.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print the SQL statements that make the table and its index. Nothing is asked and nothing is run."""
    store = parse_store_url(url) if url is not None else chosen_store(_config(config), None)
    statements = getattr(store.open(), "ddl", None)
    if statements is None:
        raise ConfigurationError(f"the store {store.name} has no table: it needs no statements")
    print("-- The table that this version of envelope-codec reads and writes. Read it, then run it yourself.")
    print(statements, end="")


@storage.command()
def check(config: ConfigOption = None) -> None:
    """Say of every configured store whether it can be used.

    It stores an empty payload in storage, and reads it. Those of former_storage are
    only read from, and need no permission to write. What can't be used is told with
    what to do about it.

    Exit status: 0 if all can be used, 1 if one can't.
    """
    stores = stores_by_setting(_config(config))
    if not stores:
        raise ConfigurationError("storage: not set")

    async def one(url: StoreUrl, writes: bool) -> Check:
        try:
            async with opened(url) as store:
                await check_store(store, writes=writes)
        except EnvelopeError as error:
            fix = "" if isinstance(error, ConfigurationError) else store_hint(url.scheme, error, writes=writes)
            if proves_nothing(error, writes=writes):
                return Check(url.name, f"can't be told: {error}", fix, failed=False)
            return Check(url.name, str(error), fix, failed=True)
        return Check(url.name)

    async def all_of_them() -> list[Check]:
        return [await one(url, setting == "storage") for setting, url in stores.items()]

    checks = asyncio.run(all_of_them())
    print_checks(checks, Page())
    raise typer.Exit(int(any(check.failed for check in checks)))


@storage.command()
def stats(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Count payloads and bytes in every configured store, and tell the oldest."""
    stores = configured_stores(_config(config))
    if not stores:
        raise ConfigurationError("storage: not set")

    async def one(url: StoreUrl, progress: Progress) -> Stats:
        found = Stats(url.name)
        progress.expect(f"listing {url.name}", None)
        async with opened(url) as store:
            async for stored in store.list_before(time.time() + _YOUNGEST):
                found.add(stored)
                progress.advance()
        return found

    async def all_of_them() -> list[Stats]:
        with Progress() as progress:
            return [await one(url, progress) for url in stores]

    found = asyncio.run(all_of_them())
    if as_json:
        print(json_text(stats_document(found)))
    else:
        print_stats(found, Page())


@storage.command()
def gc(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Such as 30d: what is younger is not looked at.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete what was found; else it is only listed.")] = False,
    config: ConfigOption = None,
    store: Annotated[str | None, typer.Option(metavar="NAME", help="One of former_storage; else storage.")] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Whose histories are read; may be given again. Name all that use the store, also callers of Nexus "
            "operations.",
        ),
    ] = None,
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The Temporal server.")] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="How to connect, as the temporal command's --profile.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keeps what was read, so that the next run goes on from there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List old payloads that nothing in Temporal refers to; --delete deletes them.

    It reads all histories, open and closed, and schedules, memos, pending and
    standalone activities. If any of it can't be read, or any reference not be opened,
    it stops and deletes nothing.

    Exit status: 0 when it is done; 1 if it had to stop; 2 if there was nothing to ask.
    """
    seconds = _age(older_than)
    if delete and seconds < _YOUNGEST:
        raise typer.BadParameter("what is younger than 1d is never deleted", param_hint="--older-than")
    if delete and not namespace:
        raise typer.BadParameter("name all namespaces that use the store", param_hint="--namespace")
    settings = _config(config)
    url = chosen_store(settings, store)
    connection = _target(address, profile)
    names = list(dict.fromkeys(namespace or [connection.namespace or "default"]))
    before = time.time() - seconds
    with quiet_logs():
        try:
            findings = asyncio.run(_collect(settings, url, connection, names, before, state, delete))
        except Stopped as stopped:
            _leave(f"stopped, and nothing was deleted: {stopped}", 1)
    if as_json:
        print(json_text(gc_document(url.name, names, before, findings, deleting=delete)))
    else:
        print_gc(url.name, names, before, findings, Page(), deleting=delete)


async def _collect(
    config: EnvelopeConfig,
    url: StoreUrl,
    connection: Connection,
    names: list[str],
    before: float,
    state: Path | None,
    delete: bool,
) -> Findings:
    client = await _connected(connection)
    codec = EnvelopeCodec(config, namespace=names[0])
    readers = [Reader(client, name) for name in names]
    try:
        with State(state, connection.address) as known, Progress() as progress:
            async with opened(url) as store:
                collection = Collection(store, before, readers, codec, known, progress)
                findings = await collection.search()
                return await collection.delete() if delete else findings
    finally:
        codec.close()


async def _connected(connection: Connection) -> Client:
    settings: dict[str, Any] = dict(connection.connection)
    try:
        runtime = Runtime(telemetry=TelemetryConfig(logging=None))
        return await asyncio.wait_for(Client.connect(connection.address, runtime=runtime, **settings), 30)
    except asyncio.TimeoutError:
        raise Stopped(f"no answer from {connection.address}") from None
    except (RuntimeError, ValueError, RPCError) as error:
        raise Stopped(f"no connection to {connection.address}: {connection.without_secrets(str(error))}") from None


def _config(file: str | None) -> EnvelopeConfig:
    try:
        return load_configuration(None, file).config
    except NothingConfigured:
        _leave("nothing is configured: name a file with --config, or set ENVELOPE_CODEC_FILE", 2)


def _target(address: str | None, profile: str | None) -> Connection:
    try:
        connection = load_connection(address, profile)
    except ConnectionUnusable as error:
        _leave(str(error), 2)
    if connection is None:
        _leave("no Temporal server is named: give --address or --profile", 2)
    return connection


def _age(text: str) -> float:
    try:
        seconds: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise typer.BadParameter("give a duration, such as 30d or 12h", param_hint="--older-than") from None
    return seconds


def _leave(message: str, status: int) -> NoReturn:
    print(f"envelope-codec: {printable(message)}", file=sys.stderr)
    raise typer.Exit(status)
