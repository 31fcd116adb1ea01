"""The work on many rows: steps are followed, for some rows at once, with calls of the KMS in threads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from envelope_codec._backoff import Backoff, shorten
from envelope_codec.cli.reading.batch import run_all
from envelope_codec.cli.reading.progress import Watcher
from envelope_codec.cli.rewrap.counts import Counts
from envelope_codec.cli.rewrap.master_keys import MasterKeys
from envelope_codec.cli.rewrap.steps import (
    Answer,
    Found,
    IsKept,
    Move,
    Outcome,
    Prove,
    Read,
    RowFailed,
    Step,
    Steps,
    Write,
)
from envelope_codec.cli.rewrap.survey import WHOLE, Span, Survey
from envelope_codec.cli.row_batches import Rows
from envelope_codec.errors import EnvelopeError
from envelope_codec.keystore import RowConflict
from envelope_codec.keystore_row import KeystoreRow, MalformedRow, parse_row

_T = TypeVar("_T")

_BACKOFF = Backoff(0.2, 5.0)
_TRIES = 5  # of a call that got no answer
_SAID: ContextVar[str] = ContextVar("said", default="")  # what the KMS said last to the row that a task works on


class Run:
    """Follows the steps of rows.

    Args:
        keystore: has the rows.
        masters: the master keys.
        in_flight: how many rows are worked on at once; each makes one call at a time.
        pace: is awaited before each call of a KMS.
        progress: is told how far it has come.
        words: gives what a KMS said last in this thread.
        sleep: waits for so many seconds.
        jitter: a number from 0 to 1.
    """

    def __init__(
        self,
        keystore: Rows,
        masters: MasterKeys,
        *,
        in_flight: int,
        pace: Callable[[], Awaitable[None]],
        progress: Watcher,
        words: Callable[[], str] = lambda: "",
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._keystore = keystore
        self._masters = masters
        self._in_flight = in_flight
        self._pace = pace
        self._progress = progress
        self._words = words
        self._sleep = sleep
        self._jitter = jitter
        self._calls = 0
        self._written: dict[bytes, str] = {}  # by the rows' keys, the revisions that were read back
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="envelope-codec-rewrap")

    async def survey(
        self,
        youngest_safe: float,
        namespaces: frozenset[str] = frozenset(),
        is_kept: IsKept | None = None,
        span: Span = WHOLE,
        *,
        is_last: bool = False,
    ) -> Survey:
        """Look at the rows of ``span``, or at those of ``namespaces`` alone. Write nothing.

        Args:
            youngest_safe: Unix seconds; a wrapping key that was made later may still seal.
            namespaces: whose rows count; empty for all.
            is_kept: says what the backup has.
            span: which row keys. The rows of one span after the other can be worked on apart, also by other processes.
            is_last: what was written here, and is there as it was read back, counts as done without another look.

        Raises:
            EnvelopeError: the keystore can't be read, or a KMS does not say what an alias stands for.
        """
        survey = Survey(youngest_safe, self._masters.calls_to_move)
        self._progress.expect("reading the keystore", None)
        async for kept in self._keystore.rows(span.after):
            if span.last is not None and kept.key > span.last:
                break
            self._progress.advance()
            if is_last and self._written.get(kept.key) == kept.revision:
                survey.rows += 1
                continue
            try:
                row = parse_row(kept.key, kept.data)
            except MalformedRow:
                survey.add_unreadable()
                continue
            if namespaces and row.namespace not in namespaces:
                survey.add_elsewhere()
                continue
            if any(recipient.key_id not in survey.by_key_id for recipient in row.recipients):
                await self.in_thread(self._masters.learn, [recipient.key_id for recipient in row.recipients])
            survey.add(row, self._masters.ids, is_kept)
        return survey

    async def follow_all(self, doing: str, keys: Sequence[bytes], steps: Callable[[bytes], Steps]) -> Counts:
        """Follow the steps of each of these rows, and count how they end."""
        counts, before, waiting = Counts(), self._calls, iter(keys)
        self._progress.expect(doing, len(keys))

        async def work() -> None:
            while not counts.hopeless:
                key = next(waiting, None)
                if key is None:
                    return
                await self._count(key, steps(key), counts)
                self._progress.advance()

        await run_all([work() for _ in range(self._in_flight)])
        counts.untried = sum(1 for _ in waiting)
        counts.calls = self._calls - before
        return counts

    async def check_keystore(self) -> None:
        """Raise an `EnvelopeError` if the keystore takes no rows: then no KMS needs to be asked."""
        await self._repeated(self._keystore.check)

    async def in_thread(self, call: Callable[..., _T], *args: Any, calls: int = 1) -> _T:
        """Make ``calls`` of a KMS in a thread. What gets no answer is repeated some times.

        Raises:
            EnvelopeError: as the call raised it.
        """

        said: list[str] = []

        def work() -> _T:
            self._words()  # forgets what came before
            try:
                return call(*args)
            finally:
                said.append(self._words())

        async def paced() -> _T:
            for _ in range(calls):
                await self._pace()
            self._calls += calls
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            finally:
                _SAID.set(said.pop() if said else "")

        return await self._repeated(paced)

    def close(self) -> None:
        """End the threads. Does not wait for calls under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _count(self, key: bytes, steps: Steps, counts: Counts) -> None:
        _SAID.set("")
        try:
            counts.succeed(await self._follow(steps))
        except RowFailed as failed:
            counts.fail(key, failed.reason)
        except EnvelopeError as error:
            counts.fail(key, str(error), _SAID.get())

    async def _follow(self, steps: Steps) -> Outcome:
        """Do each step, and give the answer, or the error, to those that follow."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._do(step)
                except EnvelopeError as error:
                    failure = error.fresh()
                else:
                    step = steps.send(answer)
                    continue
                step = steps.throw(failure)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome

    async def _do(self, step: Step) -> Answer:
        match step:
            case Read(key):
                return await self._read(key)
            case Write(row, revision):
                return await self._write(row, revision)
            case Prove(row, recipient):
                return await self.in_thread(self._masters.prove, row, recipient)
            case Move(row, recipient):
                return await self.in_thread(self._masters.move, row, recipient, calls=self._masters.calls_to_move)

    async def _read(self, key: bytes) -> Found:
        kept = await self._repeated(lambda: self._keystore.get(key))
        if kept is None:
            raise RowFailed("the row is gone from the keystore")
        return Found(_parsed(key, kept.data), kept.revision)

    async def _write(self, row: KeystoreRow, revision: str) -> bool:
        data = row.serialize()
        _parsed(row.key, data)  # what breaks a bound must never get there
        with suppress(RowConflict):  # where an answer was lost before, it may have come through all the same
            await self._repeated(lambda: self._keystore.put(row.key, data, revision))
        kept = await self._repeated(lambda: self._keystore.get(row.key))
        if kept is None or kept.data != data:
            return False
        self._written[row.key] = kept.revision
        return True

    async def _repeated(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Make ``call``, and repeat it where it got no answer, less and less often."""
        for failures in range(1, _TRIES):
            try:
                return await call()
            except EnvelopeError as error:
                if not error.retryable:
                    raise
            await self._sleep(shorten(_BACKOFF.seconds(failures), self._jitter()))
        return await call()


def _parsed(key: bytes, data: bytes) -> KeystoreRow:
    try:
        return parse_row(key, data)
    except MalformedRow as error:
        reason = error.reason
    raise RowFailed(reason)
