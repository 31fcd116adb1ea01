"""What the doctor counts in histories."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Header, Payloads, SearchAttributes
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    MarkerRecordedEventAttributes,
)

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.payloads.kind import Kind
from envelope_codec.testing import FakeKms
from tests.support.doctor_surveys import PLAIN, Sealer, failed, started, surveyed, told


async def test_envelopes_are_counted_and_nothing_is_found(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    sealed = await seal(kms)
    survey = surveyed(config, started(sealed, sealed), failed(Failure(encoded_attributes=sealed)))
    assert told(survey, config) == {}
    assert (survey.events, survey.payloads, survey.kinds) == (2, 3, {Kind.envelope: 3})
    assert list(survey.records.values()) == [3]


def test_what_temporal_writes_in_clear_is_no_finding(kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms, require_encryption=True)
    marker = MarkerRecordedEventAttributes(marker_name="core_patch", details={"patch-data": Payloads(payloads=[PLAIN])})
    survey = surveyed(
        config,
        started(search_attributes=SearchAttributes(indexed_fields={"City": PLAIN})),
        HistoryEvent(marker_recorded_event_attributes=marker),
        failed(Failure(message="activity StartToClose timeout", source="Server")),
    )
    assert told(survey, config) == {}
    assert survey.temporal == {"search attribute": 1, "marker of the SDK's core": 1}


@pytest.mark.parametrize("headers", [True, False])
async def test_headers_may_be_left_in_clear_on_purpose(seal: Sealer, kms: FakeKms, headers: bool) -> None:
    config = EnvelopeConfig(key=kms, headers=headers)
    survey = surveyed(config, started(await seal(kms), header=Header(fields={"h": PLAIN})))
    assert ("payloads-in-clear" in told(survey, config)) is headers
    assert (survey.clear_headers, survey.payloads) == (0 if headers else 1, 2)
