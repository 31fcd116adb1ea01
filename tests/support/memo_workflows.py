"""Workflows whose memos have null fields, everywhere where a memo can be given."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

NULLS: dict[str, Any] = {"none": None, "list": [], "bytes": b""}
KEPT: dict[str, Any] = {"text": "", "zero": 0, "word": "null", "value": "x"}


@workflow.defn
class Remembers:
    """Tells its memo, and its child's, and removes fields of it."""

    @workflow.run
    async def run(self, step: str) -> list[Any]:
        seen = dict(workflow.memo())
        if step == "forget all":  # the next run must not inherit
            workflow.continue_as_new("tell", memo={"none": None})
        if step == "forget some":
            workflow.continue_as_new("tell", memo=NULLS | KEPT)
        if step == "inherit":
            workflow.continue_as_new("tell")
        if step == "all":
            child = await workflow.execute_child_workflow(Remembers.run, "tell", memo=NULLS | KEPT)
            workflow.upsert_memo({"text": None, "zero": [], "word": b"", "new": "n"})
            return [seen, *child]
        return [seen]
