"""The panels of stores, of the keystore, and of codec servers."""

from __future__ import annotations

from tools.monitoring.panel import ROUTE, WHERE, Panel, Row, latencies, one, rate_of

STORES = Row(
    "Stores and the keystore",
    (
        Panel(
            "Store calls by outcome",
            "Payloads that go to a datastore of yours.",
            "cps",
            one(
                rate_of("envelope_codec_store_calls_total", WHERE, "store", "operation", "error_type"),
                "{{store}} {{operation}} {{error_type}}",
            ),
        ),
        Panel(
            "Time of a store call",
            "One call, in which a payload is written or read.",
            "s",
            latencies("envelope_codec_store_duration_seconds", WHERE, "store", "operation"),
        ),
        Panel(
            "Keystore calls by outcome",
            "lookup reads a row, publish writes one, share is about wrapping keys that others seal with as well.",
            "cps",
            one(
                rate_of("envelope_codec_keystore_calls_total", WHERE, "operation", "error_type"),
                "{{operation}} {{error_type}}",
            ),
        ),
        Panel(
            "Time of a keystore call",
            "One call.",
            "s",
            latencies("envelope_codec_keystore_duration_seconds", WHERE, "operation"),
        ),
        Panel(
            "Records that wait for the keystore",
            "0 while it takes what is published.",
            "none",
            one(f"sum by (job) (envelope_codec_keystore_queued{{{WHERE}}})", "{{job}}"),
        ),
        Panel(
            "How long the first of them waits",
            "A process that ends meanwhile takes its records along.",
            "s",
            one(f"max by (job) (envelope_codec_keystore_lag_seconds{{{WHERE}}})", "{{job}}"),
        ),
    ),
)

SERVER = Row(
    "Codec servers and budgets",
    (
        Panel(
            "Requests by status",
            "Requests for encode, decode and download.",
            "reqps",
            one(
                rate_of("http_server_request_duration_seconds_count", ROUTE, "http_response_status_code"),
                "{{http_response_status_code}}",
            ),
        ),
        Panel(
            "Time of a request",
            "From its first byte to the end of the answer.",
            "s",
            latencies("http_server_request_duration_seconds", ROUTE, "http_route"),
        ),
        Panel(
            "Refused by a budget",
            "Before any work was done for it.",
            "cps",
            one(rate_of("envelope_codec_refused_total", WHERE, "reason"), "{{reason}}"),
        ),
    ),
)
