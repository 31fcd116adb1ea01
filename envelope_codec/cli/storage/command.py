"""``envelope-codec storage``: the table it needs, whether it can be used, what is in it, and what may go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from envelope_codec._grammar import Seconds
from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.cli.needed import need_configuration, need_connection
from envelope_codec.cli.options import AddressOption, ConfigOption, JsonOption, ProfileOption
from envelope_codec.cli.output import Page, json_text, leave
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.cli.reading.reader import Reader
from envelope_codec.cli.storage.garbage import Collection, Stopped
from envelope_codec.cli.storage.report import (
    Check,
    Stats,
    gc_document,
    print_checks,
    print_gc,
    print_stats,
    stats_document,
)
from envelope_codec.cli.storage.search_result import SearchResult
from envelope_codec.cli.storage.state import State
from envelope_codec.cli.store_hint import store_hint
from envelope_codec.cli.stores import (
    check_store,
    choose_store,
    list_stores,
    open_store,
    proves_nothing,
    stores_by_setting,
)
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.store import StoreUrl, parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec

_HIGHEST_PRICE = 1e9  # beyond it costs may be no finite number, which JSON does not have
_YOUNGEST = 86_400.0
"""Payloads younger than this, in seconds, are never deleted: a task may be under way that is going to refer to one."""

_TO_CONNECT = 30.0  # seconds

storage = typer.Typer(no_args_is_help=True, help="Look after the datastores that payloads are kept in.")


@storage.command()
def ddl(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="A SQL database. Without it, the configured storage is taken.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the SQL statements that make the table and its index.

    No database is asked, and nothing is run.
    """
    store = parse_store_url(url) if url is not None else choose_store(need_configuration(config), None)
    statements = getattr(store.open(), "ddl", None)
    if statements is None:
        raise ConfigurationError(f"the store {store.name} has no table: it needs no statements")
    print("-- The table that this version of envelope-codec reads and writes. Read it, then run it yourself.")
    print(statements, end="")


@storage.command()
def check(config: ConfigOption = None) -> None:
    """Say of every configured store whether it can be used.

    It stores an empty payload in `storage`, and reads it again. The stores in `former_storage` are only read from, and
    need no permission to write. It says what to do about a store that can't be used.

    Exit status: 0 if all can be used, 1 if one can't.
    """
    stores = stores_by_setting(need_configuration(config))
    if not stores:
        raise ConfigurationError("storage: not set")

    async def check_all() -> list[Check]:
        return [await _check(url, writes=setting == "storage") for setting, url in stores.items()]

    checks = asyncio.run(check_all())
    print_checks(checks, Page())
    raise typer.Exit(int(any(check.failed for check in checks)))


@storage.command()
def stats(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Count the payloads and bytes in every configured store."""
    stores = list_stores(need_configuration(config))
    if not stores:
        raise ConfigurationError("storage: not set")

    async def count_all() -> list[Stats]:
        with Progress() as progress:
            return [await _count(url, progress) for url in stores]

    found = asyncio.run(count_all())
    if as_json:
        print(json_text(stats_document(found)))
    else:
        print_stats(found, Page())


@storage.command()
def gc(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Such as 30d. Younger payloads are not looked at.")],
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what was found. Without it, it is only listed.")
    ] = False,
    config: ConfigOption = None,
    store: Annotated[
        str | None, typer.Option(metavar="NAME", help="A store of former_storage. Without it, storage is searched.")
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A namespace to read. Repeat it for all that use the store, callers of Nexus operations too.",
        ),
    ] = None,
    address: AddressOption = None,
    profile: ProfileOption = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep what was read in this file, so that the next run need not read it."),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            "--price-per-gb-month",
            metavar="PRICE",
            help="Tell what the payloads found cost in a month, where each GB (2^30 bytes) costs so much.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List or delete old payloads that nothing refers to.

    It reads all histories, open and closed, and schedules, memos, pending and standalone activities. If one of them
    can't be read, or one reference can't be opened, it stops and deletes nothing.

    Exit status: 0 when it is done; 1 if it had to stop; 2 if nothing is configured, or no server is named.
    """
    seconds = _read_age(older_than)
    if delete and seconds < _YOUNGEST:
        raise typer.BadParameter("what is younger than 1d is never deleted", param_hint="--older-than")
    if delete and not namespace:
        raise typer.BadParameter("name all namespaces that use the store", param_hint="--namespace")
    if price is not None and not (math.copysign(1.0, price) > 0 and price <= _HIGHEST_PRICE):  # nan is neither
        raise typer.BadParameter("give a number such as 0.023", param_hint="--price-per-gb-month")
    settings = need_configuration(config)
    url = choose_store(settings, store)
    connection = need_connection(address, profile)
    names = list(dict.fromkeys(namespace or [connection.namespace or "default"]))
    before = time.time() - seconds
    with quiet_logs():
        try:
            result = asyncio.run(_collect(settings, url, connection, names, before, state, delete))
        except Stopped as stopped:
            leave(f"stopped, and nothing was deleted: {stopped}", 1)
    if as_json:
        print(json_text(gc_document(url.name, names, before, result, deleting=delete, price=price)))
    else:
        print_gc(url.name, names, before, result, Page(), deleting=delete, price=price)


async def _check(url: StoreUrl, *, writes: bool) -> Check:
    try:
        async with open_store(url) as store:
            await check_store(store, writes=writes)
    except EnvelopeError as error:
        fix = "" if isinstance(error, ConfigurationError) else store_hint(url.scheme, error, writes=writes)
        if proves_nothing(error, writes=writes):
            return Check(url.name, f"can't be told: {error}", fix, failed=False)
        return Check(url.name, str(error), fix, failed=True)
    return Check(url.name)


async def _count(url: StoreUrl, progress: Progress) -> Stats:
    found = Stats(url.name)
    progress.expect(f"listing {url.name}", None)
    with _leaving_with_a_fix(url):
        async with open_store(url) as store:
            async for stored in store.list_before(time.time() + _YOUNGEST):
                found.add(stored)
                progress.advance()
    return found


async def _collect(
    config: EnvelopeConfig,
    url: StoreUrl,
    connection: Connection,
    names: list[str],
    before: float,
    state: Path | None,
    delete: bool,
) -> SearchResult:
    try:
        client = await connection.open(_TO_CONNECT)
    except ConnectionFailed as error:
        reason = f"no answer from {connection.address}" if error.late else f"no connection to {connection.address}"
        raise Stopped(f"{reason}: {error.words}" if error.words else reason) from None
    codec = EnvelopeCodec(config, namespace=names[0])
    readers = [Reader(client, name) for name in names]
    try:
        with State(state, connection.address) as known, Progress() as progress:
            async with open_store(url) as store:
                collection = Collection(store, before, readers, codec, known, progress)
                with _leaving_with_a_fix(url):
                    result = await collection.search()
                return await collection.delete() if delete else result
    finally:
        codec.close()


@contextmanager
def _leaving_with_a_fix(url: StoreUrl) -> Iterator[None]:
    """End the command where the store lets nobody read or gives no answer, and say what to do about it."""
    try:
        yield
    except (StoreRefused, StoreUnavailable) as error:
        leave(f"{url.name}: {error}. To do: {store_hint(url.scheme, error, writes=False)}", 1)


def _read_age(text: str) -> float:
    try:
        seconds: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise typer.BadParameter("give a duration, such as 30d or 12h", param_hint="--older-than") from None
    return seconds
