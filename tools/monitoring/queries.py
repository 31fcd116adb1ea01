"""The queries of deploy/monitoring: those of the dashboard's panels, and the expressions of the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
DASHBOARD = FOLDER / "dashboard.json"
RULES = FOLDER / "envelope-codec.rules.yaml"

_EVERYTHING = {"job": ".*", "instance": ".*", "namespace": ".*", "lease": "300", "__rate_interval": "5m"}


class Target(NamedTuple):
    """One query of a panel, with variables of Grafana in it.

    Attributes:
        panel: title of its panel.
        expression: in PromQL.
        legend: with names of labels in double braces.
    """

    panel: str
    expression: str
    legend: str


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard, rows left out."""
    document = json.loads(DASHBOARD.read_text("utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets() -> list[Target]:
    """List the queries of all panels."""
    return list(_targets())


def _targets() -> Iterator[Target]:
    for panel in panels():
        for target in panel["targets"]:
            yield Target(panel["title"], target["expr"], target["legendFormat"])


def filled(expression: str, values: Mapping[str, str] = {}) -> str:
    """Return ``expression`` with Grafana's variables replaced: by ``values``, else by what takes in everything."""
    known = {**_EVERYTHING, **values}
    return re.sub(r"\$(\w+)", lambda match: known[match[1]], expression)


def scaled(rules: str, factor: int) -> str:
    """Return the rules for a world that runs ``factor`` times as fast.

    That is how a real outage with short leases is judged by rules for long ones: durations such as ``5m`` and
    ``N * 60`` become shorter, and all else stays. ``factor`` divides 60.
    """
    per_minute = 60 // factor
    text = re.sub(r"\b(\d+)m\b", lambda match: f"{int(match[1]) * per_minute}s", rules)
    text = re.sub(r"\* 60\b", f"* {per_minute}", text)
    return re.sub(r"\* 3600\b", f"* {60 * per_minute}", text)
