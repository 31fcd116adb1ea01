"""Rules, runbooks and the dashboard fit each other, and name metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml

from envelope_codec.metrics import INSTRUMENTS
from envelope_codec.metrics.instruments import label_name
from tools.monitoring.queries import DASHBOARD, FOLDER, RULES, filled, panels, scaled, targets

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks.md"
GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDINGS = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
CASES = sorted((FOLDER / "tests").glob("*.yaml"))

OF_PROMETHEUS = {"job", "instance", "le"}
REQUESTS = {"http_request_method", "http_route", "http_response_status_code", "error_type"}
"""Of ``http.server.request.duration``, whose name is OpenTelemetry's own."""


def known_metrics() -> dict[str, set[str]]:
    """Names as Prometheus has them, with the labels of each."""
    known = {"http_server_request_duration_seconds": REQUESTS, "ALERTS": {"alertname", "alertstate"}}
    for instrument in INSTRUMENTS:
        known[instrument.prometheus] = {label_name(attribute) for attribute in instrument.attributes}
    for name in [name for name in known if name.endswith("_seconds")]:
        known |= {f"{name}_{kind}": known[name] for kind in ("bucket", "sum", "count")}
    return known


def unknown_names(expression: str) -> list[str]:
    """Find the metrics that nobody keeps in ``expression``, and the labels that its metrics do not have."""
    known, text = known_metrics(), re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    metrics = re.findall(r"\b((?:envelope_codec|http_server|ALERTS)\w*)", text)
    wrong = [name for name in metrics if name not in known]
    of_all = set().union(OF_PROMETHEUS, *(known.get(name, set()) for name in metrics))
    for metric, selector in re.findall(r"(\w+)\s*\{([^}]*)\}", text):
        labels = set(re.findall(r"(\w+)\s*[=!]", selector))
        wrong += [f"{metric}.{label}" for label in sorted(labels - known.get(metric, set()) - OF_PROMETHEUS)]
    for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", text):
        wrong += [label for label in re.findall(r"\w+", group) if label not in of_all]
    return wrong


def test_a_wrong_name_is_found() -> None:
    assert unknown_names("sum by (store) (rate(envelope_codec_kms_calls_total[5m]))") == ["store"]
    assert unknown_names('envelope_codec_kms_calls{error_type="x"}') == [
        "envelope_codec_kms_calls",
        "envelope_codec_kms_calls.error_type",
    ]
    assert unknown_names('envelope_codec_keys_cached{namespace="x", job="y"}') == [
        "envelope_codec_keys_cached.namespace"
    ]
    assert unknown_names("rate(envelope_codec_kms_duration_seconds_bucket[5m])") == []


@pytest.mark.parametrize("name", [*ALERTS, *RECORDINGS])
def test_rules_name_metrics_and_labels_that_the_code_keeps(name: str) -> None:
    assert unknown_names({**ALERTS, **RECORDINGS}[name]["expr"]) == []


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.panel)
def test_panels_name_metrics_and_labels_that_the_code_keeps(target: Any) -> None:
    assert unknown_names(filled(target.expression)) == []
    labels = set(re.findall(r"\{\{(\w+)\}\}", target.legend))
    named = set(re.findall(r"\b(?:by) \(([^)]*)\)", target.expression)[-1:] and re.findall(r"\w+", target.expression))
    assert labels <= named


def test_every_metric_is_on_the_dashboard() -> None:
    text = DASHBOARD.read_text("utf-8")
    assert [one.name for one in INSTRUMENTS if one.prometheus not in text] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_a_person_needs(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert "for" in alert or "offset 5m" in alert["expr"] or name == "EnvelopeGraceEndsSoon"
    labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    kept = re.findall(r"\b(?:by|on) \(([^)]*)\)", alert["expr"])[0]
    assert labels <= set(re.findall(r"\w+", kept))


def test_each_alert_has_its_runbook_and_the_reverse() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE) != []
    assert set(re.findall(r"^## (\w+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)) == set(ALERTS)
    source = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Source"]
    for name, alert in ALERTS.items():
        assert alert["annotations"]["runbook_url"] == f"{source}/blob/main/docs/runbooks.md#{name.lower()}"


def sections() -> Iterator[tuple[str, str]]:
    yield from re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("name", "text"), list(sections()), ids=lambda value: value[:30])
def test_a_runbook_has_its_four_parts(name: str, text: str) -> None:
    for part in ("**Fired:**", "**It means**", "**Do**", "**Do not**"):
        assert part in text


def test_each_alert_has_series_that_fire_it_and_series_that_do_not() -> None:
    fires, rests = set[str](), set[str]()
    for file in CASES:
        document = yaml.safe_load(file.read_text("utf-8"))
        assert document["rule_files"] == ["../envelope-codec.rules.yaml"]
        for case in document["tests"]:
            name = case["name"].partition(":")[0]
            (fires if any(check["exp_samples"] for check in case["promql_expr_test"]) else rests).add(name)
    assert fires == rests == set(ALERTS)


def test_series_of_tests_have_names_and_labels_of_the_code() -> None:
    for file in CASES:
        for case in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            assert [unknown_names(one["series"]) for one in case["input_series"] if unknown_names(one["series"])] == []


def test_the_dashboard_is_up_to_date() -> None:
    command = [sys.executable, "-m", "tools.monitoring.dashboard", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), "run: python -m tools.monitoring.dashboard"


def test_panels_have_a_place_of_their_own_and_words_for_people() -> None:
    document = json.loads(DASHBOARD.read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    shown = panels()
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in shown)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in shown)
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert len({panel["title"] for panel in shown}) == len(shown)


def test_variables_of_queries_are_those_of_the_dashboard() -> None:
    document = json.loads(DASHBOARD.read_text("utf-8"))
    declared = {one["name"] for one in document["templating"]["list"]}
    used = {name for target in targets() for name in re.findall(r"\$(\w+)", target.expression)}
    assert used - declared == {"__rate_interval"}
    assert declared - used == {"datasource"}


def test_rules_are_scaled_in_every_length_of_time() -> None:
    rules = "expr: rate(a_total[5m]) > 6 * 60 or b offset 5m > 26 * 3600\nfor: 10m\nnote: 5 metres, 60 s"
    assert scaled(rules, 60) == (
        "expr: rate(a_total[5s]) > 6 * 1 or b offset 5s > 26 * 60\nfor: 10s\nnote: 5 metres, 60 s"
    )
    assert "for: 20s" in scaled("for: 2m", 6)
    rules = "\n".join(line for line in RULES.read_text("utf-8").splitlines() if not line.startswith("#"))
    assert not re.search(r"\b\d+m\b|\* 3600", scaled(rules, 60))
