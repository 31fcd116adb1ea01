"""The stores that references lead to, whoever's they are."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import ExternalStorage, JSONProtoPayloadConverter, StorageDriver

from envelope_codec import ConfigurationError
from envelope_codec.server.payloads.stores import BadReference, StorageFailed, Stores, load_storage
from tests.support.memory_store import ANYWHERE, Memory, driver_of, sealed

STORED = Payload(data=b"stored")
NOT_STORAGE = 7


class Theirs(StorageDriver):
    """A driver of the application that answers what it was made with."""

    def __init__(self, name: str = "theirs", answer: Any = (STORED,)) -> None:
        self._name, self._answer = name, answer

    def name(self) -> str:
        return self._name

    async def store(self, context: Any, payloads: Any) -> Any:
        raise AssertionError("not asked")

    async def retrieve(self, context: Any, claims: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def reference(driver: str, claim: dict[str, str], size: int = 0) -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data=claim)
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    payload.external_payloads.add().size_bytes = size
    return payload


async def test_a_reference_of_this_library_has_an_envelope_and_a_sealed_size() -> None:
    driver = driver_of(Memory())
    [payload] = await sealed(driver)
    [claim] = await driver.store(ANYWHERE, [payload])
    stores = Stores.of(driver)
    found = reference(driver.name(), dict(claim.claim_data), size=1)
    assert stores.claim_envelope(found) is not None
    assert await stores.read_size(found) == payload.ByteSize()
    assert await stores.fetch(found) == payload


async def test_a_reference_of_another_driver_says_its_size_itself() -> None:
    stores = Stores.merge(Theirs(), None, ExternalStorage(drivers=[Theirs("theirs", ())]), Theirs("others"))
    assert stores is not None
    assert set(stores.drivers) == {"theirs", "others"}
    found = reference("theirs", {"key": "k"}, size=7)
    assert stores.claim_envelope(found) is None
    assert await stores.read_size(found) == 7
    assert await stores.fetch(found) == STORED, "of two drivers with one name the first counts"
    assert Stores.merge(None, None) is None


async def test_what_leads_nowhere_is_a_bad_reference() -> None:
    stores = Stores.of(Theirs())
    for bad in (reference("unknown", {}), Payload(metadata={"encoding": b"json/protobuf"}, data=b"{")):
        with pytest.raises(BadReference):
            await stores.fetch(bad)


@pytest.mark.parametrize("answer", [RuntimeError("a secret"), (), (STORED, STORED), (7,), None])
async def test_a_store_that_gives_no_payload_has_failed(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StorageFailed):
        await Stores.of(Theirs(answer=answer)).fetch(reference("theirs", {"key": "k"}))
    assert "a secret" not in caplog.text


def test_storage_is_loaded_by_its_name() -> None:
    assert isinstance(load_storage(f"{__name__}:Theirs"), Theirs)
    for name, said in ((":x", "can't be loaded"), ("json:nothing", "can't be loaded"), ("time:time", "makes none")):
        with pytest.raises(ConfigurationError, match=said):
            load_storage(name)
