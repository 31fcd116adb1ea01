"""From an exception of an SDK to an error of the library: by tables, outside of handlers, and without secrets."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    InvalidCiphertext,
    KeyDenied,
    KmsUnavailable,
    StoreUnavailable,
)
from envelope_codec.provider import ErrorTable, Failed, Meaning, Row, asks_kms, meanings, quote
from tests.support.frame_walker import Sentinels, leaks

SECRET = b"sesame-sesame-sesame-sesame-sesa"


class SdkError(Exception):
    pass


class Denied(SdkError):
    pass


class Quoting(SdkError):
    pass


def by_operation(error: Exception, operation: str) -> Meaning:
    return meanings.BAD_CIPHERTEXT if operation == "unwrap" else meanings.REFUSED


ERRORS = ErrorTable(
    logging.getLogger("envelope_codec.test"),
    (
        Row(Denied, meanings.NOT_PERMITTED, quote),
        Row(Quoting, by_operation),
        Row((SdkError, OSError), meanings.UNREACHABLE),
    ),
    is_of_reply=lambda modules: modules[-1] == "json.decoder",
)


class Key:
    """A provider whose calls raise what they are told to."""

    key_id = "test://key"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    @asks_kms("wrap", ERRORS)
    def wrap(self, secret: bytes) -> None:
        held = bytes(secret)
        raise self._error from ValueError(held)

    @asks_kms("unwrap", ERRORS)
    def unwrap(self) -> None:
        raise self._error

    @asks_kms("wrap")
    def untabled(self, secret: bytes) -> None:
        raise self._error


def raised(key: Key, operation: str = "wrap") -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        key.wrap(SECRET) if operation == "wrap" else key.unwrap()
    error = caught.value
    assert (error.operation, error.key_id) == (operation, Key.key_id)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert leaks(error, Sentinels(SECRET)) == []
    return error


@pytest.mark.parametrize(
    ("error", "operation", "kind", "code"),
    [
        (Denied("no"), "wrap", KeyDenied, "not-permitted"),
        (Quoting("sesame"), "wrap", KeyDenied, "refused"),
        (Quoting("sesame"), "unwrap", InvalidCiphertext, "bad-ciphertext"),
        (SdkError("sesame"), "wrap", KmsUnavailable, "unreachable"),
        (ConnectionError("sesame"), "unwrap", KmsUnavailable, "unreachable"),
        (TypeError("sesame"), "wrap", KmsUnavailable, "fault"),
        (Failed(meanings.DISABLED), "unwrap", KeyDenied, "disabled"),
    ],
)
def test_what_a_call_raises_becomes_what_it_means(
    error: Exception, operation: str, kind: type[EnvelopeError], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = raised(Key(error), operation)
    assert (type(found), found.code) == (kind, code)
    assert "sesame" not in caplog.text


def test_the_log_has_what_a_row_says_may_be_repeated(caplog: pytest.LogCaptureFixture) -> None:
    raised(Key(Denied("the key's policy")))
    assert "wrap with test://key failed: Denied: the key's policy" in caplog.text


def test_what_the_sdk_stumbles_over_in_a_reply_is_no_fault() -> None:
    import json

    class Reading(Key):
        @asks_kms("wrap", ERRORS)
        def wrap(self, secret: bytes) -> None:
            json.JSONDecoder().raw_decode("no JSON")

    assert raised(Reading(ValueError())).code == "no-answer"


def test_an_error_of_the_library_leaves_as_it_is_and_an_interrupt_too() -> None:
    own = KeyDenied("said so")
    assert raised_by(Key(own)) is own
    interrupt = KeyboardInterrupt()
    assert raised_by(Key(interrupt)) is interrupt


def raised_by(key: Key) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any class
        key.unwrap()
    return caught.value


def test_without_a_table_everything_else_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KmsUnavailable) as caught:
        Key(OSError("sesame")).untabled(SECRET)
    assert caught.value.code == "fault"
    assert "untabled" in caplog.text
    assert "sesame" not in caplog.text


def test_a_failure_may_be_about_another_key_than_the_configured_one() -> None:
    with pytest.raises(KeyDenied) as caught:
        Key(Failed(meanings.DISABLED, key_id="test://target")).unwrap()
    assert caught.value.key_id == "test://target"


def test_a_code_survives_copies_and_pickles() -> None:
    error = meanings.THROTTLED.make_error(operation="wrap", key_id="k")
    assert error.fresh().code == "throttled"
    assert pickle.loads(pickle.dumps(error)).code == "throttled"
    assert KmsUnavailable("by hand").code is None


@pytest.mark.parametrize("code", ["", "Throttled", "a b", "a_b", "-a", "a-", "a--b", "1a", "ä"])
def test_a_code_is_lower_case_words_with_hyphens(code: str) -> None:
    with pytest.raises(ValueError, match="reason code"):
        Meaning(KmsUnavailable, code, "text")


def test_the_common_meanings_have_codes_and_texts_of_their_own() -> None:
    assert len({meaning.code for meaning in meanings.COMMON}) == len(meanings.COMMON)
    assert len({meaning.text for meaning in meanings.COMMON}) == len(meanings.COMMON)
    assert {value for value in vars(meanings).values() if isinstance(value, Meaning)} == set(meanings.COMMON)
    assert all(meaning.hint for meaning in meanings.COMMON)


def explode(*_: object) -> Meaning:
    raise RuntimeError(SECRET)


def nothing(*_: object) -> Meaning:
    return None  # type: ignore[return-value]  # of a third party


LOG = logging.getLogger("envelope_codec.test")
BROKEN = {
    "meaning": ErrorTable(LOG, (Row(OSError, explode),)),
    "no meaning": ErrorTable(LOG, (Row(OSError, nothing),)),
    "words": ErrorTable(LOG, (Row(OSError, meanings.UNREACHABLE, words=explode),)),  # type: ignore[arg-type]
    "is_of_reply": ErrorTable(LOG, (), is_of_reply=explode),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("table", BROKEN.values(), ids=list(BROKEN))
def test_a_table_that_fails_itself_is_a_fault_and_takes_no_secret_along(
    table: ErrorTable, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Key):
        @asks_kms("wrap", table)
        def wrap(self, secret: bytes) -> None:
            held = bytes(secret)
            raise OSError(held)

    assert raised(Broken(OSError())).code == "fault"
    assert "Broken can't explain a failure of wrap" in caplog.text
    assert "sesame" not in caplog.text


def test_a_key_id_that_can_not_be_told_is_a_fault_and_takes_no_secret_along() -> None:
    class Nameless:
        @property
        def key_id(self) -> str:
            raise OSError(SECRET)

        @asks_kms("wrap", ERRORS)
        def wrap(self, secret: bytes) -> None:
            raise ValueError(secret)

    with pytest.raises(KmsUnavailable) as caught:
        Nameless().wrap(SECRET)
    assert (caught.value.code, caught.value.key_id) == ("fault", "Nameless")
    assert leaks(caught.value, Sentinels(SECRET)) == []


@pytest.mark.parametrize("kind", ["OSError", int, (OSError, 3), OSError()])
def test_a_row_is_about_classes_of_exceptions(kind: Any) -> None:
    with pytest.raises(TypeError, match="class of exceptions"):
        Row(kind, meanings.UNREACHABLE)


@pytest.mark.parametrize("kind", [ValueError, EnvelopeError, ConfigurationError, StoreUnavailable, object])
def test_a_meaning_is_one_of_three_errors(kind: Any) -> None:
    with pytest.raises(ValueError, match="KmsUnavailable, KeyDenied, InvalidCiphertext alone"):
        Meaning(kind, "code", "text")
