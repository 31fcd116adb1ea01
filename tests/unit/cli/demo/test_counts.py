"""What the demos count."""

from __future__ import annotations

from envelope_codec.cli.demo.counts import Counts
from envelope_codec.observe import Event


def test_events_are_counted_and_payloads_one_by_one() -> None:
    counts = Counts()
    for operation, outcome, payloads in (("seal", "ok", 3), ("seal", "ok", 2), ("wrap", "ok", 0), ("wrap", "error", 0)):
        counts.on_event(Event(operation, outcome, "default", payloads=payloads))
    copy = counts.copy()
    assert copy == {("seal", "ok"): 5, ("wrap", "ok"): 1, ("wrap", "error"): 1}
    counts.on_event(Event("wrap", "ok", "default"))
    assert copy["wrap", "ok"] == 1
