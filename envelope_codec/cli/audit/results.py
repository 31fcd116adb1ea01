"""The results of a distributed audit, at a place that all its workers reach: a datastore or a shared directory.

What is kept there is sealed, as what goes to Temporal. A result is never changed: a later one has another id. Whoever
can write to Temporal, or to that place, can repeat what was sealed elsewhere. So each entry says of itself which it is:
its id, its audit, and what of it.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from envelope_codec.cli.audit.checkpoint import Result
from envelope_codec.cli.audit.messages import Kept, Span
from envelope_codec.cli.audit.stopped import Stopped
from envelope_codec.cli.audit.tally import from_document, to_document
from envelope_codec.store import MOST_UNKNOWN, PayloadStore, TooLarge, get_within

_SEALED = b"binary/envelope-"
_OF_NONE = ""  # stands for the audit in a marker, by which audits are known
_PAGE = "page"
_NO_RESULT = "what is kept as a result of this audit is none, or is one of another"


class Results:
    """The results.

    Args:
        store: keeps them.
        codec: seals and opens them.
    """

    def __init__(self, store: PayloadStore, codec: PayloadCodec) -> None:
        self._store = store
        self._codec = codec

    async def put(self, audit: str, window: Span, result: Result) -> str:
        """Keep the result of a window. Return its id.

        Args:
            audit: the marker of the audit.
            window: the window.
            result: what it holds.

        Raises:
            EnvelopeError: the place can't be written to, or the result can't be sealed.
        """
        document = {"tally": to_document(result.tally), "runs": dump_runs(result.runs), "read_at": result.read_at}
        return await self._put(audit, _name(window), document)

    async def get(self, audit: str, window: Span, id: str) -> Result:
        """Return the result with this id.

        Raises:
            EnvelopeError: it is not there, or can't be opened.
            Stopped: it is none, or of another audit or window.
        """
        document = await self._get(audit, _name(window), id)
        try:
            return Result(from_document(document["tally"]), load_runs(document["runs"]), int(document["read_at"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Stopped(_NO_RESULT) from None

    async def put_page(self, audit: str, windows: Iterable[Kept]) -> str:
        """Keep a page of windows. Return its id."""
        entries = [[*vars(kept.window).values(), kept.result, kept.sources] for kept in windows]
        return await self._put(audit, _PAGE, entries)

    async def get_page(self, audit: str, id: str) -> list[Kept]:
        """Return the page of windows with this id. Raise as `get` does."""
        entries = await self._get(audit, _PAGE, id)
        return [Kept(Span(part, low, high), result, sources) for part, low, high, result, sources in entries]

    async def put_marker(self) -> str:
        """Keep something by which another process knows that it reaches the same place. Return its id."""
        return await self._put(_OF_NONE, "marker", None)

    async def check_marker(self, id: str) -> None:
        """Raise `EnvelopeError` if the marker with this id is not here, or can't be opened."""
        await self._get(_OF_NONE, "marker", id)

    async def forget(self, id: str) -> None:
        """Keep no longer what has this id."""
        await self._store.delete(id)

    async def _put(self, audit: str, what: str, document: object) -> str:
        id = os.urandom(16).hex()
        inner = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps([[id, audit, what], document]).encode())
        [sealed] = await self._codec.encode([inner])
        await self._store.put(id, sealed.SerializeToString())
        return id

    async def _get(self, audit: str, what: str, id: str) -> Any:
        try:
            data = await get_within(self._store, id, MOST_UNKNOWN)
        except TooLarge:
            raise Stopped(_NO_RESULT) from None
        try:
            sealed = Payload.FromString(data)
            if not sealed.metadata.get("encoding", b"").startswith(_SEALED):  # anybody could have written it
                raise Stopped(_NO_RESULT)
            [inner] = await self._codec.decode([sealed])
            named, document = json.loads(inner.data)
        except (DecodeError, ValueError, TypeError):
            raise Stopped(_NO_RESULT) from None
        if named != [id, audit, what]:  # another one of this audit, or of an earlier one, was put in its place
            raise Stopped(_NO_RESULT)
        return document


def _name(window: Span) -> str:
    return f"{window.part} {window.low} {window.high}"


def dump_runs(runs: Iterable[int]) -> str:
    """Write numbers of runs as text."""
    return array("Q", sorted(runs)).tobytes().hex()


def load_runs(text: str) -> array[int]:
    """Read what `dump_runs` wrote.

    Raises:
        ValueError, TypeError: it is something else.
    """
    runs = array("Q")
    runs.frombytes(bytes.fromhex(text))
    return runs
