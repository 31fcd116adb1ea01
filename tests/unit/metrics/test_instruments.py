"""The instruments' names, and the labels that they get."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from envelope_codec.metrics import HISTOGRAM_BUCKETS, INSTRUMENTS, hash_key_id
from envelope_codec.metrics.instruments import label_name
from envelope_codec.metrics.labels import KnownValues, Labels

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_names_are_spelled_as_prometheus_takes_them() -> None:
    names = {instrument.name: instrument.prometheus for instrument in INSTRUMENTS}
    assert len(set(names.values())) == len(INSTRUMENTS)
    assert all(re.fullmatch("envelope_codec_[a-z_]+", name) for name in names.values())
    assert names["envelope_codec.kms.duration"] == "envelope_codec_kms_duration_seconds"
    assert names["envelope_codec.payload.bytes"] == "envelope_codec_payload_bytes_total"
    assert names["envelope_codec.compression.bytes_before"] == "envelope_codec_compression_bytes_before_total"
    assert names["envelope_codec.breaker.open"] == "envelope_codec_breaker_open"
    assert all(list(bounds) == sorted(bounds) for bounds in HISTOGRAM_BUCKETS.values())


def test_the_page_has_every_instrument_as_the_code_has_it() -> None:
    rows = set(re.findall(r"^\| `envelope_codec\..*$", PAGE, re.MULTILINE))
    wanted = set()
    for one in INSTRUMENTS:
        attributes = ", ".join(f"`{name}`" for name in one.attributes)
        unit = f", `{one.unit}`" if one.unit else ""
        wanted.add(f"| `{one.name}` | {one.kind}{unit} | {attributes} | {one.meaning} |")
    assert rows == wanted, "\n".join(sorted(wanted - rows))


def test_the_page_has_every_name_as_prometheus_spells_it() -> None:
    for one in INSTRUMENTS:
        assert f"`{one.prometheus}`" in PAGE, one.prometheus
        assert all(f"`{label_name(name)}`" in PAGE for name in one.attributes)


def test_an_attribute_has_no_more_values_than_are_bounded() -> None:
    values = KnownValues(["always"], most=2)
    assert [values.name(text) for text in ("a", "b", "c", "a", "always", "d")] == [
        "a", "b", "other", "a", "always", "other",
    ]  # fmt: skip
    labels = Labels()
    assert len({labels.namespace(f"made-up-{number}") for number in range(5_000)}) == 1_001
    assert len({labels.key_id(f"made-up-{number}") for number in range(5_000)}) == 1_001


def test_a_hashed_key_id_is_what_the_page_says() -> None:
    key_id = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert hash_key_id(key_id) in PAGE
    assert hash_key_id("") == ""


def test_nothing_of_opentelemetry_or_temporal_is_loaded_before_it_is_used() -> None:
    code = "import sys, envelope_codec.metrics; print([m for m in ('opentelemetry', 'temporalio') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
