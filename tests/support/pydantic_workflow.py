"""A workflow on pydantic models."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel


class Invoice(BaseModel):
    number: str
    due: datetime
    lines: dict[str, int]


@workflow.defn
class Pay:
    """Returns the invoice with another number."""

    @workflow.run
    async def run(self, invoice: Invoice) -> Invoice:
        return invoice.model_copy(update={"number": f"paid {invoice.number}", "lines": {**invoice.lines, "fee": 1}})
