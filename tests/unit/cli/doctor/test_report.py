"""What the doctor prints."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.configuration import Configuration
from envelope_codec.cli.doctor.diagnosis import Request, diagnose
from envelope_codec.cli.doctor.finding import Code
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.kms import WrappedSecret
from tests.support.doctor_runs import SECONDS, Recording, problems


async def test_no_secret_is_in_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Talkative(Recording):
        def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
            wrapped = super().wrap(secret, context)
            if context["temporal-namespace"] == "odd":
                raise RuntimeError(f"can't send {secret!r} {secret.hex()} {base64.b64encode(secret)!r}")
            return wrapped

    from envelope_codec.cli.doctor.report import diagnosis_document, print_diagnosis
    from envelope_codec.cli.output import Page

    kms = Talkative()
    config = EnvelopeConfig(key=kms)
    request = Request(Configuration(config, "a test"), ("good", "odd"), True, None)
    with quiet_logs() as words:
        diagnosis = await diagnose(request, Deadline(SECONDS), Calls(), words)
    assert problems(diagnosis) == [Code.wrap_unavailable]
    print_diagnosis(request, diagnosis, Page())
    print(json.dumps(diagnosis_document(request, diagnosis)))
    out, err = capsys.readouterr()
    secrets = [secret for what, _, secret in kms.asked if what == "wrap"]
    assert len(secrets) == 2
    for secret in secrets:
        for spelling in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert spelling not in out + err
    assert "failed unexpectedly" in out
