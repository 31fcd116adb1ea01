"""The diagnosis as a whole: it ends in time, and no part keeps another from being examined."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Request, diagnose
from envelope_codec.cli.doctor.finding import Code
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.keys.call import Calls
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import SECONDS, OnceReached, examine, problems


async def test_one_bad_key_keeps_no_other_from_being_asked(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    good = FakeKms()
    config = EnvelopeConfig(
        key="localfile:///nonexistent", backup_keys=(good, key_uri(tmp_path / "key.json")), decrypt_keys=("what://k",)
    )
    diagnosis = await examine(config)
    assert problems(diagnosis) == [Code.provider_unusable, Code.provider_unusable]
    assert [finding.subject for finding in diagnosis.findings[:2]] == ["key", "decrypt_keys[0]"]
    assert "key file '/nonexistent' is missing: make it with envelope-codec keygen" in diagnosis.findings[0].text
    assert "no provider for key URI scheme 'what'" in diagnosis.findings[1].text
    ended = [bool(probe.unwrap and probe.unwrap.error is None) for probe in diagnosis.probes]
    assert ended == [False, True, True, False]


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
async def test_it_ends_in_time_when_the_kms_hangs(operation: str) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hang(asked: str) -> None:
        if asked == operation:
            reached.set()
            go_on.wait(SECONDS)

    kms, calls = FakeKms(), Calls()
    kms.before_call = hang
    request = Request(Configuration(EnvelopeConfig(key=kms), "a test"), ["default"], True, None)
    try:
        with quiet_logs() as words:
            diagnosis = await diagnose(request, OnceReached(reached), calls, words)
        assert calls.hang
    finally:
        go_on.set()
    assert problems(diagnosis) == [Code.no_answer_in_time]
    assert {"wrap": "it did not wrap", "unwrap": "did not unwrap"}[operation] in diagnosis.findings[0].text
