"""What an audit found, made up."""

from __future__ import annotations

from typing import Any

from envelope_codec.cli.audit.findings import Findings
from envelope_codec.cli.audit.tally import Tally
from envelope_codec.cli.audit.window import Part
from envelope_codec.envelope import Record

CLOSE, DAY = 1_700_000_000.0, 86_400.0


def found(name: str = "w", *records: Record, close: float = 0.0, payloads: int = 1) -> Tally:
    """The tally of one workflow."""
    tally = Tally()
    for record in records:
        tally.add_record(record, payloads)
    tally.end_source(name, close)
    return tally


def findings(
    closed: Tally | None = None, opened: Tally | None = None, since: Tally | None = None, **more: Any
) -> Findings:
    """The findings of an audit that read everything."""
    tallies = (closed or Tally(), opened or Tally(), since or Tally())
    parts = dict(zip(Part, tallies, strict=True))
    return Findings(1_700_000_500_000, 1_700_000_600_000, parts, retention=30 * DAY, **more)
