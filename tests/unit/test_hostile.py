"""One hostile record costs two KMS calls at most, as the limitations say."""

from __future__ import annotations

import pytest

from benchmarks import hostile_calls


@pytest.mark.slow
async def test_no_record_costs_more_than_two_calls() -> None:
    figures = await hostile_calls.figures()
    assert [figure.name for figure in figures if figure.missed] == []
    assert figures[0].value == 2
