"""The panels of master keys, leases and sealing keys."""

from __future__ import annotations

from tools.monitoring.panel import SPACE, WHERE, Panel, Query, Row, latencies, one, rate_of

KEYS = Row(
    "Master keys and leases",
    (
        Panel(
            "KMS calls by outcome",
            "A few in each lease while all is well.",
            "cps",
            one(
                rate_of("envelope_codec_kms_calls_total", WHERE, "provider", "operation", "error_type"),
                "{{provider}} {{operation}} {{error_type}}",
            ),
        ),
        Panel(
            "Time of a KMS call",
            "Calls that got no answer are in it, with the time for which somebody waited.",
            "s",
            latencies("envelope_codec_kms_duration_seconds", WHERE, "provider", "operation"),
        ),
        Panel(
            "Since the last success, beside the lease",
            "It climbs to four fifths of the lease, and falls at each renewal. Above the lease keys serve by grace.",
            "s",
            (
                Query(
                    f"max by (namespace, operation, key_id) (envelope_codec_lease_since_success_seconds{{{SPACE}}})",
                    "{{namespace}} {{operation}} {{key_id}}",
                ),
                Query("vector($lease)", "the lease"),
            ),
        ),
        Panel(
            "Grace that is left",
            "0 while the KMS answers. Where it falls to 0 without an answer, nothing is sealed or opened any more.",
            "s",
            one(
                f"max by (namespace, operation, key_id) (envelope_codec_lease_grace_left_seconds{{{SPACE}}})",
                "{{namespace}} {{operation}} {{key_id}}",
            ),
        ),
        Panel(
            "Breakers",
            "1 while a master key did not answer when it was last asked: others are asked first.",
            "none",
            one(f"max by (key_id) (envelope_codec_breaker_open{{{WHERE}}})", "{{key_id}}"),
        ),
        Panel(
            "Age of the keys that seal",
            "Falls to 0 where a key is replaced.",
            "s",
            one(
                f"max by (namespace, key_id) (envelope_codec_sealing_key_age_seconds{{{SPACE}}})",
                "{{namespace}} {{key_id}}",
            ),
        ),
        Panel(
            "Payloads sealed with the key in use",
            "The most of any process. By default a key seals 1,048,576 payloads at most.",
            "none",
            one(f"max by (namespace) (envelope_codec_sealing_key_uses{{{SPACE}}})", "{{namespace}}"),
        ),
        Panel(
            "Recipients of the keys that seal",
            "How many master keys have wrapped them, and how many more were to.",
            "none",
            (
                Query(
                    f"min by (namespace) (envelope_codec_sealing_key_recipients{{{SPACE}}})",
                    "{{namespace}} recipients",
                ),
                Query(
                    f"max by (namespace) (envelope_codec_sealing_key_recipients_lacking{{{SPACE}}})",
                    "{{namespace}} lacking",
                ),
            ),
        ),
    ),
)
