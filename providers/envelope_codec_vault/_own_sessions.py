"""The token in use: obtained once for all threads, renewed while it lives, replaced when Vault no longer takes it."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable

from envelope_codec.provider import Failed, Meaning, renew_after_fork
from envelope_codec_vault import _hints as hints
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._grant import ask_for_grant
from envelope_codec_vault._life import RENEWAL_SHARE
from envelope_codec_vault._login import Login
from envelope_codec_vault._refusal import Refusals
from envelope_codec_vault._session import Session, say_span
from envelope_codec_vault._token import look_up, renew

_FIRST_LOOK = 3.0  # seconds until Vault is asked about a token that it did not give us just now
_RETRY = 5.0
_LONGEST_RETRY = 60.0
_ENOUGH = 0.5  # of a token's full life: a renewal that gives less has come near the longest life that Vault allows
_SHORTEST_WARNING = 60.0

_log = logging.getLogger("envelope_codec.vault")


class OwnSessions:
    """Sessions on connections of our own.

    Args:
        login: how to come by a token.
        connection: closed by `close`.
        clock: monotonic seconds. It may stand still while the machine sleeps: then Vault's 403 tells of the end.
        refusals: logins that were refused; those of this login alone if None.
        inherited: a session of the parent process, whose token serves here too. A secret id that is good for one login
            has been used up by then.
        begun: called when a token has been obtained.
    """

    _lock: threading.Lock

    def __init__(
        self,
        login: Login,
        connection: Connection,
        *,
        clock: Callable[[], float] = time.monotonic,
        refusals: Refusals | None = None,
        inherited: Session | None = None,
        jitter: Callable[[], float] = random.random,
        begun: Callable[[], object] = lambda: None,
    ) -> None:
        renew_after_fork(self, _lock=threading.Lock)
        self._login = login
        self._connection = connection
        self._clock = clock
        self._refusals = refusals or Refusals(login.pace, jitter)
        self._begun = begun
        self._session: Session | None = None
        self._attempts = 0
        self._failure: Meaning | None = None
        self._tend_at = math.inf
        self._failures = 0
        self._ends = False
        if inherited is not None:
            token = inherited.client.token
            self._session = Session(connection.client(token), inherited.expires_at, inherited.life, inherited.since)
            self._plan(self._session)

    @property
    def made(self) -> Session | None:
        """The session, if there is one."""
        return self._session

    def current(self) -> Session:
        session = self._session
        if session is None or self._clock() >= session.expires_at:
            return self._logged_in(session, rejected=False)
        due = self._clock() >= self._tend_at or self._login.changed()
        if due and self._lock.acquire(blocking=False):
            # The others go on with the old token, which is still good, also if Vault can't be asked just now.
            try:
                if self._session is session:
                    self._tend(session)
            finally:
                self._lock.release()
        return self._session or session

    def replacement(self, rejected: Session) -> Session:
        return self._logged_in(rejected, rejected=True)

    def tend(self) -> float:
        """Renew or replace the token if it is time. Return the seconds until it is time again. Raises nothing."""
        with self._lock:
            session = self._session
            if session is not None and self._clock() >= self._tend_at:
                self._tend(session)
        return max(0.0, self._tend_at - self._clock())

    def look(self) -> None:
        """Ask at once how long the token lives, if that is not known. Raises nothing."""
        with self._lock:
            session = self._session
            if session is not None and (session.life is None or self._clock() >= self._tend_at):
                self._tend(session)
                if self._clock() >= self._tend_at:  # now it is known that nothing keeps it
                    self._tend(self._session or session)

    def end_of_token(self) -> float | None:
        session = self._session
        return max(0.0, session.expires_at - self._clock()) if session is not None and self._ends else None

    def close(self) -> None:
        self._connection.close()

    def _logged_in(self, old: Session | None, *, rejected: bool) -> Session:
        attempts = self._attempts
        with self._lock:
            now = self._session
            fresh = now is not old and now is not None and self._clock() < now.expires_at
            if now is not None and fresh and not (rejected and old and now.client.token == old.client.token):
                return now  # another thread was faster, and has not just renewed the token that Vault does not take
            if self._attempts != attempts and self._failure is not None:
                # It failed while we waited. Were every waiter to try for itself, the last would wait for all.
                raise Failed(self._failure)
            return self._log_in(old)

    def _tend(self, session: Session) -> None:
        """Do whatever is due for a token that still lives. Called under the lock."""
        try:
            if self._login.changed():
                self._log_in(None)
            elif session.life is None:
                self._adopt(look_up(session, self._clock()))
            elif session.life.keeps:
                self._renew(session)
            elif self._login.asks:
                self._log_in(None)
            else:
                self._warn(session, "Vault does not renew it")
        except Failed as failed:
            self._failures += 1
            left = session.expires_at - self._clock()
            wait = min(_LONGEST_RETRY, _RETRY * 2.0 ** min(self._failures - 1, 16))
            if failed.meaning in hints.REFUSED_LOGINS:
                wait = max(_LONGEST_RETRY, left / 3)
            self._tend_at = self._clock() + wait if left > 0 else math.inf  # then those who need one ask for it
            if left < math.inf:
                _log.warning("the Vault token, which ends in %s, was not replaced: %s", say_span(left), failed)

    def _renew(self, session: Session) -> None:
        renewed = renew(session, self._clock())
        if renewed is None:
            self._give_up(session, "Vault does not renew it any more")
            return
        self._adopt(renewed)
        if renewed.life is not None and renewed.life.seconds < _ENOUGH * renewed.life.full:
            self._give_up(renewed, "it nears the longest life that Vault allows it")

    def _give_up(self, session: Session, why: str) -> None:
        """Get another token, because this one can't be kept."""
        if self._login.asks:
            self._log_in(None)
        else:
            self._warn(session, why)

    def _warn(self, session: Session, why: str) -> None:
        left = session.expires_at - self._clock()
        self._ends = True
        self._tend_at = self._clock() + max(_SHORTEST_WARNING, RENEWAL_SHARE * left) if left > 0 else math.inf
        _log.warning(
            "the Vault token ends in %s and there is no login to get another: %s. Put a new one in its place, or "
            "configure a login (option auth)",
            say_span(left),
            why,
        )

    def _log_in(self, rejected: Session | None) -> Session:
        sent = self._clock()
        try:
            grant = ask_for_grant(self._login, self._connection, self._refusals, sent)
            if rejected is not None and rejected.client.token == grant.token:
                raise Failed(self._login.dead)
        except Failed as failed:
            self._failure = failed.meaning
            raise
        finally:
            self._attempts += 1
        life = grant.life
        session = Session(self._connection.client(grant.token), sent + (life.seconds if life else math.inf), life, sent)
        self._adopt(session)
        return session

    def _adopt(self, session: Session) -> None:
        self._session, self._failure, self._failures, self._ends = session, None, 0, False
        self._plan(session)
        self._begun()

    def _plan(self, session: Session) -> None:
        """Plan when to do something about this token."""
        life = session.life
        if life is None:
            self._tend_at = session.since + _FIRST_LOOK
        elif life.keeps or self._login.asks:
            self._tend_at = session.since + RENEWAL_SHARE * life.seconds
        else:
            self._tend_at = session.since if life.seconds < math.inf else math.inf
