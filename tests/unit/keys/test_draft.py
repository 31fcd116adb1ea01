"""A draft: a new secret, and its record before any master key has wrapped it."""

from __future__ import annotations

import pytest

from envelope_codec.envelope import NAMESPACE, Purpose, commit, unlock
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.keys.draft import Draft
from envelope_codec.kms import WrappedSecret, unwrap_with
from envelope_codec.testing import FakeKms

CONTEXT = {"tenant": "t", NAMESPACE: "default"}


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_wrapped_draft_opens_to_its_key(purpose: Purpose) -> None:
    kms, draft = FakeKms(), Draft(purpose, 1, CONTEXT)
    record = draft.wrap_by(kms)
    recipient = record.recipients[0]
    wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
    assert unlock(record, unwrap_with(kms, wrapped, draft.kms_context).secret) == draft.key
    assert (record.id, record.purpose, record.created, dict(record.context)) == (draft.id, purpose, 1, CONTEXT)
    assert record.kms_context == draft.kms_context


def test_each_draft_has_a_secret_of_its_own() -> None:
    drafts = [Draft(Purpose.WRAPPING_KEY, 1, CONTEXT) for _ in range(2)]
    assert drafts[0].id != drafts[1].id
    assert drafts[0].key != drafts[1].key


def test_all_recipients_hold_one_secret() -> None:
    draft = Draft(Purpose.WRAPPING_KEY, 1, CONTEXT, secret=bytes(32))
    masters = FakeKms(), FakeKms()
    record = draft.record(draft.wrap_by(master).recipients[0] for master in masters)
    assert [recipient.key_id for recipient in record.recipients] == [master.key_id for master in masters]
    assert (draft.key, draft.id) == commit(bytes(32), record.head)


def test_a_context_that_breaks_the_format_is_refused_before_any_call() -> None:
    with pytest.raises(MalformedEnvelope):
        Draft(Purpose.WRAPPING_KEY, 1, {"tenant": "t"})


def test_it_shows_no_secret() -> None:
    draft = Draft(Purpose.WRAPPING_KEY, 1, CONTEXT, secret=bytes(range(32)))
    assert bytes(range(32)).hex() not in repr(draft)
    assert "\\x01" not in repr(draft)
