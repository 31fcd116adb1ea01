"""Direct mode: one call for each payload, and a probe before a worker starts."""

from __future__ import annotations

import pytest

from envelope_codec.envelope import Purpose
from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.keys.keyset import KeySet
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import REFUSAL, Ring


async def test_each_payload_costs_one_call_and_has_a_key_of_its_own() -> None:
    ring = Ring(direct=True)
    keys = [await ring.seal() for _ in range(3)]
    assert len({key.key for key in keys}) == 3
    assert {key.record.purpose for key in keys} == {Purpose.DATA_KEY}
    assert ring.calls == (3, 0)


async def test_none_is_ever_at_hand() -> None:
    ring = Ring(direct=True)
    await ring.seal()
    assert ring.keyring.try_sealing_key("default") is None


async def test_a_worker_starts_without_a_call_once_a_payload_was_sealed() -> None:
    ring = Ring(direct=True)
    await ring.seal()
    await ring.finish(ring.keyring.prewarm("default"))
    assert ring.calls == (1, 0)


@pytest.mark.parametrize("error", [KeyDenied("no"), KmsUnavailable("down")])
async def test_after_a_failure_a_start_asks_again(error: Exception) -> None:
    ring = Ring(direct=True)
    await ring.seal()
    ring.kms.denied, ring.kms.down = isinstance(error, KeyDenied), isinstance(error, KmsUnavailable)
    with pytest.raises(type(error)):
        await ring.seal(timeout=1.0)
    ring.kms.denied = ring.kms.down = False
    ring.clock.advance(REFUSAL)
    before = ring.kms.wraps
    await ring.finish(ring.keyring.prewarm("default"))
    assert ring.kms.wraps == before + 1


async def test_a_start_is_told_of_a_refusal() -> None:
    ring = Ring(direct=True)
    ring.kms.denied = True
    with pytest.raises(KeyDenied):
        await ring.finish(ring.keyring.prewarm("default", timeout=1.0))


async def test_what_is_remembered_of_scopes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver may make up any number of them."""
    monkeypatch.setattr("envelope_codec.keys.direct._REMEMBERED", 3)
    kms, backup = FakeKms(), FakeKms()
    backup.denied = True
    ring = Ring(kms, direct=True)
    for _ in range(10):
        await ring.finish(ring.keyring.sealing_key(("n", KeySet(kms, (backup,)))))
    assert len(ring.keyring._direct._proven) <= 3
    assert len(ring.keyring._direct._reported) <= 3
