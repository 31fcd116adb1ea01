"""A real Prometheus judges a real worker whose KMS, a real one, stops answering and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devstack import OpenBao, TemporalServer
from prometheus import PrometheusServer

from tools.monitoring.queries import RULES, filled, panels, scaled
from tools.monitoring.trial import Trial

FACTOR = 60  # a second stands for a minute: lease and grace are those of the defaults, but for an hour of grace
LEASE, GRACE = 5.0, 6.0
SECONDS = 60.0
"""How long anything may take that must happen. Reached only where it does not."""

OUTAGE = {"EnvelopeKmsUnavailable", "EnvelopeGraceInUse", "EnvelopeGraceEndsSoon"}
AFTER_GRACE = {"EnvelopeLeaseNotRenewed", "EnvelopeSealingFails"}


def firing(prometheus: PrometheusServer) -> set[str]:
    alerts = prometheus.ask("query", query='ALERTS{alertstate="firing"}')["result"]
    return {alert["metric"]["alertname"] for alert in alerts}


def fired(prometheus: PrometheusServer) -> set[str]:
    """Whatever has been firing at any time."""
    alerts = prometheus.ask("query", query='max_over_time(ALERTS{alertstate="firing"}[1h])')["result"]
    return {alert["metric"]["alertname"] for alert in alerts}


def wait_for(what: Callable[[], bool], wanted: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline, f"{wanted} did not come"
        time.sleep(0.1)


def watched(*addresses: str) -> Any:
    """The last document of two looks by ``doctor --watch``."""
    metrics = [word for address in addresses for word in ("--metrics", address)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_CODEC_")}
    command = (sys.executable, "-m", "envelope_codec.cli", "doctor", "--watch", "--count", "2", "--every", "1")
    done = subprocess.run(
        [*command, "--json", *metrics],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment,
    )
    assert done.stdout, done.stderr
    document = json.loads(done.stdout.splitlines()[-1])
    assert document["status"] == done.returncode
    return document


@pytest.mark.timeout(300)
def test_rules_and_doctor_tell_an_outage_and_its_end(
    temporal_server: TemporalServer, run_server: Any, tmp_path: Path
) -> None:
    rules = scaled(RULES.read_text("utf-8"), FACTOR)
    with (
        run_server(OpenBao()) as kms,
        Trial(temporal_server.address, kms, tmp_path, lease=LEASE, grace=GRACE) as trial,
        run_server(PrometheusServer({"workers": [trial.metrics]}, rules, every=0.5)) as prometheus,
    ):
        look = watched(trial.metrics)
        assert (look["findings"], look["status"]) == ([], 0)
        assert look["leases"][0]["stage"] == "live"
        assert look["payloads"][0]["sealed"] > 0
        assert firing(prometheus) == set()

        trial.pause()
        wait_for(lambda: fired(prometheus) >= OUTAGE, "the alerts of an outage")
        wait_for(lambda: fired(prometheus) >= AFTER_GRACE, "the alerts once grace is over")
        assert not fired(prometheus) & {"EnvelopeKeyDenied", "EnvelopePlaintextRefused", "EnvelopeRecipientLacking"}
        named = {finding["alert"] for finding in watched(trial.metrics, "127.0.0.1:1")["findings"]}
        assert {"unreachable", "EnvelopeSealingFails"} <= named

        trial.resume()
        wait_for(lambda: not firing(prometheus), "the end of all alerts")
        shown = [
            panel["title"]
            for panel in panels()
            for target in panel["targets"]
            if prometheus.ask("query", query=filled(target["expr"]))["result"]
        ]
        assert {"Payloads by outcome", "KMS calls by outcome", "Time of a codec call", "Breakers"} <= set(shown)


@pytest.mark.nightly
def test_rules_tell_a_refusal_and_its_end(temporal_server: TemporalServer, run_server: Any, tmp_path: Path) -> None:
    rules = scaled(RULES.read_text("utf-8"), FACTOR)
    with (
        run_server(OpenBao()) as kms,
        Trial(temporal_server.address, kms, tmp_path, lease=LEASE, grace=GRACE) as trial,
        run_server(PrometheusServer({"workers": [trial.metrics]}, rules, every=0.5)) as prometheus,
    ):
        trial.deny()
        wait_for(lambda: fired(prometheus) >= {"EnvelopeKeyDenied", "EnvelopeSealingFails"}, "the alerts of a refusal")
        assert not fired(prometheus) & {"EnvelopeGraceInUse", "EnvelopeKmsUnavailable"}
        trial.permit()
        wait_for(lambda: not firing(prometheus), "the end of all alerts")
