"""A distributed rewrap, as seen from the command: the same guards, but workers follow the steps of the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from temporalio.client import Client

from envelope_codec import __version__
from envelope_codec.cli.connection import Connection, ConnectionFailed
from envelope_codec.cli.distributed.follow import Asked, begin, follow, leave_running
from envelope_codec.cli.distributed.served import Offer, Served, refusing_plaintext
from envelope_codec.cli.keystores import keystore_url, open_keystore
from envelope_codec.cli.output import complain, leave
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.run import Run
from envelope_codec.cli.rewrap.slice import Done
from envelope_codec.cli.rewrap.steps import Steps
from envelope_codec.cli.rewrap.work import Request, RewrapWork, digest_of
from envelope_codec.cli.rewrap.workflow import Position, RewrapWorkflow, Status
from envelope_codec.cli.row_batches import RowBatches
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError
from envelope_codec.plugin import EnvelopePlugin

_TYPE = "envelope-codec.rewrap"
_TO_CONNECT = 30.0  # seconds
_ROWS = 500
"""How many rows that name the old master key a slice has, about."""

_MOST_SLICES = 65_536


class Distribution(NamedTuple):
    """Who does the work, and what it is.

    Attributes:
        connection: to the Temporal server.
        queue: the task queue of the workers.
        namespace: the namespace of the workflow.
        old: the master key that is to go, as the user named it.
        new: the one that is to come.
        namespaces: whose rows are worked on; empty for all.
        backup: of the keystore, for a second pass.
        at_once: how many slices are worked on at once.
        in_flight: how many calls are under way at once, of all workers together.
        rate: calls a second that the KMS gets at most, of all workers together.
        takeover: after how many seconds without a sign of life a slice is given to another worker.
    """

    connection: Connection
    queue: str
    namespace: str
    old: str
    new: str
    namespaces: frozenset[str]
    backup: Path | None
    at_once: int
    in_flight: int
    rate: float
    takeover: float

    @property
    def workflow_id(self) -> str:
        """The id of the workflow. It says which pass it is, and stands for the two master keys and the namespaces."""
        words = "\0".join((self.old, self.new, *sorted(self.namespaces)))
        return "/".join((_TYPE, "add" if self.backup is None else "drop", sha256(words.encode()).hexdigest()[:16]))

    def request(self, rows: int) -> Request:
        """Make the request for so many rows."""
        return Request(
            version=__version__,
            old=self.old,
            new=self.new,
            namespaces=sorted(self.namespaces),
            backup=digest_of(self.backup) if self.backup is not None else "",
            slices=min(_MOST_SLICES, max(self.at_once, -(-rows // _ROWS))),
            at_once=self.at_once,
            in_flight=self.in_flight,
            rate=self.rate,
            takeover=self.takeover,
        )


class SharedRun(Run):
    """A `Run` whose steps are followed by workers. Surveys, and what is tried before, are its own.

    Args:
        how: who does it.
        client: seals what it sends.
        progress: shows how far it has come.
        more: arguments of `Run`.
    """

    def __init__(self, how: Distribution, client: Client, progress: Progress, *args: Any, **more: Any) -> None:
        super().__init__(*args, progress=progress, **more)
        self._how = how
        self._client = client
        self._bar = progress

    async def follow_all(self, doing: str, keys: Sequence[bytes], steps: Callable[[bytes], Steps]) -> Counts:
        """Have workers follow the steps of all rows that name the old master key, and count how they end.

        Raises:
            Failed: the workflow can't be begun, or failed.
        """
        how = self._how
        arguments = [how.request(len(keys)), Position()]
        asked = Asked(_TYPE, how.workflow_id, how.queue, arguments, Done, Status)
        self._bar.expect(doing, len(keys))
        handle = await begin(self._client, asked)
        complain(f"workflow {asked.id!r} in namespace {how.namespace!r}, on task queue {how.queue!r}")
        done: Done = await follow(handle, asked, lambda status: self._bar.reach(status.rows, len(keys)), complain)
        return done.counts()


@asynccontextmanager
async def connected(how: Distribution, settings: EnvelopeConfig) -> AsyncIterator[Client]:
    """Connect, with the plugin of the configuration. Leave the command if that is not possible."""
    if not settings.sealing:
        raise ConfigurationError("sealing: is off, and what workers tell each other must be sealed")
    with EnvelopePlugin(refusing_plaintext(settings)) as plugin:
        try:
            client = await how.connection.open(_TO_CONNECT, namespace=how.namespace, plugins=[plugin])
        except ConnectionFailed as error:
            leave(error.reason(how.connection.address), 1)
        yield client


def leave_interrupted(how: Distribution) -> None:
    """Leave the command. The work goes on, if it had begun."""
    leave(f"if workers had begun, {leave_running(how.workflow_id, how.namespace)}", 130)


async def serve(offer: Offer, stack: AsyncExitStack) -> Served | None:
    """Return what a worker serves of rewraps: nothing without a keystore."""
    if offer.settings.keystore is None:
        return None
    if not offer.settings.sealing:
        raise ConfigurationError("sealing: is off, and what workers tell each other must be sealed")
    keystore = await stack.enter_async_context(open_keystore(keystore_url(offer.settings)))
    work = RewrapWork(offer.settings, RowBatches(keystore), offer.backup)
    stack.callback(work.close)
    passes = "rewrap" if offer.backup is None else "rewrap, and --drop-old"
    return Served(passes, [RewrapWorkflow], [work.work])
