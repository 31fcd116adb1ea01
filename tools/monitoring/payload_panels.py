"""The panels that show at a glance how all fares, and those of payloads."""

from __future__ import annotations

from tools.monitoring.panel import FAILED, SPACE, WHERE, Panel, Query, Row, latencies, one, rate_of

GLANCE = Row(
    "At a glance",
    (
        Panel(
            "Alerts that fire",
            "Rules of envelope-codec.rules.yaml. docs/runbooks.md has a section for each.",
            "none",
            one('count(ALERTS{alertname=~"Envelope.+", alertstate="firing"}) or vector(0)', "alerts"),
            "stat",
            1,
        ),
        Panel(
            "Payloads that fail",
            "Payloads that could not be sealed or opened. Nothing of them was sent in clear.",
            "cps",
            one(f"{rate_of('envelope_codec_payloads_total', FAILED)} or vector(0)", "failures"),
            "stat",
            0.001,
        ),
        Panel(
            "Since the last success of a KMS",
            "The longest of all leases in use. Beyond the lease's length, keys serve by grace.",
            "s",
            one(f"max(envelope_codec_lease_since_success_seconds{{{SPACE}}})", "since success"),
            "stat",
            300,
        ),
        Panel(
            "Grace ends at",
            "When the first keys stop serving, if the KMS gives no answer until then. Empty while no grace is in use.",
            "dateTimeAsLocal",
            one(f"1000 * (time() + min(envelope_codec_lease_grace_left_seconds{{{SPACE}}} > 0))", "grace ends"),
            "stat",
            1,
        ),
        Panel(
            "Recipients lacking",
            "Master keys that were to wrap a key that seals, and did not.",
            "none",
            one(f"max(envelope_codec_sealing_key_recipients_lacking{{{SPACE}}})", "lacking"),
            "stat",
            1,
        ),
        Panel(
            "Oldest key that seals",
            "By default a key seals for 24 hours at most.",
            "s",
            one(f"max(envelope_codec_sealing_key_age_seconds{{{SPACE}}})", "age"),
            "stat",
            93_600,
        ),
    ),
)

PAYLOADS = Row(
    "Payloads",
    (
        Panel(
            "Payloads by outcome",
            "seal and open are encryption; legacy came from another codec; pass was in clear and stayed so.",
            "cps",
            one(
                rate_of("envelope_codec_payloads_total", SPACE, "operation", "error_type"),
                "{{operation}} {{error_type}}",
            ),
        ),
        Panel(
            "Payloads by namespace",
            "Sealed and opened, with all outcomes.",
            "cps",
            one(
                rate_of("envelope_codec_payloads_total", SPACE, "namespace", "operation"),
                "{{namespace}} {{operation}}",
            ),
        ),
        Panel(
            "Bytes",
            "Bytes of payloads, as they came.",
            "Bps",
            one(rate_of("envelope_codec_payload_bytes_total", SPACE, "operation"), "{{operation}}"),
        ),
        Panel(
            "Time of a codec call",
            "One call of encode or decode, with all its waiting. Far below a millisecond while keys are at hand.",
            "s",
            latencies("envelope_codec_codec_duration_seconds", SPACE, "operation"),
        ),
        Panel(
            "Compression",
            "Bytes after compression, as a share of those before. Kept where compression is on.",
            "percentunit",
            one(
                f"{rate_of('envelope_codec_compression_bytes_after_total', SPACE, 'namespace')} / "
                f"{rate_of('envelope_codec_compression_bytes_before_total', SPACE, 'namespace')}",
                "{{namespace}}",
            ),
        ),
        Panel(
            "Keys at hand, and lookups that found none",
            "Unwrapped wrapping keys that are kept for opening. A miss costs a call of a KMS or of the keystore.",
            "none",
            (
                Query(f"sum(envelope_codec_keys_cached{{{WHERE}}})", "keys at hand"),
                Query(
                    rate_of("envelope_codec_cache_lookups_total", f'{WHERE}, result="miss"', "cache"),
                    "misses of {{cache}}, a second",
                ),
            ),
        ),
    ),
)
