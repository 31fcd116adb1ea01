"""The dashboard for Grafana: ``python -m tools.monitoring.dashboard`` writes deploy/monitoring/dashboard.json anew."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.monitoring.key_panels import KEYS
from tools.monitoring.panel import Panel, Row
from tools.monitoring.payload_panels import GLANCE, PAYLOADS
from tools.monitoring.server_panels import SERVER, STORES

FILE = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "dashboard.json"

ROWS = (GLANCE, PAYLOADS, KEYS, STORES, SERVER)

_SCHEMA = 41  # of Grafana 12; older ones take it too
_WIDTH = 24  # columns of Grafana's grid
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF = {"job": "envelope_codec_payloads_total", "instance": 'envelope_codec_payloads_total{job=~"$job"}'}


def dashboard() -> dict[str, Any]:
    """Return the dashboard, as Grafana imports it."""
    return {
        "title": "Envelope codec",
        "uid": "envelope-codec",
        "description": "Workers and codec servers of temporal-envelope-codec. See docs/monitoring.md.",
        "tags": ["temporal", "encryption"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": list(_variables())},
        "annotations": {"list": [_alerts()]},
        "panels": list(_panels()),
    }


def dashboard_text() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    for name, series in (*_OF.items(), ("namespace", 'envelope_codec_payloads_total{job=~"$job"}')):
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": f"label_values({series}, {name})", "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
    lease = {"text": "300", "value": "300"}
    yield {
        "name": "lease",
        "label": "Lease (s)",
        "type": "textbox",
        "query": "300",
        "current": lease,
        "options": [lease],
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Envelope.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{namespace}} {{key_id}}",
        "step": "60s",
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }
        number, top = number + 1, top + 1
        width, height = _size(row)
        for index, panel in enumerate(row.panels):
            left = index * width
            place = {"x": left % _WIDTH, "y": top + left // _WIDTH * height, "w": width, "h": height}
            yield _panel(number, panel, place)
            number += 1
        top += -(-len(row.panels) * width // _WIDTH) * height


def _size(row: Row) -> tuple[int, int]:
    return (4, 4) if row.panels[0].kind == "stat" else (8, 8)


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    options: dict[str, Any]
    if panel.kind == "stat":
        custom: dict[str, Any] = {}
        options = {
            "colorMode": "background",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    else:
        custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        options = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0 if panel.kind == "timeseries" else None,
                "noValue": "-",
                "custom": custom,
                "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": options,
    }


def main() -> int:
    """Write the dashboard, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it is out of date")
    check = parser.parse_args().check
    text = dashboard_text()
    stale = not FILE.exists() or FILE.read_text("utf-8") != text
    if stale and not check:
        FILE.write_text(text, "utf-8")
    print(f"{FILE.name} {'was out of date' if stale else 'is up to date'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
