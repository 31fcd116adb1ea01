"""The application's own drivers and selectors: their errors become this library's."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import ExternalStorage, StorageDriver, StorageDriverClaim

from envelope_codec import ExtensionFailed
from envelope_codec.storage.foreign import ForeignDriver, ForeignSelector, wrap_drivers

PAYLOAD = Payload(data=b"x")


class Theirs(StorageDriver):
    """A driver that answers what it was made with."""

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer

    def name(self) -> str:
        return "theirs"

    async def store(self, context: Any, payloads: Any) -> Any:
        return self._give()

    async def retrieve(self, context: Any, claims: Any) -> Any:
        return self._give()

    def _give(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def store(answer: Any) -> Any:
    return await ForeignDriver(Theirs(answer)).store(None, [PAYLOAD])  # type: ignore[arg-type]


async def retrieve(answer: Any) -> Any:
    return await ForeignDriver(Theirs(answer)).retrieve(None, [StorageDriverClaim({})])  # type: ignore[arg-type]


async def test_good_answers_pass() -> None:
    assert await store([StorageDriverClaim({"key": "k"})]) == [StorageDriverClaim({"key": "k"})]
    assert await retrieve((PAYLOAD,)) == [PAYLOAD]


@pytest.mark.parametrize("answer", [None, [], [7], [StorageDriverClaim({"key": 7})], ValueError("a secret")])  # type: ignore[dict-item]
async def test_a_bad_answer_is_an_error_with_a_fixed_text(answer: Any) -> None:
    for call in (store, retrieve):
        with pytest.raises(ExtensionFailed) as raised:
            await call(answer)
        assert "secret" not in str(raised.value)


def test_a_selector_chooses_among_the_wrapped_drivers() -> None:
    first = Theirs()
    chosen: list[Any] = [first, None, Theirs(), ValueError("a secret")]

    def select(context: Any, payload: Any) -> Any:
        choice = chosen.pop(0)
        if isinstance(choice, Exception):
            raise choice
        return choice

    storage = ExternalStorage(drivers=[first], driver_selector=select)
    drivers = wrap_drivers(storage)
    selector: Any = ForeignSelector(storage, drivers)
    assert selector(None, PAYLOAD) is drivers[0]
    assert selector(None, PAYLOAD) is None
    for _ in range(2):  # one that is not registered, and an error
        with pytest.raises(ExtensionFailed):
            selector(None, PAYLOAD)
    alone = ExternalStorage(drivers=[first])
    only: Any = ForeignSelector(alone, drivers)
    assert only(None, PAYLOAD) is drivers[0]
    assert wrap_drivers(None) == []
