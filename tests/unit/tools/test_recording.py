"""What a worker told, as input series of promtool."""

from __future__ import annotations

from tools.monitoring.recording import Recording


def test_values_are_those_of_equal_intervals() -> None:
    recording = Recording(10)
    for count, since in ((1, 2.5), (1, 3), (1, 3), (4, 0.5)):
        recording.add(
            "# TYPE envelope_codec_kms_calls_total counter\n"
            f'envelope_codec_kms_calls_total{{operation="wrap",service_name="temporal-core-sdk"}} {count}\n'
            f'envelope_codec_lease_since_success_seconds{{service_name="temporal-core-sdk"}} {since}\n'
            'envelope_codec_kms_duration_seconds_bucket{le="1",operation="wrap"} 5\n'
            'temporal_request{operation="x"} 1\n'
        )
    assert recording.series() == {
        'envelope_codec_kms_calls_total{job="workers",instance="w1",operation="wrap"}': "1x2 4",
        'envelope_codec_lease_since_success_seconds{job="workers",instance="w1"}': "25 30x1 5",
    }


def test_what_was_not_told_is_a_gap() -> None:
    recording = Recording(1)
    recording.add("")
    recording.add('envelope_codec_keys_cached{service_name="temporal-core-sdk"} 7\n')
    recording.add("")
    assert recording.series() == {'envelope_codec_keys_cached{job="workers",instance="w1"}': "_ 7 _"}
