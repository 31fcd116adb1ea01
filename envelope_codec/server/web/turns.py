"""Turns at something slow that only so many may use at once. They are given in rotation, so that no crowd blocks it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from envelope_codec.server.web.budget import Budget

KEYRING_THREADS = 32
"""Number of KMS calls that the keyring makes at once. Further calls would wait in its queue, which knows no callers."""

_Group = tuple[str, str]


class Turns:
    """Turns for callers, at a KMS or a store of a namespace. One event loop uses them.

    A caller that waits for many turns gets one, and then the next caller has its turn. Neither a caller nor a namespace
    gets all turns: while a KMS hangs, it holds the turns of its namespace, and others go on.

    Args:
        total: how many there are at once.
        each: how many one caller may have at once.
        observe: called with 1 when somebody begins to wait, and with -1 when the waiting ends.
    """

    def __init__(self, total: int, each: int, observe: Callable[[int], object] = lambda change: None) -> None:
        self._callers = Budget(total, each)
        self._namespaces = Budget(total, max(each, total - total // 4))
        self._waiting: OrderedDict[_Group, deque[asyncio.Future[None]]] = OrderedDict()
        self._observe = observe

    @property
    def taken(self) -> int:
        """Number of turns that are taken."""
        return int(self._callers.used)

    @property
    def waiting(self) -> int:
        """Number of those who wait for a turn."""
        return sum(map(len, self._waiting.values()))

    async def take(self, caller: str, namespace: str) -> Callable[[], None]:
        """Wait for a turn. Return the function that ends it, which must be called once."""
        group = caller, namespace
        if group in self._waiting or not self._try_give(group):
            await self._wait(group)

        def end() -> None:
            self._callers.give_back(caller)
            self._namespaces.give_back(namespace)
            self._pass_on()

        return end

    async def _wait(self, group: _Group) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(turn)
        self._observe(1)
        try:
            # Shielded, so that cancelling leaves the turn as it is. If it is given meanwhile, it has to be passed on.
            await asyncio.shield(turn)
        except asyncio.CancelledError:
            if turn.done():
                self._callers.give_back(group[0])
                self._namespaces.give_back(group[1])
                self._pass_on()
            else:
                self._forget(group, turn)
            raise
        finally:
            self._observe(-1)

    def _try_give(self, group: _Group) -> bool:
        caller, namespace = group
        if self._callers.find_lack(caller) or self._namespaces.find_lack(namespace):
            return False
        self._callers.take(caller)
        self._namespaces.take(namespace)
        return True

    def _pass_on(self) -> None:
        """Give turns to those who wait, one to each group in rotation, while there are any."""
        given = True
        while given:
            given = False
            for group, queue in list(self._waiting.items()):
                if self._try_give(group):
                    given = True
                    queue.popleft().set_result(None)
                    self._waiting.move_to_end(group)  # the other groups come first now
                    self._tidy(group)

    def _forget(self, group: _Group, turn: asyncio.Future[None]) -> None:
        self._waiting[group].remove(turn)
        self._tidy(group)

    def _tidy(self, group: _Group) -> None:
        if not self._waiting[group]:
            del self._waiting[group]
