"""Refusals: their answers, and which one a request gets whose payloads failed in several ways."""

from __future__ import annotations

import json

from starlette.datastructures import Headers

from envelope_codec.errors import ContextMismatch, StoreUnavailable
from envelope_codec.server.web.refusal import (
    KMS_UNAVAILABLE,
    NOT_ALLOWED,
    TOO_MANY_BYTES,
    Refusal,
    failure_of,
    refusal_of,
)
from envelope_codec.store import TooLarge


def test_an_outage_counts_before_a_limit_and_that_before_a_permission() -> None:
    failures = {"KeyDenied": 9, NOT_ALLOWED: 1, TOO_MANY_BYTES: 1, KMS_UNAVAILABLE: 1}
    for name, status in ((KMS_UNAVAILABLE, 503), (TOO_MANY_BYTES, 429), (NOT_ALLOWED, 403), ("KeyDenied", 400)):
        assert refusal_of(failures).status == status
        del failures[name]
    assert refusal_of({"SomethingElse": 1}).code == "not_openable"


def test_an_answer_says_why_and_when_to_come_back() -> None:
    response = Refusal(503, "busy", "The server is busy.", close=True).response("an-id", Headers())
    assert json.loads(bytes(response.body)) == {
        "error": "busy",
        "message": "The server is busy.",
        "request_id": "an-id",
    }
    assert (response.headers["retry-after"], response.headers["connection"]) == ("5", "close")
    assert "retry-after" not in Refusal(400, "malformed", "No.").response("", Headers()).headers


def test_a_page_is_told_of_an_outage_by_a_status_that_its_browser_does_not_repeat() -> None:
    page = Headers({"origin": "https://cloud.temporal.io"})
    outage = refusal_of({KMS_UNAVAILABLE: 1})
    assert [outage.response("", asked).status_code for asked in (Headers(), page)] == [503, 424]
    assert outage.response("", page).headers["retry-after"] == "5"
    assert json.loads(bytes(outage.response("", page).body))["error"] == "kms_unavailable"
    assert refusal_of({NOT_ALLOWED: 1}).response("", page).status_code == 403


def test_a_kind_of_a_known_failure_is_answered_as_that_one() -> None:
    assert failure_of(TooLarge("more bytes", operation="get")) == "InvalidCiphertext"
    assert failure_of(ContextMismatch("another", operation="open")) == "ContextMismatch"
    assert refusal_of({failure_of(StoreUnavailable("down", operation="get")): 1}).status == 503
