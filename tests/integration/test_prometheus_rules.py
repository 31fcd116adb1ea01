"""Prometheus itself parses the rules and the queries of the dashboard, and tries the rules."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from localserver import ServerMissing
from prometheus import find_promtool

from tools.monitoring.queries import FOLDER, RULES, filled, targets

TESTS = sorted((FOLDER / "tests").rglob("*.yaml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return find_promtool()
    except ServerMissing as missing:
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def told(*command: object) -> tuple[int, str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_the_rules_are_rules(promtool: str) -> None:
    status, said = told(promtool, "check", "rules", RULES)
    assert status == 0, said


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_fire_where_they_must_and_not_elsewhere(promtool: str, file: Path) -> None:
    status, said = told(promtool, "test", "rules", file)
    assert status == 0, said


def test_a_rule_that_never_fires_is_found(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    text = RULES.read_text("utf-8")
    (tmp_path / "envelope-codec.rules.yaml").write_text(text.replace('error_type="KeyDenied"', 'error_type="Denied"'))
    file = tmp_path / "tests" / "kms.yaml"
    file.write_text((FOLDER / "tests" / "kms.yaml").read_text("utf-8"), "utf-8")
    status, said = told(promtool, "test", "rules", file)
    assert status == 1
    assert "EnvelopeKeyDenied" in said


def test_every_query_of_the_dashboard_is_one(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": filled(target.expression)} for number, target in enumerate(targets())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    status, said = told(promtool, "check", "rules", file)
    assert status == 0, said
    assert f"SUCCESS: {len(rules)} rules found" in said
