"""Budgets, turns and rates of the codec server: nobody gets so much that others get nothing, and memory is bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.datastructures import Headers

from envelope_codec.server import ServerConfig
from envelope_codec.server.audit import Entry
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.payloads.message import tree_bytes
from envelope_codec.server.web.address import network_of
from envelope_codec.server.web.budget import UNBOUNDED, Budget, Lack
from envelope_codec.server.web.gate import Gate
from envelope_codec.server.web.host import Hosts
from envelope_codec.server.web.limiter import Limiter
from envelope_codec.server.web.protocol import Connections
from envelope_codec.server.web.refusal import Refusal
from envelope_codec.server.web.tally import Tally
from envelope_codec.server.web.turns import Turns


class Hand:
    """A clock that is turned by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_one_caller_gets_its_own_and_others_what_is_left() -> None:
    budget = Budget(100, 16)
    assert [budget.take("mallory") for _ in range(16)] == [None] * 16
    assert budget.take("mallory") is Lack.own
    assert budget.take("ada") is None
    budget.give_back("mallory", 16)
    budget.give_back("ada")
    assert (budget.used, budget.callers) == (0, 0)


@pytest.mark.parametrize("names", [1, 2, 7, 20, 40])
def test_however_many_names_one_has_something_is_left_for_the_next(names: int) -> None:
    budget = Budget(100, 100)
    while [n for n in range(names) if budget.take(f"mallory-{n}") is None]:
        pass
    assert budget.take("ada") is None
    assert budget.used <= 100 - 100 // (2 * names + 1) + 1


def test_what_is_not_there_nobody_gets() -> None:
    budget = Budget(10, 100)
    assert budget.take("ada", 11) is Lack.all
    assert budget.take("ada", 10) is None
    assert budget.take("bob") is Lack.all
    small = Budget(2, 16)  # too few to share
    assert [small.take("ada") for _ in range(3)] == [None, None, Lack.all]
    assert [Budget(UNBOUNDED, 1).take("ada", n) for n in (1, 2)] == [None, Lack.own]


# --- turns -----------------------------------------------------------------------------------------------------------


async def held(turns: Turns, caller: str, namespace: str, count: int) -> list[asyncio.Task[Any]]:
    """So many who want a turn at once, after each had its chance to begin."""
    tasks = [asyncio.create_task(turns.take(caller, namespace)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_crowd_keeps_nobody_from_a_turn() -> None:
    turns = Turns(32, 16)
    crowd = await held(turns, "mallory", "a", 1_000)
    assert (turns.taken, turns.waiting) == (16, 984)
    for namespace in ("a", "b"):
        (await asyncio.wait_for(turns.take("ada", namespace), 30))()
    for task in crowd:
        task.cancel()
    await asyncio.wait(crowd)
    assert turns.waiting == 0


async def test_a_namespace_whose_kms_hangs_does_not_take_them_all() -> None:
    turns = Turns(32, 16)
    for caller in range(10):
        await held(turns, f"caller-{caller}", "hanging", 16)
    assert turns.taken < 32
    (await asyncio.wait_for(turns.take("ada", "other"), 30))()


async def test_turns_are_given_in_rotation() -> None:
    turns = Turns(1, 1)
    end = await turns.take("first", "a")
    order: list[str] = []

    async def go(caller: str) -> None:
        ended = await turns.take(caller, "a")
        order.append(caller)
        ended()

    tasks = [asyncio.create_task(go(caller)) for caller in ["m", "m", "m", "ada", "bob"]]
    await asyncio.sleep(0)
    end()
    await asyncio.gather(*tasks)
    assert order == ["m", "ada", "bob", "m", "m"]
    assert (turns.taken, turns.waiting) == (0, 0)


async def test_a_turn_that_nobody_wants_any_more_is_passed_on() -> None:
    seen: list[int] = []
    turns = Turns(1, 1, seen.append)
    end = await turns.take("first", "a")
    [gone, next_] = [*await held(turns, "gone", "a", 1), *await held(turns, "next", "a", 1)]
    gone.cancel()
    end()  # both in one moment: it is given, and not wanted
    with pytest.raises(asyncio.CancelledError):
        await gone
    (await asyncio.wait_for(next_, 30))()
    [early] = await held(turns, "early", "a", 1)
    (await early)()
    assert (turns.taken, turns.waiting, sum(seen)) == (0, 0, 0)


# --- rates -----------------------------------------------------------------------------------------------------------


def test_a_bucket_fills_evenly() -> None:
    clock = Hand()
    limiter = Limiter("6/minute", clock=clock)
    assert [limiter.take("ada") for _ in range(6)] == [0] * 6
    assert limiter.take("ada") == pytest.approx(10)
    assert limiter.take("bob") == 0
    clock.now += 9.9
    assert limiter.take("ada")
    clock.now += 0.2
    assert not limiter.take("ada")
    assert limiter.take("ada")
    limiter.give_back("ada")
    assert not limiter.take("ada")
    limiter.give_back("nobody")
    clock.now += 60
    assert [bool(limiter.take("ada")) for _ in range(7)] == [False] * 6 + [True]
    assert not any(Limiter(None).take("ada") for _ in range(1_000))


def test_no_flood_of_names_takes_memory() -> None:
    limiter = Limiter("1/day", callers=100)
    assert not limiter.take("ada")
    for n in range(1_000):
        limiter.take(f"mallory-{n}")
    assert len(limiter._owed) == 100


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
        ("x" * 5_000, "x" * 100),
        ("", ""),
    ],
)
def test_an_address_is_counted_with_its_network(client: str, network: str) -> None:
    assert network_of(client) == network


