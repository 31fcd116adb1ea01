"""A JWKS on the web, fetched when it must be and no more often; time goes by at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from envelope_codec.server.auth.remote_keys import RemoteKeys
from envelope_codec.server.auth.verification_keys import KeysUnavailable
from envelope_codec.testing.listeners import silent_port
from tests.support.manual_clock import Hand
from tests.support.token_issuer import Issuer, Key, issuing

DAY = 86_400.0


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture
def keys(issuer: Issuer, clock: Hand) -> RemoteKeys:
    return RemoteKeys(issuer.jwks_url, clock=clock)


async def test_keys_that_got_old_are_fetched_again_and_those_that_went_are_gone(
    issuer: Issuer, keys: RemoteKeys, clock: Hand
) -> None:
    assert await keys.find("first") is not None
    issuer.keys = [Key("second")]
    clock.now += 299
    assert await keys.find("first") is not None
    assert issuer.fetches == 1
    clock.now += 2
    assert await keys.find("first") is None
    assert issuer.fetches == 3  # as it had got old, and once for the one that is not there
    assert await keys.find("second") is not None


async def test_old_keys_go_on_for_a_day_and_the_jwks_is_asked_now_and_then(
    issuer: Issuer, keys: RemoteKeys, clock: Hand
) -> None:
    assert await keys.find("first") is not None
    issuer.down = True
    clock.now += 301
    for _ in range(5):
        assert await keys.find("first") is not None
    assert issuer.fetches == 2
    clock.now += 31
    assert await keys.find("first") is not None
    assert issuer.fetches == 3
    clock.now += DAY
    with pytest.raises(KeysUnavailable):
        await keys.find("first")
    issuer.down = False
    clock.now += 31
    assert await keys.find("first") is not None


async def test_while_no_key_is_known_the_jwks_is_not_asked_at_every_turn(
    issuer: Issuer, keys: RemoteKeys, clock: Hand
) -> None:
    issuer.down = True
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await keys.find("first")
    assert issuer.fetches == 1
    issuer.down = False
    clock.now += 3
    assert await keys.find("first") is not None
    assert issuer.fetches == 2


async def test_unknown_keys_are_looked_for_now_and_then(issuer: Issuer, keys: RemoteKeys, clock: Hand) -> None:
    assert await keys.find("first") is not None
    for _ in range(5):
        assert await keys.find("made up") is None
        assert await keys.find(None) is None
    assert issuer.fetches == 2
    issuer.keys.append(Key("second"))
    assert await keys.find("second") is None  # somebody has just looked
    clock.now += 11
    assert await keys.find("second") is not None
    assert issuer.fetches == 3


async def test_a_jwks_that_hangs_keeps_nobody_else_waiting_and_ends_for_no_cancelled_caller(clock: Hand) -> None:
    with silent_port() as address:
        keys = RemoteKeys(f"http://{address}/", timeout=0.5, clock=clock)
        first, second = asyncio.create_task(keys.find("a")), asyncio.create_task(keys.find("a"))
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(0), 0.4)  # the event loop goes on
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(KeysUnavailable):
            await second
        assert keys._fetching is None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "kid": "x", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"},
        {**Key("x").jwk, "use": "enc"},
        {**Key("x").jwk, "kid": ""},
        {"kty": "RSA", "kid": "x"},
        {"kid": "x"},
    ],
)
async def test_keys_that_are_for_something_else_are_none(clock: Hand, jwk: dict[str, str]) -> None:
    class Odd(Key):
        jwk: dict[str, str]

    odd = Odd("x")
    Odd.jwk = jwk
    with issuing() as issuer:
        keys = RemoteKeys(issuer.jwks_url, clock=clock)
        issuer.keys = [odd]
        with pytest.raises(KeysUnavailable):
            await keys.find("x")
        issuer.keys = [odd, Key("good")]
        clock.now += 3
        assert await keys.find("good") is not None
        assert await keys.find("x") is None


async def test_a_token_in_the_query_of_the_url_is_not_logged(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    issuer.down = True
    await RemoteKeys(f"{issuer.jwks_url}?token=sesame#sesame").check()
    assert f"the JWKS at {issuer.jwks_url} gives no keys" in caplog.text
    assert "sesame" not in caplog.text
