"""The workflow of the demo of re-keying: it ships an order, and may wait until somebody has received it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow


@dataclass
class Order:
    """An order of somebody who does not exist.

    Attributes:
        number: of the order.
        customer: a name.
        waits: whether the workflow ends only when the order was received.
    """

    number: int
    customer: str
    waits: bool


@activity.defn
async def print_label(order: Order) -> str:
    """Pretend to print a label."""
    return f"label of order {order.number} for {order.customer}"


@workflow.defn
class Ship:
    """Ships an order."""

    def __init__(self) -> None:
        self._label = ""
        self._received_by = ""

    @workflow.run
    async def run(self, order: Order) -> str:
        """Ship the order. Where a receipt is wanted, print a label, and wait for the receipt."""
        if order.waits:
            self._label = await workflow.execute_activity(
                print_label, order, start_to_close_timeout=timedelta(minutes=1)
            )
            await workflow.wait_condition(lambda: bool(self._received_by))
        return f"order {order.number} received by {self._received_by or order.customer}"

    @workflow.signal
    def receive(self, name: str) -> None:
        """Note who has received the order."""
        self._received_by = name

    @workflow.update
    async def printed(self) -> str:
        """Return the label when it is printed."""
        await workflow.wait_condition(lambda: bool(self._label))
        return self._label