def test_an_address_has_so_many_connections() -> None:
    connections = Connections(2, ["192.0.2.9"])
    ends = [connections.open(f"2001:db8::{n}") for n in range(2)]
    assert connections.open("2001:db8::3") is None
    assert connections.open("2001:db8:1::3") is not None
    assert ends[0] is not None
    ends[0]()
    assert connections.open("2001:db8::3") is not None
    assert all(connections.open("192.0.2.9") for _ in range(10))
    proxies = Connections(1, ["10.0.0.0/8", "fd00::/8", "proxy"])  # as uvicorn takes them
    for free in ("10.1.2.3", "fd00::1", "proxy"):
        assert all(proxies.open(free) for _ in range(3))
    assert [proxies.open("11.0.0.1") is None for _ in range(2)] == [False, True]
    assert all(Connections(1, ["*"]).open("192.0.2.1") for _ in range(3))


# --- the gate --------------------------------------------------------------------------------------------------------


def token(subject: str, more: str = "") -> Headers:
    """A header as ``subject`` might send it. Whether it is to be believed is not the gate's business."""
    import jwt

    encoded = jwt.encode({"iss": "i", "sub": subject, "more": more}, "x" * 32)
    return Headers({"authorization": f"Bearer {encoded}"})


NOBODY = Headers({})
ADA = Principal("i", "ada")


def let_in(gate: Gate, headers: Headers, who: Principal = ADA) -> None:
    entrance = gate.enter(headers, "192.0.2.1")
    entrance.believed(who)
    entrance.admitted(who)


def test_one_caller_of_many_tokens_lets_the_gate_forget_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envelope_codec.server.web.gate._KNOWN", 100)
    gate = Gate("2/day", behind_proxies=True)
    let_in(gate, token("ada"))
    for n in range(200):
        let_in(gate, token("mallory", str(n)), Principal("i", "mallory"))
    for _ in range(2):
        gate.enter(NOBODY, "192.0.2.1")
    let_in(gate, token("ada"))


def test_who_is_believed_and_not_admitted_is_neither_counted_nor_remembered() -> None:
    gate = Gate("1/day", behind_proxies=True)
    for n in range(5):
        gate.enter(token("mallory", str(n)), "192.0.2.1").believed(Principal("i", "mallory"))
    gate.enter(NOBODY, "192.0.2.1")
    with pytest.raises(Refusal):
        gate.enter(token("mallory", "0"), "192.0.2.1")


def test_who_is_believed_is_not_counted_and_comes_back_where_others_are_kept_out() -> None:
    gate = Gate("2/day", behind_proxies=True)
    for _ in range(10):
        let_in(gate, token("ada"))
    for _ in range(2):
        gate.enter(NOBODY, "192.0.2.1")
    for strange in (
        NOBODY,
        token("bob"),
        Headers({"authorization": "Bearer x.y"}),
        Headers({"authorization": "Basic"}),
    ):
        with pytest.raises(Refusal) as refused:
            gate.enter(strange, "192.0.2.1")
        assert (refused.value.status, refused.value.code) == (429, "too_many_from_address")
        assert int(refused.value.headers["Retry-After"]) > 0
    gate.enter(NOBODY, "192.0.2.2")
    for n in range(10):  # by the same token, and by later ones
        let_in(gate, token("ada"))
        let_in(gate, token("ada", str(n)))
    # Who knows the name gets so far, and the genuine one still in.
    for n in range(2):
        gate.enter(token("ada", f"forged {n}"), "192.0.2.1")
    with pytest.raises(Refusal):
        gate.enter(token("ada", "forged again"), "192.0.2.1")
    let_in(gate, token("ada"))


