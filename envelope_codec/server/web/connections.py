"""The connections that are open, and how many one address may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from envelope_codec.server.web.budget import UNBOUNDED, Budget
from envelope_codec.server.web.network import Networks, network_of


class Connections:
    """The connections that are open, counted by address.

    Args:
        each: how many there may be from one address, or from one network of IPv6.
        free: addresses and networks that may have any number.
    """

    def __init__(self, each: int, free: Sequence[str] = ()) -> None:
        self._budget = Budget(UNBOUNDED, each)
        self._free = Networks(free)

    def open(self, client: str) -> Callable[[], None] | None:
        """Count a connection, and return what ends it; None if it is one too many."""
        if client in self._free:
            return _do_nothing
        network = network_of(client)
        return None if self._budget.take(network) else partial(self._budget.give_back, network)


def _do_nothing() -> None:
    """End a connection that was not counted."""
