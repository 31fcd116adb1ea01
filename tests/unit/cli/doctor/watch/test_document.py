"""The JSON document of one look."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from envelope_codec.cli.doctor.diagnosis import Diagnosis
from envelope_codec.cli.doctor.watch.document import view_document
from envelope_codec.cli.doctor.watch.judgement import judge
from envelope_codec.cli.doctor.watch.view import Examination, View
from tests.support.told_metrics import KEY, endpoint, lease, overview, series

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_programs_are_told_what_people_are() -> None:
    seen = overview(
        series("payloads_total", 0, operation="seal", namespace="prod"),
        lease(400, 3_500) + series("payloads_total", 60, operation="seal", namespace="prod", error_type="KeyDenied"),
    )
    endpoints = [endpoint("x 1\n")]
    view = View(NOW, endpoints, seen, judge(seen, []), None, Examination(Diagnosis(), NOW))
    document = json.loads(json.dumps(view_document(view)))
    assert (document["format"], document["time"]) == ("envelope-codec/doctor-watch-1", "2026-01-02T03:04:05+00:00")
    assert document["status"] == 1
    assert document["endpoints"] == [{"url": "http://worker:9464/metrics", "trouble": "has not been asked yet"}]
    assert [one["alert"] for one in document["findings"]] == ["EnvelopeGraceInUse", "EnvelopeSealingFails"]
    assert document["leases"] == [
        {
            "namespace": "prod",
            "operation": "unwrap",
            "key_id": KEY,
            "stage": "grace",
            "since_success": 400.0,
            "grace_left": 3_500.0,
            "processes": 1,
        }
    ]
    (payloads,) = document["payloads"]
    assert payloads["failures"] == [{"operation": "seal", "error": "KeyDenied", "rate": 1.0}]
    assert document["examined"]["format"] == "envelope-codec/doctor-1"
    assert document["examined"]["ended"] == "2026-01-02T03:04:05+00:00"


def test_nothing_that_was_not_examined_is_told() -> None:
    seen = overview(lease(10, 0))
    document = view_document(View(NOW, [], seen, []))
    assert (document["examined"], document["status"]) == (None, 0)
