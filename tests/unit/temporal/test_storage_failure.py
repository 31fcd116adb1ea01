"""Failures about the store are known, however deep in their causes the store's error stands."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from envelope_codec import KeyDenied, StoreRefused, StoreUnavailable
from envelope_codec.temporal.storage_failure import failing, note_failure


def caused_by(cause: BaseException | None, *, explicit: bool = True) -> BaseException:
    error = ValueError("the user's")
    if explicit:
        error.__cause__ = cause
    else:
        error.__context__ = cause
    return error


def chain(length: int) -> BaseException:
    error: BaseException = StoreUnavailable("the store does not answer")
    for _ in range(length):
        error = caused_by(error)
    return error


def cycle() -> BaseException:
    error = ValueError("the user's")
    error.__cause__ = caused_by(error)
    return error


class NoCause(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("unreadable")


@pytest.mark.parametrize(
    ("error", "about_the_store"),
    [
        (StoreUnavailable("the store does not answer"), True),
        (StoreRefused("the store refuses"), True),
        (ApplicationError("as it came from a failure", type="StoreUnavailable"), True),
        (ApplicationError("as it came from a failure", type="StoreRefused"), True),
        (caused_by(StoreRefused("the store refuses")), True),
        (caused_by(StoreRefused("the store refuses"), explicit=False), True),
        (chain(50), True),
        (chain(150), False),
        (KeyDenied("disabled"), False),
        (ApplicationError("anything", type="Declined"), False),
        (caused_by(None), False),
        (cycle(), False),
        (NoCause(), False),
    ],
)
async def test_what_is_about_the_store(error: BaseException, about_the_store: bool) -> None:
    async def encode() -> bool:
        note_failure(error)
        return failing.get()

    assert await asyncio.create_task(encode()) is about_the_store
    assert not failing.get(), "another task knows nothing of it"


async def test_each_failure_is_looked_at_by_itself() -> None:
    note_failure(StoreRefused("the store refuses"))
    assert failing.get()
    note_failure(ValueError("the user's"))
    assert not failing.get()


def test_the_end_of_the_process_is_not_held_up() -> None:
    class Ending(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        note_failure(Ending())
