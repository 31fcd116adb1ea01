"""What needs somebody, and what does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from envelope_codec.cli.doctor.finding import Level
from envelope_codec.cli.doctor.watch import judgement as module
from envelope_codec.cli.doctor.watch.judgement import UNREACHABLE, judge
from envelope_codec.cli.doctor.watch.overview import overview_of
from tests.support.told_metrics import KEY, changed, endpoint, lease, overview, requests, sealing_key, series

ROOT = Path(__file__).resolve().parents[5]
RULES = ROOT / "deploy" / "monitoring" / "envelope-codec.rules.yaml"


def found(before: str, after: str = "") -> list[tuple[str, str]]:
    return [(one.level.value, one.alert) for one in judge(overview(before, after), [])]


def calls(error: str, good: float, bad: float, kind: str = "kms", **labels: str) -> tuple[str, str]:
    labels = labels or {"operation": "unwrap", "provider": "aws", "key_id": KEY}
    after = series(f"{kind}_calls_total", good, **labels) + series(
        f"{kind}_calls_total", bad, **labels, error_type=error
    )
    return series(f"{kind}_calls_total", 0, **labels), after


def payloads(**counts: float) -> tuple[str, str]:
    after = "".join(
        series("payloads_total", count, namespace="prod", operation=what.split("_")[0], error_type=what.split("_")[1])
        for what, count in counts.items()
    )
    return "envelope_codec_x 1\n", after


def answers(**counts: float) -> tuple[str, str]:
    return "envelope_codec_x 1\n", "".join(requests(status[1:], count) for status, count in counts.items())


SLOW = (
    "envelope_codec_x 1\n",
    'http_server_request_duration_seconds_bucket{http_route="/decode",le="5"} 90\n'
    'http_server_request_duration_seconds_bucket{http_route="/decode",le="30"} 100\n'
    'http_server_request_duration_seconds_bucket{http_route="/decode",le="+Inf"} 100\n',
)
STORE = {"operation": "put", "store": "s3"}

CASES = {
    "EnvelopeGraceInUse": ((lease(400, 3_500),), (lease(200, 0),)),
    "EnvelopeGraceEndsSoon": ((lease(3_500, 400),), (lease(400, 3_500),)),
    "EnvelopeLeaseNotRenewed": ((lease(4_000, 0),), (lease(200, 0) + lease(0, 0, "idle"),)),
    "EnvelopeKeyDenied": (calls("KeyDenied", 10, 1), calls("KmsUnavailable", 10, 1)),
    "EnvelopeKmsUnavailable": (calls("KmsUnavailable", 4, 6), calls("KmsUnavailable", 6, 4)),
    "EnvelopeBreakerOpen": ((series("breaker_open", 1, key_id=KEY),), (series("breaker_open", 0, key_id=KEY),)),
    "EnvelopeRecipientLacking": ((sealing_key(10, 1, 1),), (sealing_key(10, 2, 0),)),
    "EnvelopeSealingKeyOld": ((sealing_key(100_000),), (sealing_key(80_000),)),
    "EnvelopeSealingFails": (payloads(seal_KmsUnavailable=1), payloads(seal_=10)),
    "EnvelopeOpeningFails": (payloads(open_KeyDenied=1), payloads(open_=10)),
    "EnvelopePlaintextRefused": (payloads(open_EncryptionRequired=1), payloads(open_KeyDenied=10)),
    "EnvelopePlaintextPassed": (payloads(open_=90, pass_=10), payloads(open_=1_000, pass_=2)),
    "EnvelopeStoreFails": (
        calls("StoreRefused", 9, 1, "store", **STORE),
        calls("StoreRefused", 99, 1, "store", **STORE),
    ),
    "EnvelopeKeystoreFails": (
        calls("StoreRefused", 9, 1, "keystore", operation="publish"),
        calls("NotShared", 9, 1, "keystore", operation="share"),
    ),
    "EnvelopeKeystoreLags": ((series("keystore_lag_seconds", 700),), (series("keystore_lag_seconds", 500),)),
    "EnvelopeBudgetRefuses": (
        ("envelope_codec_x 1\n", series("refused_total", 6, reason="rate")),
        (series("refused_total", 6, reason="rate"),),
    ),
    "EnvelopeCodecServerFails": (answers(s200=90, s503=10), answers(s200=50, s403=10, s400=40)),
    "EnvelopeCodecServerRefusesCallers": (answers(s200=70, s401=30), answers(s200=90, s401=10)),
    "EnvelopeCodecServerSlow": (SLOW, answers(s200=10)),
}


@pytest.mark.parametrize("alert", CASES)
def test_each_judgement_comes_where_it_must_and_not_elsewhere(alert: str) -> None:
    bad, good = CASES[alert]
    assert alert in [name for _, name in found(*bad)]
    assert alert not in [name for _, name in found(*good)]


def test_judgements_bear_the_names_of_alerts_and_each_is_tried_here() -> None:
    named = set(re.findall(r'"(Envelope\w+)"', Path(module.__file__).read_text("utf-8")))
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert named == alerts == set(CASES)


def test_what_is_well_needs_nobody() -> None:
    told = lease(100, 0) + sealing_key(1_000, 2) + payloads(seal_=5, open_=5)[1]
    assert found(told, told) == []


def test_what_people_have_a_codec_server_decode_is_nothing_that_workers_read() -> None:
    assert found("envelope_codec_x 1\n", series("payloads_total", 50, operation="pass")) == []


def test_problems_come_first() -> None:
    levels = [level for level, _ in found(sealing_key(10, 1, 1) + lease(400, 3_500))]
    assert levels == ["problem", "advice"]


async def test_an_endpoint_that_tells_nothing_is_a_problem() -> None:
    one = endpoint("nothing 1\n")
    await one.tell()
    (said,) = judge(overview_of([], 300.0), [one])
    assert (said.level, said.alert) == (Level.problem, UNREACHABLE)
    assert said.text == "http://worker:9464/metrics tells no metrics of envelope_codec"


def test_the_key_that_is_refused_is_named() -> None:
    (said,) = judge(overview_of([changed(*calls("KeyDenied", 1, 1))], 300.0), [])
    assert said.text == f"aws refuses unwrap with {KEY}"
