"""A watch, from its first look to its last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envelope_codec.cli import main
from envelope_codec.cli.doctor.diagnosis import diagnose
from envelope_codec.cli.doctor.watch import course
from envelope_codec.cli.doctor.watch.course import Plan, run_watch
from tests.support.told_metrics import endpoint, lease, sealing_key, series

LOOKS = Plan(every=0.1, count=2, timeout=60.0, as_json=True)


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    import os

    for name in [name for name in os.environ if name.startswith(("ENVELOPE_CODEC_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)

    def watch(*arguments: str) -> tuple[object, list[Any], str]:
        with pytest.raises(SystemExit) as left:
            main(["doctor", *arguments, "--json"])
        told = capsys.readouterr()
        return left.value.code or 0, [json.loads(line) for line in told.out.splitlines()], told.err

    return watch


def documents(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_failures_between_two_looks_decide_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    def told(number: float) -> str:
        return lease(10, 0) + series("payloads_total", number, operation="seal", error_type="KeyDenied")

    assert run_watch(LOOKS, [endpoint(told(7), told(9))], None) == 1
    before, after = documents(capsys)
    assert (before["status"], after["status"]) == (0, 1)
    assert [one["alert"] for one in after["findings"]] == ["EnvelopeSealingFails"]


def test_advice_leaves_the_status_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_watch(LOOKS, [endpoint(sealing_key(10, 1, 1))], None) == 0
    assert [one["alert"] for one in documents(capsys)[-1]["findings"]] == ["EnvelopeRecipientLacking"]


def test_what_the_doctor_examines_counts_too(watch: Any, uri: str, tmp_path: Path) -> None:
    status, looks, err = watch(uri, "--namespace", "prod", "--watch", "--count", "2", "--every", "0.1")
    assert (status, err) == (0, "")
    (key,) = looks[-1]["examined"]["keys"]
    assert (key["wrap"]["outcome"], key["unwrap"]["outcome"]) == ("ok", "ok")
    status, looks, _ = watch(f"localfile://{tmp_path}/none", "--watch", "--count", "1")
    assert (status, looks[0]["status"]) == (1, 1)
    assert looks[0]["examined"]["findings"][0]["code"] == "provider-unusable"


def test_it_examines_at_a_slow_rhythm(watch: Any, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return await diagnose(*arguments)

    monkeypatch.setattr(course, "diagnose", counted)
    watch(uri, "--watch", "--count", "5", "--every", "0.1")
    assert len(asked) == 1
    monkeypatch.setattr(course, "EXAMINE_EVERY", 0.0)
    watch(uri, "--watch", "--count", "5", "--every", "0.1")
    assert len(asked) > 2


def test_an_examination_that_fails_is_told(watch: Any, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> Any:
        raise RuntimeError("marigold")

    monkeypatch.setattr(course, "diagnose", fail)
    status, (look,), _ = watch(uri, "--watch", "--count", "1")
    assert status == 1
    assert look["examined"]["findings"][0]["text"] == "the examination failed: RuntimeError"


def test_metrics_need_no_configuration(watch: Any) -> None:
    status, (look,), err = watch("--watch", "--metrics", "127.0.0.1:1", "--count", "1")
    assert (status, err, look["examined"]) == (1, "", None)
    assert [one["alert"] for one in look["findings"]] == ["unreachable"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--watch"], "nothing to examine"),
        (["localfile:///k", "--metrics", "worker:9464"], "goes with --watch"),
        (["localfile:///k", "--count", "1"], "goes with --watch"),
        (["localfile:///k", "--watch", "--every", "0"], "--every"),
        (["localfile:///k", "--watch", "--count", "0"], "--count"),
        (["--watch", "--metrics", "ftp://x"], "no address of metrics"),
        (["localfile:///k", "--watch", "--keystore-backup", "f"], "does not go with --watch"),
    ],
)
def test_wrong_usage_is_status_2(watch: Any, arguments: list[str], said: str) -> None:
    status, looks, err = watch(*arguments)
    assert (status, looks) == (2, [])
    assert said in " ".join(err.replace("│", " ").split())