def test_a_proxy_that_no_setting_names_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    forwarded = Headers({"x-forwarded-for": "192.0.2.1"})
    for behind in (True, False):
        gate = Gate(None, behind_proxies=behind)
        for _ in range(3):
            gate.enter(forwarded, "10.0.0.1")
    assert caplog.text.count("server.trusted_proxies is not set") == 1


# --- audit lines -----------------------------------------------------------------------------------------------------


async def test_refusals_without_end_are_counted_and_summed_up() -> None:
    written: list[dict[str, Any]] = []
    tally = Tally(written.append)
    ada = Entry("id", "192.0.2.1", principal=Principal("i", "ada"))
    assert [tally.has_line(ada, 429, "too_many_requests") for _ in range(100)] == [True] + [False] * 99
    assert all(tally.has_line(ada, 403, "not_allowed") for _ in range(1_000))  # bounded by the caller's rate
    strangers = [tally.has_line(Entry("id", f"10.0.{n % 250}.{n // 250}"), 401, "invalid_token") for n in range(5_000)]
    assert 600 <= strangers.count(True) < 700
    assert tally.has_line(ada, 401, "invalid_token")
    tally.close()
    [line] = written
    assert line["requests"] == 99 + strangers.count(False)
    assert line["most"][1] == {
        "client": "192.0.2.1",
        "issuer": "i",
        "subject": "ada",
        "status": 429,
        "error": "too_many_requests",
        "requests": 99,
    }
    assert line["most"][0]["client"] == "others"  # more than are told apart
    assert line["callers"] <= 1_001
    assert len(json.dumps(line)) < 10_000
    tally.close()
    assert len(written) == 1


async def test_one_caller_from_many_addresses_has_one_line() -> None:
    tally = Tally(lambda line: None)
    ada, network = Principal("i", "ada"), [f"2001:db8::{n:x}" for n in range(500)]
    known = [tally.has_line(Entry("id", client, principal=ada), 429, "too_many_requests") for client in network]
    assert known.count(True) == 1
    strangers = [tally.has_line(Entry("id", client), 429, "too_many_from_address") for client in network]
    assert strangers.count(True) == 1
    tally.close()


def test_a_line_is_no_longer_for_a_long_address() -> None:
    assert len(Entry("id", "x" * 60_000).line(200, "")["client"]) < 300  # as a proxy may hand it on


async def test_a_summary_that_can_t_be_written_is_kept() -> None:
    written: list[dict[str, Any]] = []
    full = True

    def write(line: dict[str, Any]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        written.append(line)

    tally = Tally(write)
    for _ in range(3):
        tally.has_line(Entry("id", "192.0.2.1"), 429, "too_many_from_address")
    tally.flush()
    full = False
    tally.flush()
    assert [line["requests"] for line in written] == [2]
    tally.close()


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_the_server_goes_by_its_names() -> None:
    hosts = Hosts(ServerConfig(url="https://codec.example.com/x", hosts=["codec.svc"], listen="localhost:8081"))
    for own in (
        "localhost",
        "127.0.0.1:8081",
        "[::1]:1",
        "10.1.2.3",
        "Codec.Example.com:443",
        "codec.svc.",
        "a.localhost",
    ):
        assert hosts.allows(own), own
    for strange in ("a+b.evil.example", "évil.example", "evil.example:", "*.evil.example:8081", "evil.example:123456"):
        assert not hosts.allows(strange), strange
    assert hosts.allows("")
    for other in ("evil.example", "codec.example.com.evil.example", "localhost.evil.example:8081", "127.0.0.1.nip.io"):
        assert not hosts.allows(other), other


def test_a_small_text_that_is_a_large_tree_is_counted_as_one() -> None:
    large = b'{"payloads":[{"metadata":{' + b",".join(b'"%d":""' % n for n in range(1_000)) + b"}}]}"
    assert tree_bytes(large) > 20 * len(large)
    assert tree_bytes(b'{"payloads":[{"data":"' + b"x" * 10_000 + b'"}]}') < 1_000


def test_bodies_are_no_larger_than_there_is_room() -> None:
    from envelope_codec import ConfigurationError

    with pytest.raises(ConfigurationError, match=r"server\.body_limit: larger than max_body_bytes"):
        ServerConfig(body_limit="64MiB")
    with pytest.raises(ConfigurationError, match=r"server\.address_rate_limit: 'some' is no rate"):
        ServerConfig(address_rate_limit="some")
