"""The command ``envelope-codec inspect``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec.envelope import Recipient
from envelope_codec.testing import FakeKms
from tests.support.inspected_payloads import PLAIN, E, Run, as_json, changed, envelope, history


def test_something_malformed_is_status_1_and_named(run: Run) -> None:
    broken = changed(envelope(), encryption_data_key=b"short")
    outcome = run(as_json(history(envelope(), broken)))
    assert (outcome.status, outcome.err) == (1, "")
    assert "input.payloads[1]\n    malformed: the envelope's data key has the wrong length\n" in outcome.out
    assert "malformed           1\n" in outcome.out
    (_, told) = run(as_json(history(envelope(), broken)), "--json").document["payloads"]
    assert told["kind"] == "malformed"
    assert told["reason"] == "the envelope's data key has the wrong length"


async def test_real_envelopes_need_no_key(run: Run) -> None:
    kms = FakeKms("fakekms://real")
    codec = EnvelopeCodec(EnvelopeConfig(key=kms, context={"tenant": "t"}), namespace="prod")
    sealed = await codec.encode([PLAIN])
    codec.close()
    calls = kms.wraps, kms.unwraps
    document = run(as_json(sealed[0]), "--json").document
    assert document["records"][0]["context"] == {"temporal-namespace": "prod", "tenant": "t"}
    assert document["records"][0]["recipients"][0]["key_id"] == "fakekms://real"
    assert (kms.wraps, kms.unwraps) == calls


def test_it_loads_no_cloud_sdk_and_no_temporal_client(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(as_json(envelope(Recipient("arn:aws:kms:us-east-1:111122223333:key/1", "", b"c")))))
    code = """
import atexit, sys
from envelope_codec.cli import main
unwanted = {"boto3", "botocore", "hvac", "google.cloud", "google.cloud.kms", "temporalio.client"}
atexit.register(lambda: print(sorted(unwanted & sys.modules.keys())))
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(file)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps([E] * 20_000))
    code = "from envelope_codec.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
