"""``envelope-codec worker``: do a part of the work of distributed audits and rewraps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from envelope_codec import __version__
from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.cli.distributed.follow import DEFAULT_QUEUE
from envelope_codec.cli.distributed.served import Offer, Served, refusing_plaintext
from envelope_codec.cli.needed import need_configuration, need_connection
from envelope_codec.cli.options import AddressOption, ConfigOption, ProfileOption, QueueOption
from envelope_codec.cli.output import complain, leave
from envelope_codec.cli.reading.reader import Reader
from envelope_codec.errors import EnvelopeError
from envelope_codec.plugin import EnvelopePlugin
from envelope_codec.store import StoreUrl, parse_store_url

SERVED = ("audit", "rewrap")
"""The commands that may be distributed. Each has a module ``distribution`` that says what a worker serves of it."""

_TO_CONNECT = 30.0  # seconds
_TO_STOP = timedelta(seconds=5)
_OFTEN = timedelta(seconds=5)
"""How old what a worker has told of a window may be, when another one goes on from there."""


def worker(
    queue: QueueOption = DEFAULT_QUEUE,
    config: ConfigOption = None,
    address: AddressOption = None,
    profile: ProfileOption = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="The namespace of the workflows that are served.")
    ] = None,
    results: Annotated[
        str | None, typer.Option(metavar="URL", help="A datastore for results of audits, the same for all workers.")
    ] = None,
    backup: Annotated[
        Path | None, typer.Option(metavar="FILE", help="To serve rewrap --drop-old: the same backup as the command's.")
    ] = None,
    slots: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=200, help="How many pieces of work are done at once.")
    ] = 8,
) -> None:
    """Do a part of the work of distributed audits and rewraps.

    Any number of workers share the work that envelope-codec audit --distributed and envelope-codec rewrap --distributed
    begin on their task queue. All need the same configuration: it seals what they tell each other. Rewraps are served
    if it has a keystore, audits if --results is given.

    SIGTERM and an interrupt end it: other workers go on with what it has begun.

    Exit status: 0 after SIGTERM or an interrupt; 1 if it could not start or go on; 2 for wrong usage.
    """
    settings = need_configuration(config)
    connection = need_connection(address, profile)
    store = parse_store_url(results) if results is not None else None
    if store is None and settings.keystore is None:
        leave(
            "nothing to serve: give --results to serve audits, or a configuration with a keystore to serve rewraps", 2
        )
    name = namespace or connection.namespace or "default"
    with EnvelopePlugin(refusing_plaintext(settings)) as plugin:
        try:
            asyncio.run(_work(connection, name, queue, plugin, slots, store, backup))
        except _Ended as ended:
            leave(str(ended), 1)


class _Ended(Exception):
    """The worker can't start or go on. The text says why."""


async def _work(
    connection: Connection,
    namespace: str,
    queue: str,
    plugin: EnvelopePlugin,
    slots: int,
    results: StoreUrl | None,
    backup: Path | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await _connect(connection, namespace, plugin)
    async with AsyncExitStack() as stack:
        offer = Offer(client, plugin.config, results, backup)
        served = await offered(offer, stack)
        where = f"namespace {namespace!r} at {connection.address}"
        complain(f"{__version__}: worker on task queue {queue!r} in {where}")
        for one in served:
            complain(f"serves {one.what}")
        await _run(make_worker(client, queue, served, slots), stop)
        complain("ended; other workers go on with what was begun here")


async def offered(offer: Offer, stack: AsyncExitStack) -> list[Served]:
    """List what is served of each command.

    Args:
        offer: what this worker has been given.
        stack: closes what is opened for it.
    """
    found = []
    for name in SERVED:
        serve = import_module(f"envelope_codec.cli.{name}.distribution").serve
        one: Served | None = await serve(offer, stack)
        if one is not None:
            found.append(one)
    return found


def make_worker(client: Client, queue: str, served: Sequence[Served], slots: int) -> Worker:
    """Make a worker that serves all of it."""
    return Worker(
        client,
        task_queue=queue,
        workflows=[workflow for one in served for workflow in one.workflows],
        activities=[activity for one in served for activity in one.activities],
        max_concurrent_activities=slots,
        max_heartbeat_throttle_interval=_OFTEN,
        graceful_shutdown_timeout=_TO_STOP,
    )


async def _connect(connection: Connection, namespace: str, plugin: EnvelopePlugin) -> Client:
    try:
        client = await connection.open(_TO_CONNECT, namespace=namespace, plugins=[plugin])
    except ConnectionFailed as error:
        raise _Ended(error.reason(connection.address)) from None
    try:
        await Reader(client, namespace).check()
    except RPCError as error:
        raise _Ended(f"namespace {namespace!r} can't be used: {error.status.name}: {error.message[:200]}") from None
    return client


async def _run(worker: Worker, stop: asyncio.Event) -> None:
    """Run the worker until ``stop``. What it does then is given up after a moment, and done by others."""
    running = asyncio.ensure_future(worker.run())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            complain("ending")
            await worker.shutdown()
        await running
    except EnvelopeError:
        raise
    except Exception as error:  # of the SDK: the server refuses to be polled, for instance
        raise _Ended(f"the worker can't go on: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    finally:
        stopping.cancel()
