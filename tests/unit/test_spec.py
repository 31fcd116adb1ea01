"""SPEC.md says what is so: its worked example is computed again, and opened from the page alone."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from envelope_codec import errors
from envelope_codec.kms import WrappedSecret, context_bytes
from envelope_codec_local import LocalKeyFile
from tests.support.second_reader import open_envelope
from tests.vectors.vector_files import load

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "SPEC.md").read_text(encoding="utf-8")


def example() -> dict[str, list[str]]:
    """The values of the example's block by label; a label may come more than once."""
    (block,) = re.findall(r"(?ms)^```text\n(.*?)^```$", SPEC)
    found: dict[str, list[str]] = {}
    label = ""
    for line in block.splitlines():
        name, value = line[:24].strip(), line[24:]
        if name and not value:
            continue
        if name:
            label = name
            found.setdefault(label, []).append(value)
        elif value:
            found[label][-1] += value
    return found


def kms_context() -> dict[str, str]:
    return dict(line.split(" = ") for line in example()["KMS context"])


def test_the_worked_example_is_what_its_script_prints() -> None:
    command = [sys.executable, "-m", "tests.vectors.worked_example"]
    printed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert printed in SPEC


def test_the_second_reader_opens_the_worked_example_from_the_page(tmp_path: Path) -> None:
    values = example()
    master_key = bytes.fromhex(values["master key, version 1"][0])
    path = tmp_path / "key.json"
    path.touch(mode=0o600)
    document = {
        "format": "envelope-codec/key-file-1",
        "id": values["key id"][0].removeprefix("localfile://"),
        "primary": 1,
        "versions": {"1": base64.b64encode(master_key).decode()},
    }
    path.write_text(json.dumps(document))
    key_file = LocalKeyFile.from_uri(f"localfile://{path}")

    def unwrap(key_id: str, key_version: str, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        assert context == kms_context()
        return key_file.unwrap(WrappedSecret(key_id, key_version, ciphertext), context).secret

    metadata = {
        "encoding": values["encoding"][0].encode(),
        "encryption-key-id": values["encryption-key-id"][0].encode(),
        "encryption-wrapped-key": bytes.fromhex(values["record, together"][0]),
        "encryption-data-key": bytes.fromhex(values["wrapped data key"][0]),
    }
    assert open_envelope(metadata, bytes.fromhex(values["data"][0]), unwrap).hex() == values["inner Payload"][0]


def test_the_worked_example_is_a_test_vector() -> None:
    (vector,) = load(lambda vector: vector.name == "worked-example")
    assert vector.data.hex() == example()["data"][0]
    assert vector.metadata["encryption-wrapped-key"].hex() == example()["record, together"][0]


def test_the_context_bytes_of_the_worked_example_are_those_of_the_library() -> None:
    assert context_bytes(kms_context()).hex() == example()["context bytes"][0]


def test_the_context_bytes_hold_the_largest_context_that_a_record_may_have() -> None:
    (vector,) = load(lambda vector: vector.name == "context-most-entries")
    assert context_bytes(vector.kms[0].context)[25] == 255


def test_rules_are_numbered_without_gaps_and_name_errors_of_the_library() -> None:
    rules = SPEC.split("\n## What a reader must reject\n")[1].split("\n## ")[0]
    numbers = [int(number) for number in re.findall(r"(?m)^(\d+)\. ", rules)]
    assert numbers == list(range(1, len(numbers) + 1))
    named = set(re.findall(r"(?m)^`(\w+)`", rules))
    assert named == {vector.expect for vector in load()} - {"ok", "untouched"}
    assert all(issubclass(getattr(errors, name), errors.EnvelopeError) for name in named)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(#([^)]+)\)", SPEC))))
def test_links_within_the_page_lead_to_a_heading(link: str) -> None:
    headings = [re.sub(r"[^\w -]", "", line).strip().lower() for line in re.findall(r"(?m)^## (.*)$", SPEC)]
    assert link in [heading.replace(" ", "-") for heading in headings]
