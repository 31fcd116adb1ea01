"""A distributed audit, as seen from the command: it begins the workflow, follows it, and reads the results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from temporalio.client import Client
from temporalio.converter import PayloadCodec

from envelope_codec import __version__
from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.messages import OTHERS, Kept, Position, Request, Summary
from envelope_codec.cli.audit.results import Results
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.survey import connect, count_stores
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import OWN_TYPES, Part, timestamp, whole_of
from envelope_codec.cli.audit.work import AuditWork
from envelope_codec.cli.audit.workflow import AuditWorkflow, Status
from envelope_codec.cli.connection import Connection
from envelope_codec.cli.distributed.follow import Asked, Failed, begin, follow
from envelope_codec.cli.distributed.served import Offer, Served, refusing_plaintext
from envelope_codec.cli.output import complain
from envelope_codec.cli.reading.batch import run_each
from envelope_codec.cli.reading.progress import Progress
from envelope_codec.cli.stores import list_stores, open_store
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError, PayloadMissing
from envelope_codec.plugin import EnvelopePlugin
from envelope_codec.store import StoreUrl

_NOT_WHOLE = "the windows of the audit are not all of the namespace, each once"


class Distribution(NamedTuple):
    """Who does the work, and where.

    Attributes:
        queue: the task queue of the workers.
        namespace: the namespace of the workflow. It need not be the one that is read.
        results: where results are kept.
        at_once: how many windows are worked on at once.
        takeover: after how many seconds without a sign of life a window is given to another worker.
    """

    queue: str
    namespace: str
    results: StoreUrl
    at_once: int
    takeover: float


class Audited(NamedTuple):
    """What is audited.

    Attributes:
        namespace: the namespace.
        query: what to read of it; empty for all.
        as_of: T0, in milliseconds since 1970. None if the server says it.
        wait: how many seconds the server may need to list a change.
        rate: requests a second, of all workers together.
    """

    namespace: str
    query: str
    as_of: int | None
    wait: float
    rate: float

    @property
    def workflow_id(self) -> str:
        """The id of the workflow: it says what is audited."""
        digest = blake2b(self.query.encode(), digest_size=4).hexdigest() if self.query else ""
        return "/".join(filter(None, (OWN_TYPES[0], self.namespace, digest)))


async def audit_by_workers(
    connection: Connection, audited: Audited, settings: EnvelopeConfig, how: Distribution, *, with_stores: bool = False
) -> Findings:
    """Have workers scan the namespace, and return what they found. Datastores are read here.

    Raises:
        Stopped: it can't be begun, or it failed.
        ConfigurationError: the configuration can't seal in the namespace of the workflow.
    """
    check_settings(settings, how.results)
    with EnvelopePlugin(refusing_plaintext(settings)) as plugin:
        client = await connect(connection, namespace=how.namespace, plugins=[plugin])
        async with open_results(client, how.results) as results:
            try:
                findings = await _audit(client, results, audited, how)
            except EnvelopeError as error:
                raise Stopped(f"the results can't be kept or read: {error}") from None
    if not with_stores:
        return findings
    with Progress() as progress:
        return replace(findings, stores=await count_stores(settings, audited.namespace, progress))


async def serve(offer: Offer, stack: AsyncExitStack) -> Served | None:
    """Return what a worker serves of audits: nothing, unless it was told where results are kept."""
    if offer.results is None:
        return None
    check_settings(offer.settings, offer.results)
    results = await stack.enter_async_context(open_results(offer.client, offer.results))
    work = AuditWork(offer.client, results)
    return Served(f"audit, with results in {offer.results.name}", [AuditWorkflow], work.activities())


def check_settings(settings: EnvelopeConfig, results: StoreUrl) -> None:
    """Raise unless what goes to Temporal is sealed, and results have a place of their own.

    Raises:
        ConfigurationError: one is not so.
    """
    if not settings.sealing:
        raise ConfigurationError("sealing: is off, and what workers tell each other must be sealed")
    if any(results.url == store.url for store in list_stores(settings)):
        raise ConfigurationError("--results: is a datastore of the configuration, which audits count; name another")


@asynccontextmanager
async def open_results(client: Client, url: StoreUrl) -> AsyncIterator[Results]:
    """Open the place of results. The client's codec seals them."""
    async with open_store(url) as store:
        yield Results(store, _codec_of(client))


