"""The lines that people read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.answer import Answer
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request
from envelope_codec.cli.doctor.finding import Code, advice, problem
from envelope_codec.cli.doctor.keys import Probe
from envelope_codec.cli.doctor.watch.board import lines_of
from envelope_codec.cli.doctor.watch.judgement import judge
from envelope_codec.cli.doctor.watch.view import Examination, View
from envelope_codec.cli.keys.configured_keys import sealing_keys
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import KmsUnavailable
from tests.support.told_metrics import KEY, lease, overview, requests, sealing_key, series

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

BEFORE = "".join(
    series("payloads_total", 0, operation=operation, namespace="prod") for operation in ("seal", "open", "pass")
)
AFTER = (
    lease(400, 3_500)
    + sealing_key(7_300, 1, 1)
    + series("payloads_total", 600, operation="seal", namespace="prod")
    + series("payloads_total", 30, operation="open", namespace="prod")
    + series("payloads_total", 6, operation="open", namespace="prod", error_type="KeyDenied")
    + series("kms_calls_total", 6, operation="unwrap", provider="aws", key_id=KEY, error_type="KmsUnavailable")
    + series("keys_cached", 1_234)
    + series("keystore_queued", 2)
    + series("keystore_lag_seconds", 130)
    + requests("200", 120)
)


def shown(before: str, after: str, width: int, *, examination: Examination | None = None) -> list[str]:
    seen = overview(before, after)
    request = Request(Configuration(EnvelopeConfig(key="localfile:///k"), "a test"), ["prod"], True, None)
    view = View(NOW, [], seen, judge(seen, []), request if examination else None, examination)
    return [line.text for line in lines_of(view, width)]


def test_a_person_sees_what_is_wrong_and_then_the_state_of_all() -> None:
    lines = shown(BEFORE, AFTER, 120)
    assert lines[0] == "2026-01-02 03:04:05 UTC  no endpoints  3 problems"
    assert lines[1] == "problem   EnvelopeGraceInUse: prod, unwrap with"
    assert lines[2].startswith(f"{'':10}{KEY}: no success for 400 s")
    text = "\n".join(lines)
    for part in (
        "\nLeases\n  namespace  operation  state  since success  grace left  in  key",
        "\n  prod       unwrap     grace  6.7 min        58.3 min    1   arn:aws:",
        "\nSealing keys\n",
        "\n  prod       2.0 h  7         1, lacks 1  1   arn:aws:",
        "\nCalls of the last minute\n",
        "\n  aws  unwrap     6.0/min  -    KmsUnavailable 6.0/min",
        "\n  prod       10.0/s  30.0/min  0       0         open KeyDenied 6.0/min",
        "\n  200     2.0/s",
        "keys at hand: 1,234; waiting for the keystore: 2, the first for 2.2 min",
    ):
        assert part in text


@pytest.mark.parametrize("width", [30, 50, 80, 100, 160])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    lines = shown(BEFORE, AFTER.replace("prod", "a-long-name-of-a-namespace-" * 3), width)
    assert max(map(len, lines)) <= width


def test_hostile_text_reaches_no_terminal_as_it_is() -> None:
    for line in shown("", lease(400, 3_500, "n\x1b[31m\u202e[bold]", "k\x07"), 100):
        assert line.isprintable()


def test_what_the_doctor_found_itself_is_there() -> None:
    config = EnvelopeConfig(key="localfile:///k")
    probe = Probe(sealing_keys(config, "prod")[0], wrap=Answer(0.012), unwrap=Answer(1.0, KmsUnavailable("x")))
    findings = [problem(Code.unwrap_unavailable, "key", "no answer"), advice(Code.sealing_off, "sealing", "it is off")]
    ended = NOW - timedelta(seconds=30)
    lines = shown("", lease(10, 0), 100, examination=Examination(Diagnosis([probe], findings=findings), ended))
    assert lines[1] == "problem   unwrap-unavailable: key: no answer"
    assert not [line for line in lines if "sealing-off" in line]
    assert lines[-2:] == ["Examined by this command 30 s ago", "  prod, key: ok in 12 ms, KmsUnavailable"]


def test_findings_leave_room_for_the_rest() -> None:
    told = "".join(lease(400, 3_500, f"namespace-{number}") for number in range(40))
    lines = shown("", told, 100)
    assert "and 28 more" in lines
    assert lines.index("and 28 more") < 40
