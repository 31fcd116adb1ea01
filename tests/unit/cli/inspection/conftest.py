"""A fixture that gives payloads to ``envelope-codec inspect``."""

from __future__ import annotations

import pytest

from tests.support.inspected_payloads import Outcome, Run, inspect_input


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(data: bytes | str | object, *arguments: str) -> Outcome:
        return inspect_input(data, arguments, capsys, monkeypatch)

    return run
