"""Calls for one row of a keystore, put together into calls for several, where the keystore takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from envelope_codec.errors import EnvelopeError, StoreRefused
from envelope_codec.keystore import Kept, conflict
from envelope_codec.keystore_batch import MAX_BATCH
from envelope_codec.keystore_client import KeystoreClient

_Q = TypeVar("_Q")
_A = TypeVar("_A")


class Rows(Protocol):
    """What is needed of a keystore."""

    async def get(self, key: bytes) -> Kept | None: ...

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str: ...

    def rows(self, after: bytes = b"") -> AsyncIterator[Kept]: ...

    async def check(self) -> None: ...


class RowBatches:
    """A `KeystoreClient` for callers that work on many rows at once.

    What is asked while a call is under way goes together in the next one. So nobody waits for others to come, and a
    statement of a database, which costs about as much as what a rewrap does with a row besides, serves several rows.

    Args:
        client: of the keystore.
    """

    def __init__(self, client: KeystoreClient) -> None:
        self._client = client
        self._gets: _Batches[bytes, Kept | None] = _Batches(client.get_each, client.get, _as_it_is)
        self._puts: _Batches[Kept, str | None] = _Batches(client.replace_each, self._replace, lambda change: change.key)

    async def get(self, key: bytes) -> Kept | None:
        """Do as `Keystore.get` does."""
        return await (self._gets.ask(key) if self._client.batches else self._client.get(key))

    async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
        """Do as `Keystore.put` does."""
        if revision is None or not self._client.batches:
            return await self._client.put(key, data, revision)
        fresh = await self._puts.ask(Kept(key, data, revision))
        if fresh is None:
            raise conflict()
        return fresh

    def rows(self, after: bytes = b"") -> AsyncIterator[Kept]:
        """Do as `Keystore.rows` does."""
        return self._client.rows(after)

    async def check(self) -> None:
        """Do as `Keystore.check` does."""
        await self._client.check()

    async def _replace(self, change: Kept) -> str | None:
        return await self._client.put(*change)


class _Batches(Generic[_Q, _A]):
    """Questions of one kind.

    Args:
        ask_each: asks several of them.
        ask_one: asks one of them alone.
        key_of: the key of the row that a question is about. No two of one call are about the same.
    """

    def __init__(
        self,
        ask_each: Callable[[Sequence[_Q]], Awaitable[Sequence[_A]]],
        ask_one: Callable[[_Q], Awaitable[_A]],
        key_of: Callable[[_Q], bytes],
    ) -> None:
        self._ask_each = ask_each
        self._ask_one = ask_one
        self._key_of = key_of
        self._waiting: deque[tuple[_Q, asyncio.Future[_A]]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, question: _Q) -> _A:
        """Return the answer to ``question``. Raises what its call raised."""
        future: asyncio.Future[_A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._serving is None:
            self._serving = asyncio.ensure_future(self._serve())
        return await future

    async def _serve(self) -> None:
        try:
            while self._waiting:
                if asked := self._next():
                    await self._answer(asked)
        finally:
            self._serving = None

    def _next(self) -> list[tuple[_Q, asyncio.Future[_A]]]:
        """Take the questions that have waited longest, without those about a row that one of them is about."""
        taken: dict[bytes, tuple[_Q, asyncio.Future[_A]]] = {}
        again: list[tuple[_Q, asyncio.Future[_A]]] = []
        while self._waiting and len(taken) < MAX_BATCH:
            asked = self._waiting.popleft()
            key = self._key_of(asked[0])
            if asked[1].done():  # who asked waits no longer
                continue
            if key in taken:
                again.append(asked)
            else:
                taken[key] = asked
        self._waiting.extendleft(reversed(again))
        return list(taken.values())

    async def _answer(self, asked: list[tuple[_Q, asyncio.Future[_A]]]) -> None:
        """Answer all at once. One by one after an error, which may be the fault of one of them alone."""
        answers: Sequence[Any]
        try:
            answers = await self._ask_each([question for question, _ in asked])
            if len(answers) != len(asked):  # nobody knows which is whose, and nobody must wait for ever
                raise StoreRefused("the keystore gave another number of answers than it was asked for")
        except EnvelopeError:
            answers = await asyncio.gather(*(self._ask_one(one) for one, _ in asked), return_exceptions=True)
        except Exception as error:
            answers = [error] * len(asked)
        for (_, future), answer in zip(asked, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _as_it_is(key: bytes) -> bytes:
    return key
