"""One login a process for all keys that log in alike: a secret id may be good for a few logins only."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from envelope_codec.provider import PerProcess, ProcessClient, renew_after_fork
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._endpoint import Endpoint
from envelope_codec_vault._keeper import Keeper
from envelope_codec_vault._login import Login
from envelope_codec_vault._own_sessions import OwnSessions
from envelope_codec_vault._refusal import Refusals
from envelope_codec_vault._session import Session, Sessions

_MOST_REFUSALS = 1_000

Place = tuple[Endpoint, tuple[str, ...]]


@dataclass
class _Entry:
    sessions: OwnSessions
    keeper: Keeper
    users: int = 0


class SharedSessions:
    """The sessions of one process, by endpoint and login.

    Args:
        parents: those of the parent process, whose tokens and refusals serve here too. Its connections do not.
    """

    _lock: Any  # reentrant: the garbage collector may give back the sessions of a forgotten key at any moment

    def __init__(self, parents: SharedSessions | None) -> None:
        renew_after_fork(self, _lock=threading.RLock)
        self._entries: dict[Place, _Entry] = {}
        # They outlive sessions: a caller that makes a new client at each error would log in at each error.
        self._refusals: dict[Place, Refusals] = dict(parents._refusals) if parents is not None else {}
        self._inherited: dict[Place, Session] = {}
        for place, entry in parents._entries.items() if parents is not None else ():
            if entry.sessions.made is not None:
                self._inherited[place] = entry.sessions.made

    def take(self, endpoint: Endpoint, login: Login) -> OwnSessions:
        """Get the sessions of this login. Call `give_back` with them later."""
        place = (endpoint, login.identity)
        with self._lock:
            entry = self._entries.get(place)
            if entry is None:
                entry = self._entries[place] = self._opened(place, login)
            entry.users += 1
        return entry.sessions

    def give_back(self, sessions: OwnSessions) -> None:
        """Close the sessions, if nobody else has them."""
        with self._lock:
            for place, entry in list(self._entries.items()):
                if entry.sessions is sessions:
                    entry.users -= 1
                    if entry.users:
                        return
                    del self._entries[place]
                    break
            else:
                return
        entry.keeper.stop()
        sessions.close()

    def _opened(self, place: Place, login: Login) -> _Entry:
        keeper = Keeper()
        if len(self._refusals) >= _MOST_REFUSALS:
            self._refusals.clear()
        refusals = self._refusals.setdefault(place, Refusals(login.pace))
        inherited = self._inherited.pop(place, None)
        made: list[OwnSessions] = []

        def begun() -> None:
            if made:
                keeper.start(made[0])

        sessions = OwnSessions(login, Connection(place[0]), refusals=refusals, inherited=inherited, begun=begun)
        made.append(sessions)
        if inherited is not None:
            keeper.start(sessions)
        return _Entry(sessions, keeper)


shared: PerProcess[SharedSessions] = PerProcess(SharedSessions)


def share(endpoint: Endpoint, login: Login) -> ProcessClient[Sessions]:
    """Prepare sessions that all keys of a process share which log in alike."""
    return ProcessClient(lambda: shared.get().take(endpoint, login), close=_give_back)


def _give_back(sessions: Sessions) -> None:
    if isinstance(sessions, OwnSessions):
        shared.get().give_back(sessions)
