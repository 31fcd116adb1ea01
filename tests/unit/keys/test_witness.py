"""Witnesses: successful calls that are made again, and what counts as the same success."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from envelope_codec.envelope import NAMESPACE
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.witness import UnwrapWitness, WrapWitness, open_recipient
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.keyring_on_fakes import Untold, corrupted, wrapped_by

CONTEXT = ((NAMESPACE, "default"),)


class Odd(FakeKms):
    """Answers as it is told to, once it is told."""

    answer: Unwrapped | None = None

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        return super().unwrap(wrapped, context) if self.answer is None else self.answer


def unwrapped_by(kms: FakeKms, secret: bytes | None = None) -> UnwrapWitness:
    record, _ = wrapped_by(kms, secret=secret)
    return open_recipient(record, record.recipients[0], kms)[1]


def test_a_recipient_opens_to_the_key_of_its_record() -> None:
    kms = FakeKms()
    record, key = wrapped_by(kms, context={"tenant": "t"})
    opened, witness = open_recipient(record, record.recipients[0], kms)
    assert opened == key
    assert (witness.operation, witness.master, witness.version) == ("unwrap", kms, "1")
    assert dict(witness.context) == record.kms_context


def test_a_kms_that_tells_no_version_proves_none() -> None:
    assert unwrapped_by(Untold()).version is None


def test_a_recipient_that_does_not_open_has_no_witness() -> None:
    kms = FakeKms()
    record, _ = wrapped_by(kms)
    with pytest.raises(InvalidCiphertext):
        open_recipient(record, corrupted(record, 0).recipients[0], kms)


def test_an_unwrap_is_repeated_as_it_was() -> None:
    kms = FakeKms()
    witness = unwrapped_by(kms)
    kms.rotate()
    witness.repeat()
    assert (kms.wraps, kms.unwraps) == (1, 2)


@pytest.mark.parametrize(
    "answer",
    [Unwrapped(bytes(32), "1"), Unwrapped(bytes(range(32)), "2"), Unwrapped(bytes(range(32)), None)],
    ids=["another secret", "another version", "no version"],
)
def test_an_unwrap_with_another_answer_proves_nothing(answer: Unwrapped) -> None:
    kms = Odd()
    witness = unwrapped_by(kms, secret=bytes(range(32)))
    kms.answer = Unwrapped(bytes(range(32)), "1")
    witness.repeat()
    kms.answer = answer
    with pytest.raises(InvalidCiphertext):
        witness.repeat()


def test_a_wrap_is_repeated_with_a_new_secret() -> None:
    kms = FakeKms()
    witness = WrapWitness(kms, kms.key_id, CONTEXT, "1")
    witness.repeat()
    assert (kms.wraps, kms.unwraps) == (1, 0)


def test_a_wrap_by_another_key_or_version_proves_nothing() -> None:
    kms = FakeKms()
    for witness in (WrapWitness(kms, "fakekms://another", CONTEXT, "1"), WrapWitness(kms, kms.key_id, CONTEXT, "2")):
        with pytest.raises(InvalidCiphertext):
            witness.repeat()


@pytest.mark.parametrize(("fault", "error"), [("denied", KeyDenied), ("down", KmsUnavailable)])
def test_the_error_of_the_provider_is_told(fault: str, error: type[EnvelopeError]) -> None:
    kms = FakeKms()
    witnesses = unwrapped_by(kms), WrapWitness(kms, kms.key_id, CONTEXT, "1")
    setattr(kms, fault, True)
    for witness in witnesses:
        with pytest.raises(error):
            witness.repeat()
