"""What ``envelope-codec inspect`` prints for people."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import Purpose, Recipient, parse
from tests.support.inspected_payloads import HOSTILE, PLAIN, Run, as_json, envelope, history


def test_people_read_the_same(run: Run) -> None:
    sealed = envelope(Recipient("fakekms://a", "7", b"c" * 116), context={"temporal-namespace": "b", "x": "y z"})
    outcome = run(as_json(history(sealed, sealed, PLAIN)))
    assert (outcome.status, outcome.err) == (0, "")
    found = parse(sealed.metadata, sealed.data)
    assert found is not None
    at = "events[0].workflowExecutionStartedEventAttributes.input.payloads"
    assert (
        outcome.out
        == f"""\
Envelopes
  {at}[0]
    version 1, record 1, {len(sealed.data)} bytes of data, a data key of its own
  {at}[1]
    version 1, record 1, {len(sealed.data)} bytes of data, a data key of its own

Record 1
  purpose             wrapping-key
  created             2023-11-14T22:13:20Z
  id                  {found.record.id.hex()}
  context             temporal-namespace = b
                      x = y z
  recipient 1         fakekms://a
                      version 7
                      116 bytes of ciphertext

Summary
  envelopes           2, under 1 distinct record
  needed keys         fakekms://a (version 7): 2 envelopes
  in clear            1
                      1 json/plain, first
                      {at}[2]
"""
    )


def test_direct_mode_and_odd_times_are_told(run: Run) -> None:
    direct = envelope(purpose=Purpose.DATA_KEY, created=2**64 - 1)
    document = run(as_json(direct), "--json").document
    assert document["payloads"][0]["data_key"] is False
    assert document["records"][0]["purpose"] == "data-key"
    assert (document["records"][0]["created"], document["records"][0]["created_utc"]) == (2**64 - 1, None)
    text = run(as_json(direct)).out
    assert "no data key: direct mode" in text
    assert "18446744073709551615 s after 1970, which is no date" in text


def test_nothing_from_elsewhere_reaches_the_terminal_as_it_is(run: Run) -> None:
    sealed = envelope(
        Recipient(f"fakekms://{HOSTILE}", HOSTILE, b"c"), context={"temporal-namespace": "n", f"x{HOSTILE}": HOSTILE}
    )
    unknown = Payload(metadata={"encoding": HOSTILE.encode()})
    later = Payload(metadata={"encoding": b"binary/envelope-" + HOSTILE.encode()})
    document = {HOSTILE: [as_json(sealed), as_json(unknown), as_json(later), {"metadata": {"encoding": "!"}}]}
    outcome = run(document)
    assert outcome.status == 1
    assert not [char for char in outcome.out if not char.isprintable() and char != "\n"]
    spelled = r"\x1b]0;owned\x07\x1b[31m\x9b1m\u202e[bold red]\x7f\x0d"
    assert f"recipient 1         fakekms://{spelled}\n" in outcome.out
    assert f"x{spelled} =\n" in outcome.out  # and its value on the next line
    assert f"1 {spelled}, first" in outcome.out
    text = run(document, "--json").out
    assert text.isascii()
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert json.loads(text)["records"][0]["context"][f"x{HOSTILE}"] == HOSTILE


def test_on_a_terminal_too(tmp_path: Path) -> None:
    """Styled by rich, and with nothing but rich's own styles."""
    file = tmp_path / "x.json"
    sealed = envelope(Recipient(f"fakekms://{HOSTILE}", "1", b"c"))
    file.write_text(json.dumps([as_json(sealed), as_json(PLAIN), {"metadata": {"encoding": "!"}}]))
    ours, theirs = pty.openpty()
    code = "from envelope_codec.cli import main; main()"
    done = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(file)],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(ours)
    assert done.wait(60) == 1
    text = shown.decode()
    assert "\x1b[1mSummary\x1b[0m" in text
    rest = text.replace("\r\n", "\n")
    for style in ("\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"):
        rest = rest.replace(style, "")
    assert not [char for char in rest if not char.isprintable() and char != "\n"]
    assert r"fakekms://\x1b]0;owned\x07\x1b[31m" in rest


def test_characters_that_the_output_does_not_know_are_spelled_out(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(as_json(envelope(context={"temporal-namespace": "Zürich"}))))
    code = "from envelope_codec.cli import main; main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(file)], capture_output=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"temporal-namespace = Z\\xfcrich\n" in done.stdout
