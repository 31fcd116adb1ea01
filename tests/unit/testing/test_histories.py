"""The assertion for users' tests fails where Temporal can read something, and never repeats what."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads, SearchAttributes
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.client import WorkflowHistory
from temporalio.converter import default

from envelope_codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from envelope_codec.testing.histories import InClear, assert_nothing_in_clear, find_in_clear

SECRET = "Ada Lovelace"
CLEAR = default().payload_converter.to_payloads([SECRET])[0]


async def sealed() -> Payload:
    codec = EnvelopeCodec(FakeKms())
    (made,) = await codec.encode([CLEAR])
    codec.close()
    return made


def history(*events: HistoryEvent) -> WorkflowHistory:
    return WorkflowHistory("greeting", list(events))


def started(*payloads: Payload, **fields: object) -> HistoryEvent:
    attributes = WorkflowExecutionStartedEventAttributes(input=Payloads(payloads=payloads), **fields)  # type: ignore[arg-type]
    kind = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    return HistoryEvent(event_id=1, event_type=kind, workflow_execution_started_event_attributes=attributes)


def failed(failure: Failure) -> HistoryEvent:
    attributes = WorkflowExecutionFailedEventAttributes(failure=failure)
    kind = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED
    return HistoryEvent(event_id=7, event_type=kind, workflow_execution_failed_event_attributes=attributes)


async def test_what_is_sealed_passes() -> None:
    one = await sealed()
    memo, header = Memo(fields={"note": one}), Header(fields={"trace": one})
    told = history(
        started(one, memo=memo, header=header, search_attributes=SearchAttributes(indexed_fields={"a": CLEAR}))
    )
    assert find_in_clear(told) == []
    assert_nothing_in_clear(told)
    assert_nothing_in_clear(told.events[0])


async def test_a_payload_in_clear_is_found_wherever_it_is() -> None:
    one = await sealed()
    place = "event 1: workflowExecutionStartedEventAttributes"
    assert find_in_clear(history(started(one, CLEAR))) == [InClear(f"{place}.input.payloads[1]", "json/plain")]
    told = history(started(one, memo=Memo(fields={"note": CLEAR}), header=Header(fields={"trace": CLEAR})))
    assert {found.where for found in find_in_clear(told)} == {
        f"{place}.memo.fields.note",
        f"{place}.header.fields.trace",
    }
    assert [found.where for found in find_in_clear(told, headers=False)] == [f"{place}.memo.fields.note"]


@pytest.mark.parametrize("texts", [{"message": SECRET}, {"stack_trace": SECRET}])
async def test_a_failure_in_clear_is_found(texts: dict[str, str]) -> None:
    told = history(started(await sealed()), failed(Failure(cause=Failure(**texts), message="Encoded failure")))  # type: ignore[arg-type]
    place = "event 7: workflowExecutionFailedEventAttributes.failure.cause"
    assert find_in_clear(told) == [InClear(place, "failure")]


async def test_the_failed_assertion_says_where_and_repeats_nothing() -> None:
    told = history(started(*[CLEAR] * 12), failed(Failure(message=SECRET)))
    with pytest.raises(AssertionError) as caught:
        assert_nothing_in_clear(told, secrets=[SECRET])
    said = str(caught.value)
    assert said.startswith("Temporal can read what should be sealed: 12 json/plain, 1 failure\n")
    assert said.count("payloads[") == 10
    assert said.endswith("and 3 more")
    assert SECRET not in said


async def test_a_malformed_envelope_and_one_of_another_codec_are_not_taken_for_sealed() -> None:
    broken = await sealed()
    del broken.metadata["encryption-data-key"]
    others = Payload(metadata={"encoding": b"binary/encrypted"}, data=b"?")
    kinds = [found.what.partition(" ")[0] for found in find_in_clear(history(started(broken, others)))]
    assert kinds == ["malformed", "legacy"]


async def test_where_nothing_is_sealed_the_assertion_fails() -> None:
    for told in (history(), history(started())):
        with pytest.raises(AssertionError, match="shows nothing"):
            assert_nothing_in_clear(told)
        assert_nothing_in_clear(told, may_be_empty=True)


async def test_a_secret_is_found_where_no_plugin_seals() -> None:
    told = history(started(await sealed(), identity=f"worker of {SECRET}"))
    assert_nothing_in_clear(told)
    with pytest.raises(AssertionError, match="can read a secret, in event 1: look at") as caught:
        assert_nothing_in_clear(told, secrets=["Grace Hopper", SECRET])
    assert SECRET not in str(caught.value)


async def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        assert_nothing_in_clear(history(started(await sealed())), secrets=["Ada"])


pytest_plugins = ["pytester"]


def test_the_fixtures_give_a_plugin_with_a_fake_key_and_settings_of_ones_own(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["envelope_codec.testing.fixtures"]')
    pytester.makepyfile(
        test_one="""
            def test_it(envelope_plugin, fake_kms):
                config = envelope_plugin.config
                assert config.key is fake_kms
                assert config.require_encryption
        """,
        test_two="""
            import pytest

            @pytest.fixture
            def envelope_settings():
                return {"lease": "1m"}

            def test_it(envelope_plugin):
                assert envelope_plugin.config.lease == 60
                assert not envelope_plugin.config.require_encryption
        """,
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
