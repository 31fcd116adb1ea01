"""Record a real outage: ``python -m tools.monitoring.outage`` takes a quarter of an hour, and needs Prometheus.

A worker's KMS stops answering until grace is over, comes back, refuses, and permits again. A real Prometheus scrapes
the worker, judges the rules, and answers the queries of the dashboard. Lease, grace and rules are ten times as short
as by default. Two files keep what was seen:

- docs/pictures/dashboard-outage.json: the answers, of which tools/pictures draws the picture;
- deploy/monitoring/tests/recorded/outage.yaml: the metrics, as promtool takes them. There lengths are as by default.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack")]

import yaml  # noqa: E402
from prometheus import PrometheusServer  # noqa: E402
from servers import OpenBao, TemporalServer  # noqa: E402

from tools.monitoring.queries import FOLDER, RULES, filled, panels, scaled  # noqa: E402
from tools.monitoring.recording import Recording  # noqa: E402
from tools.monitoring.trial import Trial  # noqa: E402

FACTOR = 10
LEASE, GRACE = 300 // FACTOR, 3600 // FACTOR  # seconds
EVERY = 60 // FACTOR  # seconds from one value of the recording to the next, which stands for a minute
STEP = 5  # seconds from one point of the picture to the next

ANSWERS = ROOT / "docs" / "pictures" / "dashboard-outage.json"
SERIES = FOLDER / "tests" / "recorded" / "outage.yaml"

_LOOKBACK = {"__rate_interval": f"{300 // FACTOR}s", "lease": str(LEASE)}
_ALERTS = 'ALERTS{alertname=~"Envelope.+", alertstate="firing"}'


_OUTAGE = {"EnvelopeBreakerOpen", "EnvelopeGraceInUse", "EnvelopeKmsUnavailable"}
EXPECTED: Mapping[int, set[str]] = {
    9: set(),
    20: _OUTAGE,
    40: _OUTAGE,
    65: {*_OUTAGE, "EnvelopeGraceEndsSoon"},
    82: {*_OUTAGE - {"EnvelopeGraceInUse"}, "EnvelopeLeaseNotRenewed", "EnvelopeSealingFails", "EnvelopeOpeningFails"},
    96: set(),
    104: {"EnvelopeKeyDenied", "EnvelopeSealingFails"},
    119: set(),
}
"""The alerts that fire, by the minute of the recording."""

_HEADER = """\
# What a real worker told while its KMS gave no answer, and while it refused later: python -m tools.monitoring.outage
# writes this file. A value is of six seconds, and stands for a minute: lease and grace were a tenth of the defaults,
# and lengths of time are told ten times as long. Run: promtool test rules outage.yaml
"""


class Chapter(NamedTuple):
    """A part of the story: what happens at its beginning, and how long it lasts, in seconds."""

    title: str
    seconds: float
    act: Callable[[Trial], None]


STORY = (
    Chapter("", 60, lambda trial: None),
    Chapter("the KMS gives no answer", LEASE + GRACE + 60, Trial.pause),
    Chapter("", 72, Trial.resume),
    Chapter("the KMS refuses", 60, Trial.deny),
    Chapter("", 78, Trial.permit),
)


def main() -> int:
    """Run the story, and write both files."""
    recording, began = Recording(FACTOR), list[float]()
    with (
        tempfile.TemporaryDirectory() as folder,
        TemporalServer() as temporal,
        OpenBao() as kms,
        Trial(temporal.address, kms, Path(folder), lease=LEASE, grace=GRACE) as trial,
        PrometheusServer({"workers": [trial.metrics]}, scaled(RULES.read_text("utf-8"), FACTOR)) as prometheus,
    ):
        start = time.time()
        for chapter in STORY:
            began.append(time.time() - start)
            print(f"{began[-1]:5.0f} s  {chapter.title or 'all is well'}", flush=True)
            chapter.act(trial)
            _record(trial, recording, time.time() + chapter.seconds)
        answers = _ask(prometheus, start, time.time())
    seen = [
        {"title": chapter.title, "begin": round(begin), "seconds": round(chapter.seconds)}
        for chapter, begin in zip(STORY, began, strict=True)
    ]
    ANSWERS.write_text(json.dumps({"lease": LEASE, "grace": GRACE, "story": seen, **answers}) + "\n", "utf-8")
    SERIES.write_text(recorded_test(recording.series()), "utf-8")
    return 0


def recorded_test(series: Mapping[str, str]) -> str:
    """Return the file for promtool: the ``series``, and which alerts fire over them at which minute."""
    checks = [
        {
            "expr": "group by (alertname) (ALERTS{alertstate='firing'})",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for minute, names in EXPECTED.items()
    ]
    document = {
        "rule_files": ["../../envelope-codec.rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": "a real outage, and then a real refusal",
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": checks,
            }
        ],
    }
    return _HEADER + yaml.safe_dump(document, sort_keys=False, width=100_000)


def _record(trial: Trial, recording: Recording, end: float) -> None:
    while (now := time.time()) < end:
        recording.add(trial.told())
        time.sleep(max(0.0, min(now + EVERY, end) - time.time()))


def _ask(prometheus: PrometheusServer, start: float, end: float) -> Mapping[str, Any]:
    """Return the answers to the queries of all panels, with times in seconds since ``start``."""

    def values(expression: str) -> list[dict[str, Any]]:
        answer = prometheus.ask("query_range", query=expression, start=start, end=end, step=STEP)
        return [
            {
                "labels": one["metric"],
                "values": [[round(at - start), float(f"{float(value):.4g}")] for at, value in one["values"]],
            }
            for one in answer["result"]
        ]

    found = []
    for panel in panels():
        series = [
            {"legend": target["legendFormat"], **one}
            for target in panel["targets"]
            for one in values(filled(target["expr"], _LOOKBACK))
        ]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found.append({"title": panel["title"], "kind": panel["type"], "unit": unit, "series": series})
    return {"seconds": round(end - start), "alerts": values(_ALERTS), "panels": found}


if __name__ == "__main__":
    sys.exit(main())
