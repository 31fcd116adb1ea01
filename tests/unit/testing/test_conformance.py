"""The conformance suite passes a provider that keeps its promises, and refuses each one that breaks one of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import unruly_providers

ROOT = Path(__file__).parents[3]

BROKEN = {
    "BindsNothing": "test_another_context_is_refused",
    "BindsNoNames": "test_a_shifted_context_is_refused",
    "TakesOutageForRefusal": "test_a_kms_that_gives_no_answer_is_unavailable",
    "TakesRefusalForOutage": "test_a_disabled_key_denies_until_it_is_enabled",
    "ProvesWhatTheRecordSays": "test_a_forged_key_version_never_looks_like_an_outage",
    "ForgetsOldVersions": "test_an_old_version_opens_after_rotation",
    "AcceptsAnyKey": "test_a_foreign_key_id_is_not_accepted",
    "TellsNames": "test_a_flipped_bit_is_refused",
    "LetsErrorsThrough": "test_close_may_be_called_twice_and_use_after_it_ends",
    "CarriesErrors": "test_a_flipped_bit_is_refused",
    "LogsSecrets": "test_no_log_holds_the_secret",
    "SharesOneBuffer": "test_sixteen_threads_at_once",
    "ClosesOnce": "test_close_may_be_called_twice_and_use_after_it_ends",
}

MODULE = """
from envelope_codec.testing.conformance import ProviderConformance
from tests.support import unruly_providers as providers

for name in {names!r}:
    harness = staticmethod(providers.harness_of(getattr(providers, name)))
    globals()["Test" + name] = type("Test" + name, (ProviderConformance,), {{"harness_class": harness}})
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """The names of the tests that failed, by provider: all of them for a good one, else the one that should fail."""
    module = tmp_path_factory.mktemp("suite") / "test_unruly.py"
    module.write_text(MODULE.format(names=["Good", *BROKEN]))
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(module.parent), "--tb=no"]
    command += ["-rfE", "-p", "no:cacheprovider", "--import-mode=importlib", f"{module}::TestGood"]
    command += [f"{module}::Test{name}::{test}" for name, test in BROKEN.items()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=150, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found = defaultdict[str, set[str]](set)
    for name, test in re.findall(r"^(?:FAILED|ERROR) .*::Test(\w+)::(\w+)", done.stdout, re.MULTILINE):
        found[name].add(test)
    assert " passed" in done.stdout, done.stdout + done.stderr
    return found


def test_a_provider_that_keeps_its_promises_passes(failed: Mapping[str, set[str]]) -> None:
    assert failed.get("Good", set()) == set()


@pytest.mark.parametrize("provider", BROKEN)
def test_a_provider_that_breaks_a_promise_is_refused(failed: Mapping[str, set[str]], provider: str) -> None:
    assert BROKEN[provider] in failed.get(provider, set())


def test_every_unruly_provider_is_tried() -> None:
    good = unruly_providers.Good
    kinds = {name for name, kind in vars(unruly_providers).items() if isinstance(kind, type) and issubclass(kind, good)}
    assert kinds - {"Good"} == set(BROKEN)
