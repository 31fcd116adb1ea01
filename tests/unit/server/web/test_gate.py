"""The gate keeps out addresses that send many requests without a valid token."""

from __future__ import annotations

import jwt
import pytest
from starlette.datastructures import Headers

from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.web.gate import Gate
from envelope_codec.server.web.refusal import Refusal


def token(subject: str, more: str = "") -> Headers:
    """A header as ``subject`` might send it. Whether it is to be believed is not the gate's business."""
    encoded = jwt.encode({"iss": "i", "sub": subject, "more": more}, "x" * 32)
    return Headers({"authorization": f"Bearer {encoded}"})


NOBODY = Headers({})
ADA = Principal("i", "ada")


def let_in(gate: Gate, headers: Headers, who: Principal = ADA) -> None:
    entrance = gate.enter(headers, "192.0.2.1")
    entrance.uncount()
    entrance.remember(who)


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
        gate.enter(token("mallory", str(n)), "192.0.2.1").uncount()
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
