"""Opening the payloads of a request: others have their turn meanwhile, and what comes from a store counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import JSONProtoPayloadConverter, StorageDriver

from envelope_codec import EnvelopeCodec
from envelope_codec.envelope import parse
from envelope_codec.server import ServerConfig
from envelope_codec.server.auth.access import Grants
from envelope_codec.server.auth.rule import Rule
from envelope_codec.server.metrics import Metrics
from envelope_codec.server.payloads.opener import Opener
from envelope_codec.server.payloads.outcome import PASSED
from envelope_codec.server.payloads.read_request import ReadRequest
from envelope_codec.server.payloads.stores import Stores
from envelope_codec.server.web.admission import Admission
from envelope_codec.server.web.turns import Turns
from envelope_codec.storage.reference import MARK
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b"1")


class Folder(StorageDriver):
    """Has one payload."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload

    def name(self) -> str:
        return "folder"

    async def store(self, context: Any, payloads: Any) -> Any:
        raise AssertionError("not asked")

    async def retrieve(self, context: Any, claims: Any) -> Any:
        return [self.payload]


def reference(driver: str, size: int) -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data={"name": "one"})
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    payload.external_payloads.add().size_bytes = size
    return payload


def opener(codec: EnvelopeCodec, driver: StorageDriver | None = None) -> Opener:
    stores = None if driver is None else Stores.of(driver)
    return Opener(codec, stores, Turns(32, 16), Turns(32, 16), each=16, timeout=20)


def request(admission: Admission) -> ReadRequest:
    rule = Rule(claims={}, namespaces=("*",), verbs=("decode",))
    return ReadRequest("decode", Grants([rule], {}, {}), None, admission.visit("ada"), True)


async def test_references_to_unknown_stores_stay_where_references_are_kept() -> None:
    given = replace(request(Admission(ServerConfig(), Metrics())), inline_below=2**16)
    codec = EnvelopeCodec(FakeKms())
    unreadable = reference("folder", 1)
    unreadable.data = b"{"
    [encoded] = await codec.encode([reference("lost", 1)])
    encoded.metadata[MARK] = b"true"
    references = [reference("lost", 1), unreadable, reference("folder", 1)]
    found = await opener(codec, Folder(PLAIN)).open([*references, encoded], given)
    assert [outcome.kind for outcome in found[:3]] == [PASSED] * 3
    assert [outcome.payload for outcome in found] == [*references, references[0]]
    assert not found[3].failed


async def count_turns(work: Awaitable[Any], counts: Callable[[], bool]) -> int:
    """Return how often the event loop did other work while ``work`` was awaited, where ``counts`` says so."""
    count, task = 0, asyncio.ensure_future(work)
    while not task.done():
        count += counts()
        await asyncio.sleep(0)
    await task
    return count


@pytest.mark.parametrize("kind", ["cold", "one is bad", "lost"])
async def test_others_have_their_turns_between_payloads_that_are_opened_one_by_one(kind: str) -> None:
    key = FakeKms()
    sealed = await EnvelopeCodec(key).encode([PLAIN] * 90)
    codec = EnvelopeCodec(key)
    if kind == "one is bad":
        await codec.decode(sealed[:1])
        sealed[-1].data += b"x"
    if kind == "lost":
        sealed = [reference("lost", 1)] * 900
    opening = opener(codec, Folder(PLAIN) if kind == "lost" else None)
    outcomes = opening.open(sealed, request(Admission(ServerConfig(), Metrics())))

    def waits_for_no_kms() -> bool:
        envelope = parse(sealed[0].metadata, sealed[0].data)
        return envelope is None or codec.keyring.try_opening_key(envelope.record) is not None

    assert await count_turns(outcomes, waits_for_no_kms) >= 50


async def test_all_of_what_a_store_gave_counts() -> None:
    key = FakeKms()
    [stored] = await EnvelopeCodec(key).encode([PLAIN])
    stored.metadata["other"] = bytes(2**20)  # not bound, and dropped when it is opened
    admission = Admission(ServerConfig(), Metrics())
    given = request(admission)
    [outcome] = await opener(EnvelopeCodec(key), Folder(stored)).open([reference("folder", 2**21)], given)
    assert outcome.payload == PLAIN
    assert admission._bytes.used == stored.ByteSize()
