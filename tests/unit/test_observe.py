"""What is logged of failures, however many there are."""

from __future__ import annotations

import logging

import pytest

from envelope_codec.observe import Event, LogObserver


def test_a_flood_of_failures_of_one_kind_is_cut_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("envelope_codec.observe.time.monotonic", lambda: now[0])
    caplog.set_level(logging.WARNING, "envelope_codec")
    observer = LogObserver()
    for _ in range(100):
        observer.on_event(Event("unwrap", "KeyDenied", "n", reason="refused"))
    observer.on_event(Event("unwrap", "KmsUnavailable", "n", reason="no answer"))
    assert len(caplog.messages) == 21
    assert caplog.messages[-1].startswith("unwrap failed: KmsUnavailable")
    now[0] += 1
    observer.on_event(Event("unwrap", "KeyDenied", "n", reason="refused"))
    assert caplog.messages[21] == "80 more failures of unwrap, KeyDenied, were not logged"
    assert caplog.messages[22].startswith("unwrap failed: KeyDenied: refused")
    observer.on_event(Event("unwrap", "KeyDenied", "n", reason="refused"))
    assert len(caplog.messages) == 24


@pytest.mark.parametrize("outcome", ["KeyDenied", "KeyNotConfigured"])
def test_a_key_that_may_have_been_retired_is_named_with_the_chapter_on_retiring(
    outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    LogObserver().on_event(Event("open", outcome, "n", "the key's id", reason="refused"))
    assert "key the key's id" in caplog.text
    assert caplog.text.rstrip().endswith("need their keystore: docs/rekeying.md")
