"""Opaque tokens: their issuer tells whose they are, is asked as seldom as may be, and an outage lets nobody in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from envelope_codec.server.auth.introspection import Introspection, IntrospectionUnavailable, TokenRefused
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.key_file import load_client_secret
from tests.support.introspection_server import IntrospectionServer, introspecting


@pytest.fixture
def endpoint() -> Iterator[IntrospectionServer]:
    with introspecting() as running:
        yield running


class Clocks:
    """Clocks that go on together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> float:
        return time.time() + self.seconds


@asynccontextmanager
async def asking(
    endpoint: IntrospectionServer, folder: Path, clocks: Clocks | None = None, **changes: Any
) -> AsyncIterator[Introspection]:
    issuer = Issuer.model_validate(endpoint.settings(folder, **changes))
    secret = load_client_secret(issuer.introspection_secret_file or "")
    clocks = clocks or Clocks()
    made = Introspection(issuer, secret, timeout=30, clock=clocks.monotonic, now=clocks.now)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_the_issuer_tells_whose_a_token_is(endpoint: IntrospectionServer, tmp_path: Path, auth: str) -> None:
    endpoint.know("opaque", groups=["dev"])
    async with asking(endpoint, tmp_path, introspection_auth=auth) as introspection:
        assert await introspection.check() == ""
        claims = await introspection.find_claims("opaque")
        assert (claims["sub"], claims["groups"]) == ("ada", ["dev"])
        assert await introspection.find_claims("opaque") == claims
        assert endpoint.asked.count("opaque") == 1  # the answer is remembered


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"active": False}, "not valid"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "no time that can be read"),
        ({"exp": True}, "no time that can be read"),
        ({"exp": float("nan")}, "expired"),
        ({"nbf": 2**40}, "not valid yet"),
        ({"nbf": float("nan")}, "not valid yet"),
        ({"iss": "https://evil.example.com/"}, "another issuer"),
        ({"aud": "another"}, "another audience"),
        ({"aud": None}, "tells none"),
        ({"aud": [["codec"]]}, "another audience"),
        ({"sub": None}, "subject"),
        ({"sub": 7}, "subject"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"token_type": "DPoP"}, "bound to a key"),
        ({"token_use": "refresh_token", "token_type": "Bearer"}, "no access token"),
        ({"typ": "Refresh"}, "no access token"),
        ({"typ": "ID"}, "no access token"),
    ],
)
async def test_what_the_issuer_says_must_be_right(
    endpoint: IntrospectionServer, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    endpoint.know("opaque", **changes)
    async with asking(endpoint, tmp_path) as introspection:
        for _ in range(2):
            with pytest.raises(TokenRefused, match=said):
                await introspection.find_claims("opaque")
        assert len(endpoint.asked) == 1
        endpoint.know(
            "good",
            aud=["x", "codec"],
            exp=10**400,
            token_type="Bearer",
            typ="Bearer",
            iss="https://opaque.example.com/",
        )
        assert await introspection.find_claims("good")


async def test_no_answer_is_believed_beyond_its_time(endpoint: IntrospectionServer, tmp_path: Path) -> None:
    clocks = Clocks()
    endpoint.know("short", exp=int(time.time()) + 30)
    endpoint.know("long", exp=None)
    async with asking(endpoint, tmp_path, clocks) as introspection:
        await introspection.find_claims("short")
        await introspection.find_claims("long")
        endpoint.tokens.clear()  # both are revoked
        clocks.seconds = 20
        await introspection.find_claims("short")
        clocks.seconds = 31
        with pytest.raises(TokenRefused, match="expired"):
            await introspection.find_claims("short")
        await introspection.find_claims("long")
        clocks.seconds = 61
        with pytest.raises(TokenRefused, match="not valid"):
            await introspection.find_claims("long")
    async with asking(endpoint, tmp_path, introspection_cache=0) as introspection:
        endpoint.know("long")
        await introspection.find_claims("long")
        endpoint.tokens.clear()
        with pytest.raises(TokenRefused):
            await introspection.find_claims("long")


async def test_an_outage_lets_nobody_in_who_is_not_known(
    endpoint: IntrospectionServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    endpoint.know("known")
    endpoint.know("other")
    async with asking(endpoint, tmp_path, clocks) as introspection:
        await introspection.find_claims("known")
        endpoint.down = True
        for _ in range(5):
            with pytest.raises(IntrospectionUnavailable):
                await introspection.find_claims("other")
        assert endpoint.asked == ["known", "other"]  # it is left alone for a moment
        assert await introspection.find_claims("known")
        assert await introspection.check() == "it is answered with status 503"
        assert "nobody with a token of this issuer is let in: it is answered with status 503" in caplog.text
        assert "realm" not in caplog.text
        endpoint.down = False
        clocks.seconds = 2.1
        assert await introspection.find_claims("other")
        assert await introspection.check() == ""


@pytest.mark.parametrize("answer", [None, [], {"active": "true"}, {"active": 1}, {}])
async def test_what_is_no_answer_is_an_outage(endpoint: IntrospectionServer, tmp_path: Path, answer: Any) -> None:
    endpoint.tokens["opaque"] = endpoint.tokens["envelope-codec-check"] = answer
    async with asking(endpoint, tmp_path) as introspection:
        with pytest.raises(IntrospectionUnavailable):
            await introspection.find_claims("opaque")
        assert "does not say whether the token is active" in await introspection.check()


@pytest.mark.parametrize("odd", [400, 404, 413, 500, {"active": "false"}, {"active": True, "sub": "x" * 2**16}])
async def test_who_sends_an_odd_token_keeps_nobody_else_out(
    endpoint: IntrospectionServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, odd: Any
) -> None:
    if isinstance(odd, int):
        endpoint.statuses["odd"] = endpoint.statuses["odd, too"] = odd
    else:
        endpoint.tokens["odd"] = endpoint.tokens["odd, too"] = odd
    endpoint.know("good")
    clocks = Clocks()
    async with asking(endpoint, tmp_path, clocks) as introspection:
        assert await introspection.check() == ""
        for token in ("odd", "odd, too", "odd"):
            with pytest.raises(IntrospectionUnavailable):
                await introspection.find_claims(token)
        assert await introspection.find_claims("good")
        assert endpoint.asked[1:] == ["odd", "odd, too", "good"]  # the odd one is left alone for a moment
        assert await introspection.check() == ""
        assert len(caplog.records) == 1
        assert "whoever has that one is not let in" in caplog.text
        clocks.seconds = 2.1
        endpoint.know("odd")
        endpoint.statuses.clear()
        assert await introspection.find_claims("odd")


async def test_however_many_look_at_the_server_it_asks_once_whether_it_may(
    endpoint: IntrospectionServer, tmp_path: Path
) -> None:
    endpoint.go.clear()
    async with asking(endpoint, tmp_path) as introspection:
        checks = [asyncio.create_task(introspection.check()) for _ in range(100)]
        await asyncio.sleep(0)
        endpoint.go.set()
        assert set(await asyncio.gather(*checks)) == {""}
        assert len(endpoint.asked) == 1


async def test_a_client_that_may_not_ask_is_told_so(endpoint: IntrospectionServer, tmp_path: Path) -> None:
    async with asking(endpoint, tmp_path, introspection_client_id="somebody else") as introspection:
        assert "status 401 (is introspection_client_id right" in await introspection.check()
        with pytest.raises(IntrospectionUnavailable):
            await introspection.find_claims("opaque")


async def test_a_thousand_requests_with_one_token_are_one_question(
    endpoint: IntrospectionServer, tmp_path: Path
) -> None:
    endpoint.know("opaque")
    endpoint.go.clear()
    async with asking(endpoint, tmp_path) as introspection:
        asked = [asyncio.create_task(introspection.find_claims("opaque")) for _ in range(1_000)]
        asked[0].cancel()
        await asyncio.sleep(0)
        endpoint.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, dict) for each in found) == 999
        assert len(endpoint.asked) == 1


async def test_made_up_tokens_wait_in_no_line_without_end(
    endpoint: IntrospectionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope_codec.server.auth.introspection._MOST_UNDER_WAY", 4)
    endpoint.go.clear()
    async with asking(endpoint, tmp_path) as introspection:
        asked = [asyncio.create_task(introspection.find_claims(f"made up {n}")) for n in range(50)]
        await asyncio.wait(asked[4:])
        endpoint.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        kinds = [type(each) for each in found]
        assert (kinds.count(TokenRefused), kinds.count(IntrospectionUnavailable)) == (4, 46)