def _codec_of(client: Client) -> PayloadCodec:
    codec = client.data_converter.payload_codec
    if codec is None:  # the plugin has given it one
        raise ConfigurationError("the client does not seal")
    return codec


async def _audit(client: Client, results: Results, audited: Audited, how: Distribution) -> Findings:
    marker = await results.put_marker()
    request = Request(__version__, *audited, how.at_once, how.takeover, marker)
    asked = Asked(OWN_TYPES[0], audited.workflow_id, how.queue, [request, Position()], Summary, Status)
    with Progress() as progress:
        follower = _Follower(progress, audited)
        try:
            handle = await begin(client, asked)
            complain(f"workflow {asked.id!r} in namespace {how.namespace!r}, on task queue {how.queue!r}")
            summary: Summary = await follow(handle, asked, follower.show, complain)
        except Failed as failed:
            raise Stopped(str(failed)) from None
        if follower.marker not in ("", marker):  # another command had begun it
            with suppress(EnvelopeError):
                await results.forget(marker)
        check_summary(audited, summary)
        if summary.request.marker != marker:
            complain(f"another command has begun this audit, as of {timestamp(summary.beginning.as_of)}")
        progress.expect("reading the results", None)
        return await load_findings(results, summary, progress.advance)


class _Follower:
    """Shows how far the workflow has come."""

    def __init__(self, progress: Progress, audited: Audited) -> None:
        self.marker = ""
        self._progress = progress
        self._audited = audited
        self._doing = ""

    def show(self, status: Status) -> None:
        self.marker = status.request.marker
        if status.request.as_of is not None:
            check_moment(self._audited, status.request.as_of)
        if status.doing != self._doing:
            self._doing = status.doing
            self._progress.expect(status.doing, status.total)
        self._progress.reach(status.done, status.total)


def check_moment(audited: Audited, as_of: int) -> None:
    """Raise `Stopped` if the workflow, which another command began, looks at another moment than is wanted."""
    if audited.as_of not in (None, as_of):
        raise Stopped(
            f"another audit of this namespace is under way, as of {timestamp(as_of)}: wait for it, or cancel it"
        )


def check_summary(audited: Audited, summary: Summary) -> None:
    """Raise `Stopped` if the workflow, which anybody may have begun, audited something else than is wanted."""
    request = summary.request
    if (request.namespace, request.query) != (audited.namespace, audited.query):
        raise Stopped(f"the workflow {audited.workflow_id!r} audited something else: namespace {request.namespace!r}")
    check_moment(audited, summary.beginning.as_of)


async def load_findings(results: Results, summary: Summary, advance: Callable[[], None]) -> Findings:
    """Read the results, and merge them.

    Raises:
        Stopped: one of them is not there, or is one of another audit.
        EnvelopeError: they can't be read.
    """
    audit = summary.request.marker
    try:
        loaded = {part: await _load_part(results, summary, part, advance) for part in Part}
        others = (await results.get(audit, OTHERS, summary.others)).tally
    except PayloadMissing:
        raise Stopped("a result is gone, or is kept at another place: give the same --results") from None
    beginning = summary.beginning
    return Findings(
        as_of=beginning.as_of,
        read_at=loaded[Part.open][1],
        parts={part: tally for part, (tally, _) in loaded.items()},
        others=others,
        retention=beginning.retention,
        archived=beginning.archived,
        new=summary.new,
    )


async def _load_part(results: Results, summary: Summary, part: Part, advance: Callable[[], None]) -> tuple[Tally, int]:
    """Return the tally of a part, and when its first workflow was read."""
    audit, tally, moments = summary.request.marker, Tally(), list[int]()
    whole = whole_of(part, summary.beginning.as_of, 0)
    end = whole.low

    async def merge(kept: Kept) -> None:
        result = await results.get(audit, kept.window, kept.result)
        tally.merge(result.tally)
        moments.append(result.read_at)
        advance()

    for page in summary.pages[part.value]:
        windows = await results.get_page(audit, page)
        for kept in windows:
            if (kept.window.part, kept.window.low) != (part.value, end) or kept.window.high <= end:
                raise Stopped(_NOT_WHOLE)
            end = kept.window.high
        await run_each(windows, merge)
    if end < whole.high:
        raise Stopped(_NOT_WHOLE)
    return tally, min(moments)
