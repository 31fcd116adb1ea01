"""The token in use: logged in once for all threads, renewed before it ends and after Vault no longer takes it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import hvac

from envelope_codec.errors import KmsUnavailable
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._failure import (
    CREDENTIALS,
    LOGIN_FAILED,
    NO_ANSWER,
    WRAP,
    Failed,
    Meaning,
    describe,
    meaning_of,
)
from envelope_codec_vault._login import Grant, Login

RENEWAL_SHARE = 0.8
"""Share of a token's life after which a new login replaces it."""
_RETRY_SECONDS = 5.0

_log = logging.getLogger("envelope_codec.vault")


@dataclass(frozen=True, eq=False)
class Session:
    """A client with a token, and when that token ends by our clock. Compared by identity."""

    client: hvac.Client
    expires_at: float = math.inf


class Sessions(Protocol):
    def current(self) -> Session:
        """The session to use now. Raises `Failed` if there is none to be had."""
        ...

    def replacement(self, rejected: Session) -> Session:
        """Another session than this one, whose token Vault does not take. Raises `Failed`."""
        ...

    def close(self) -> None: ...


class OwnSessions:
    """Sessions on connections of our own.

    Args:
        login: how to come by a token.
        connection: closed by `close`.
        clock: monotonic seconds. It may stand still while the machine sleeps: then Vault's 403 tells of the end.
    """

    def __init__(self, login: Login, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._login = login
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._attempts = 0
        self._failure: Meaning | None = None
        self._early_at = math.inf

    def current(self) -> Session:
        session = self._session
        if session is None or self._clock() >= session.expires_at:
            return self._logged_in(session)
        due = self._clock() >= self._early_at or self._login.changed()
        if due and self._lock.acquire(blocking=False):
            # The others go on with the old token, which is still good, also if Vault can't log us in just now.
            try:
                return self._renewed_early(session)
            finally:
                self._lock.release()
        return session

    def replacement(self, rejected: Session) -> Session:
        return self._logged_in(rejected)

    def close(self) -> None:
        self._connection.close()

    def _logged_in(self, old: Session | None) -> Session:
        attempts = self._attempts
        with self._lock:
            if self._session is not None and self._session is not old:
                return self._session
            if self._attempts != attempts and self._failure is not None:
                # It failed while we waited. Were every waiter to try for itself, the last would wait for all.
                raise Failed(self._failure)
            return self._log_in(old)

    def _renewed_early(self, session: Session) -> Session:
        if self._session is not session:
            return self._session or session
        try:
            return self._log_in(None)
        except Failed:
            self._early_at = self._clock() + _RETRY_SECONDS
            return session

    def _log_in(self, rejected: Session | None) -> Session:
        sent = self._clock()
        try:
            grant = self._grant()
            if rejected is not None and rejected.client.token == grant.token:
                raise Failed(CREDENTIALS)
        except Failed as failed:
            self._failure = failed.meaning
            raise
        finally:
            self._attempts += 1
        life = math.inf if grant.seconds is None else grant.seconds
        session = Session(self._connection.client(grant.token), expires_at=sent + life)
        self._early_at = sent + RENEWAL_SHARE * life
        self._session, self._failure = session, None
        return session

    def _grant(self) -> Grant:
        try:
            return self._login.grant(self._connection.client(""))
        except Failed:
            raise
        except Exception as error:
            _log.warning("Vault login failed: %s", describe(error))
            meaning = meaning_of(error, operation=WRAP)
        # A login that is refused ends no lease: credentials run out for many reasons, and none is about the key.
        raise Failed(meaning if meaning.kind is KmsUnavailable and meaning != NO_ANSWER else LOGIN_FAILED)


class GivenSession:
    """The one session of a client that somebody else built, and keeps logged in."""

    def __init__(self, client: hvac.Client) -> None:
        self._session = Session(client)

    def current(self) -> Session:
        return self._session

    def replacement(self, rejected: Session) -> Session:
        raise Failed(CREDENTIALS)

    def close(self) -> None:
        """Nothing: its owner closes it."""
