"""What is said of a keystore's permissions, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.keystore.trial import configured_role, try_operations
from envelope_codec.errors import StoreRefused, StoreUnavailable
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_role import Operation, Role
from envelope_codec.testing import FakeKeystore, FakeKms

SHARING = {"keystore": FakeKeystore(), "share_wrapping_keys": True, "keystore_auth": "ab" * 32}


@pytest.mark.parametrize(
    ("refused", "lacking"),
    [
        (set(), set()),
        ({"check"}, {Role.seal, Role.share, Role.rewrap}),
        ({"put"}, {Role.share, Role.rewrap}),
        ({"rows"}, {Role.export, Role.rewrap}),
        ({"get"}, set(Role)),
    ],
)
async def test_roles_lack_what_is_refused(refused: set[str], lacking: set[Role]) -> None:
    keystore = FakeKeystore()
    keystore.refuses |= refused
    client = KeystoreClient(keystore)
    trial = await try_operations(client)
    await client.aclose()
    assert {role for role in Role if trial.lacking(role) is not None} == lacking
    assert all(isinstance(error, StoreRefused) for error in trial.failures.values())
    assert keystore.kept == {}


async def test_a_keystore_that_takes_no_writes_now_is_told_apart_from_one_that_is_out() -> None:
    class Replica(FakeKeystore):
        async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
            raise StoreUnavailable("the database takes no writes: it is a replica, or read-only")

    trial = await try_operations(client := KeystoreClient(Replica()))
    await client.aclose()
    assert list(trial.failures) == [Operation.replace]
    out = FakeKeystore()
    out.down = True
    client = KeystoreClient(out)
    with pytest.raises(StoreUnavailable):
        await try_operations(client)
    await client.aclose()


async def test_a_keystore_that_does_not_compare_is_told() -> None:
    class Blind(FakeKeystore):
        async def put(self, key: bytes, data: bytes, revision: str | None) -> str:
            return "1"

    trial = await try_operations(client := KeystoreClient(Blind()))
    await client.aclose()
    assert "without comparing revisions" in trial.failures[Operation.replace].reason


@pytest.mark.parametrize(
    ("settings", "role"),
    [
        ({}, Role.seal),
        ({"sealing": False}, Role.open),
        ({"wrapping": "direct"}, Role.open),
        (SHARING, Role.share),
        ({**SHARING, "verify_wraps": False}, Role.seal),
        ({**SHARING, "sealing": False}, Role.open),
    ],
)
def test_the_role_is_what_the_configuration_makes_of_a_process(settings: dict[str, Any], role: Role) -> None:
    assert configured_role(EnvelopeConfig(key=FakeKms("fakekms://k"), **settings)) is role
