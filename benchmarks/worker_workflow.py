"""A workflow of five activities, each of which takes one order and returns another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

ACTIVITIES = 5
_PATIENT = timedelta(minutes=2)


@workflow.defn
class Orders:
    @workflow.run
    async def run(self, order: dict[str, Any]) -> int:
        """Return the last order's number."""
        for _ in range(ACTIVITIES):
            order = await workflow.execute_activity(
                "follow", order, result_type=dict[str, Any], start_to_close_timeout=_PATIENT
            )
        number: int = order["number"]
        return number


class Shop:
    """The activity, with the orders that it hands out.

    Args:
        orders: by size, in the order of their numbers.
    """

    def __init__(self, orders: dict[int, list[dict[str, Any]]]) -> None:
        self._orders = orders

    @activity.defn
    async def follow(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return the order after ``order``, of the same size."""
        orders = self._orders[order["size"]]
        number: int = order["number"]
        return orders[(number + 1) % len(orders)]
