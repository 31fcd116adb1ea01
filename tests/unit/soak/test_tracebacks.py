"""Tracebacks that go through the library and end in no error that it documents."""

from __future__ import annotations

import pytest

from tests.soak.tracebacks import Traceback, count, tracebacks

OURS = '  File "/srv/envelope_codec/keys/keyring.py", line 7, in open\n    self._open()'
PROVIDER = '  File "/srv/providers/envelope_codec_aws/_master_key.py", line 7, in wrap\n    call()'
THEIRS = '  File "/srv/temporalio/worker/_workflow.py", line 9, in run\n    await x'


def log(*frames: str, error: str, before: str = "12:00 ERROR temporalio: Failed handling activation") -> list[str]:
    return [before, "Traceback (most recent call last):", *"\n".join(frames).splitlines(), error, "12:01 INFO: on"]


def only(lines: list[str]) -> Traceback:
    [found] = tracebacks("worker", lines)
    return found


@pytest.mark.parametrize("frame", [OURS, PROVIDER])
def test_an_error_of_the_wrong_kind_in_our_frames(frame: str) -> None:
    found = only(log(THEIRS, frame, error="AttributeError: no attribute"))
    assert found.violates
    assert found.error == "AttributeError"
    assert frame in found.text


@pytest.mark.parametrize("error", ["KmsUnavailable", "KeyDenied", "StoreUnavailable", "StoreRefused"])
def test_what_the_library_says_in_an_outage(error: str) -> None:
    assert not only(log(THEIRS, OURS, error=f"envelope_codec.errors.{error}: the KMS gave no answer")).violates


@pytest.mark.parametrize("error", ["InvalidCiphertext", "MalformedEnvelope", "EncryptionRequired", "PayloadMissing"])
def test_what_no_fault_of_a_soak_leads_to(error: str) -> None:
    assert only(log(OURS, error=f"envelope_codec.errors.{error}: changed")).violates


def test_an_error_elsewhere() -> None:
    assert not only(log(THEIRS, error="AttributeError: no attribute")).violates


def test_each_of_a_chain_is_one() -> None:
    chain = [
        *log(OURS, error="KeyError: 1")[:-1],
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *log(OURS, error="envelope_codec.errors.KmsUnavailable: no answer")[1:],
    ]
    found = tracebacks("worker", chain)
    assert [one.error for one in found] == ["KeyError", "KmsUnavailable"]
    assert [one.violates for one in found] == [True, False]
    assert count(found) == {"KeyError": 1, "KmsUnavailable": 1}


def test_an_error_without_words() -> None:
    assert only(log(OURS, error="asyncio.exceptions.CancelledError")).error == "CancelledError"


def test_exceptions_in_a_group() -> None:
    lines = ["  + Exception Group Traceback (most recent call last):", "  | ExceptionGroup: two"]
    lines += ["  +-+---------------- 1 ----------------", "    | Traceback (most recent call last):"]
    lines += [f"    | {line}" for line in OURS.splitlines()] + ["    | ValueError: one", "    +------------------"]
    assert [(one.error, one.ours) for one in tracebacks("worker", lines)] == [("ValueError", True)]


def test_a_log_without_any() -> None:
    assert tracebacks("worker", ["12:00 INFO: all is well", "ValueError: a word in a log"]) == []
