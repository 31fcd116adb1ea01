"""The JSON document of a view, for programs."""

from __future__ import annotations

from typing import Any

from envelope_codec.cli.doctor.report import diagnosis_document
from envelope_codec.cli.doctor.watch.overview import Calls, Overview
from envelope_codec.cli.doctor.watch.view import View

FORMAT = "envelope-codec/doctor-watch-1"


def view_document(view: View) -> dict[str, Any]:
    """Make the JSON document of ``view``. docs/command-line.md says what its names mean."""
    examination, overview = view.examination, view.overview
    return {
        "format": FORMAT,
        "time": view.time.isoformat(),
        "status": view.status,
        "endpoints": [{"url": endpoint.url, "trouble": endpoint.trouble} for endpoint in view.endpoints],
        "findings": [{"level": one.level.value, "alert": one.alert, "text": one.text} for one in view.judgements],
        **_overview_document(overview),
        "examined": examination
        and {
            "ended": examination.ended.isoformat(),
            **diagnosis_document(view.request, examination.diagnosis),
        },
    }


def _overview_document(overview: Overview) -> dict[str, Any]:
    return {
        "leases": [lease._asdict() for lease in overview.leases],
        "sealing_keys": [key._asdict() for key in overview.sealing_keys],
        "open_breakers": overview.open_breakers,
        "keys_cached": overview.keys_cached,
        "calls": {
            "kms": [_calls_document(calls) for calls in overview.kms],
            "stores": [_calls_document(calls) for calls in overview.stores],
            "keystore": [_calls_document(calls) for calls in overview.keystore],
        },
        "keystore_waiting": {"records": overview.queued, "seconds": overview.lag},
        "payloads": [
            {
                **payloads._asdict(),
                "failures": [
                    {"operation": operation, "error": error, "rate": rate}
                    for (operation, error), rate in payloads.failures.items()
                ],
            }
            for payloads in overview.payloads
        ],
        "requests": overview.requests._asdict(),
        "refused": overview.refused,
    }


def _calls_document(calls: Calls) -> dict[str, Any]:
    return calls._asdict()
