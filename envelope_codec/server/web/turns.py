"""Turns at something slow, of which so many go at once: given in rotation, so that nobody waits behind a crowd."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from envelope_codec.server.web.budget import Budget

KEYRING_THREADS = 32
"""So many KMS calls the keyring makes at once. Beyond these its own queue would begin, in which all are alike."""

_Group = tuple[str, str]


class Turns:
    """Turns for callers, at what belongs to a namespace. Of one event loop.

    Who has many waiting gets one of them on, then the next has its turn. Neither a caller nor a namespace gets them
    all: where a KMS hangs, the turns of its namespace are taken for as long as that lasts, and others go on.

    Args:
        total: so many at once.
        each: so many of one caller.
        observe: is told how many wait, and how many more than before.
    """

    def __init__(self, total: int, each: int, observe: Callable[[int], object] = lambda change: None) -> None:
        self._callers = Budget(total, each)
        self._namespaces = Budget(total, max(each, total - total // 4))
        self._waiting: OrderedDict[_Group, deque[asyncio.Future[None]]] = OrderedDict()
        self._observe = observe

    @property
    def taken(self) -> int:
        """How many are under way."""
        return int(self._callers.used)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def take(self, caller: str, namespace: str) -> Callable[[], None]:
        """Wait for a turn. What is returned ends it, and must be called once."""
        group = caller, namespace
        if group in self._waiting or not self._given(group):
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
            # Shielded, so that cancelling leaves it as it is: one that is given meanwhile has to be passed on.
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

    def _given(self, group: _Group) -> bool:
        caller, namespace = group
        if self._callers.lack(caller) or self._namespaces.lack(namespace):
            return False
        self._callers.take(caller)
        self._namespaces.take(namespace)
        return True

    def _pass_on(self) -> None:
        """Give turns to those who wait, one to each in rotation, as long as there are any."""
        given = True
        while given:
            given = False
            for group, queue in list(self._waiting.items()):
                if self._given(group):
                    given = True
                    queue.popleft().set_result(None)
                    self._waiting.move_to_end(group)  # the others come first now
                    self._tidy(group)

    def _forget(self, group: _Group, turn: asyncio.Future[None]) -> None:
        self._waiting[group].remove(turn)
        self._tidy(group)

    def _tidy(self, group: _Group) -> None:
        if not self._waiting[group]:
            del self._waiting[group]
