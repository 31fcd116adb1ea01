"""The text of metrics, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope_codec.cli.doctor.watch import exposition
from envelope_codec.cli.doctor.watch.exposition import parse, plain_name


def test_series_are_found_by_name_and_labels() -> None:
    found = parse(
        "# HELP envelope_codec_payloads_total Payloads\n"
        "# TYPE envelope_codec_payloads_total counter\n"
        'envelope_codec_payloads_total{operation="seal",namespace="prod"} 3\n'
        'envelope_codec_payloads_total{operation="open",namespace="prod",} 4 1764400000000\n'
        "envelope_codec_keys_cached 7\n"
        'python_gc_objects_collected_total{generation="0"} 5\n'
    )
    assert found.of("envelope_codec_payloads") == {
        frozenset({("operation", "seal"), ("namespace", "prod")}): 3.0,
        frozenset({("operation", "open"), ("namespace", "prod")}): 4.0,
    }
    assert found.of("envelope_codec_keys_cached") == {frozenset(): 7.0}
    assert (set(found.series), found.malformed, found.left_out) == (
        {"envelope_codec_payloads", "envelope_codec_keys_cached"},
        0,
        0,
    )


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("envelope_codec_payloads_total", "envelope_codec_payloads"),
        ("envelope_codec_payloads", "envelope_codec_payloads"),
        ("envelope_codec_payloads__total", "envelope_codec_payloads"),
        ("envelope_codec_payload_bytes_total", "envelope_codec_payload_bytes"),
        ("envelope_codec_kms_duration_seconds_bucket", "envelope_codec_kms_duration_bucket"),
        ("envelope_codec_kms_duration_s_count", "envelope_codec_kms_duration_count"),
        ("envelope_codec_kms_duration_sum", "envelope_codec_kms_duration_sum"),
        ("envelope_codec_lease_since_success_seconds", "envelope_codec_lease_since_success"),
        ("envelope_codec_sealing_key_uses", "envelope_codec_sealing_key_uses"),
        ("envelope_codec_payloads_created", ""),
    ],
)
def test_names_are_the_same_whatever_an_exporter_appends(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_labels_are_unescaped_and_empty_ones_are_none() -> None:
    found = parse('envelope_codec_x{key_id="a\\"b\\\\c\\nd,}",error_type=""} 1\n')
    assert found.of("envelope_codec_x") == {frozenset({("key_id", 'a"b\\c\nd,}')}): 1.0}


@pytest.mark.parametrize(
    "line",
    [
        "envelope_codec_x",
        "envelope_codec_x one",
        "envelope_codec_x NaN",
        "envelope_codec_x{a=1} 1",
        'envelope_codec_x{a="1" 1',
        'envelope_codec_x{a="1"',
        'envelope_codec_x{,a="1"} 1',
        "envelope_codec_x 1 2 3",
        "envelope_codec_x{" + ",".join(f'l{number}="1"' for number in range(50)) + "} 1",
        'envelope_codec_x{a="' + "y" * 10_000 + '"} 1',
        "<html>",
        "\x1b[31m",
    ],
)
def test_what_is_no_sample_is_counted_and_costs_the_others_nothing(line: str) -> None:
    found = parse(f"envelope_codec_before 1\n{line}\nenvelope_codec_after 2\n")
    assert found.malformed == 1
    assert set(found.series) == {"envelope_codec_before", "envelope_codec_after"}


def test_what_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_SERIES", 10)
    found = parse("".join(f'envelope_codec_x{{n="{number}"}} 1\n' for number in range(25)))
    assert (len(found.of("envelope_codec_x")), found.left_out) == (10, 15)
    (labels,) = parse(f'envelope_codec_x{{n="{"y" * 5_000}"}} 1\n').of("envelope_codec_x")
    assert len(dict(labels)["n"]) == 600


@given(st.text(alphabet='envelop_cd{}",=\\ \n#1.', max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    parse(f"envelope_codec_{text}")
