"""AWS credentials whose failures can be told from those of the service that is called.

botocore gets credentials while it signs a request. An error that comes up then may be of any class: an error of the
token service, a file that is missing, a parameter that botocore itself does not take. By its class it would count as an
error of the called service. So the clients built here get their credentials from `WatchedCredentials`, which raises
`CredentialsUnavailable` for whatever came up.

This module needs botocore. Only modules that need it as well import this one: the provider for AWS KMS and the store
for S3.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore import exceptions as sdk
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials
from botocore.session import Session

from envelope_codec._backoff import Backoff
from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import BROKEN, SILENT
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.provider import renew_after_fork

# Seconds for which a failure is not tried again, twice as long after each failure: a source may be a process that is
# started each time. After the first failure there is no such pause.
_PAUSE = Backoff(0.1, 5.0)
_SOURCE_SECONDS = 10.0  # how long a caller waits for the source
# Seconds after which a source that hangs is asked again, twice as long after each time. A source may hang for ever:
# a credential process that waits for a password, or a token's file that is a pipe.
_HANG = Backoff(60.0, 3_600.0)


class WatchedCredentials(Credentials):
    """Credentials that are looked for at their first use, and renewed before they expire. Safe for use by many threads.

    One thread at a time asks the source, and the others share its answer. It is a thread of its own. Callers wait for
    it some seconds at most, and it keeps no process from ending. A source that fails again and again is asked ever more
    rarely. While the source fails, credentials that have not expired stay in use.

    Args:
        find: looks for credentials from scratch; returns None if there are none. It may raise anything.
    """

    _lock: threading.Lock
    _attempt: _Attempt | None
    _held: _Held | None

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        # A forked child forgets what is held, too: botocore's credentials have a lock, which a thread of the parent may
        # have taken.
        renew_after_fork(self, _lock=threading.Lock, _attempt=lambda: None, _held=lambda: None)
        self._failure: CredentialsUnavailable | None = None
        self._failures = 0  # since the last success
        self._hangs = 0  # since the last success
        self._quiet_until = -math.inf
        self.method = "envelope-codec"

    # These are properties, where `Credentials` has attributes.
    @property
    def access_key(self) -> str:  # type: ignore[override]
        """The access key id, as botocore reads it."""
        return self.get_frozen_credentials().access_key or ""

    @property
    def secret_key(self) -> str:  # type: ignore[override]
        """The secret access key, as botocore reads it."""
        return self.get_frozen_credentials().secret_key or ""

    @property
    def token(self) -> str | None:  # type: ignore[override]
        """The session token, or None, as botocore reads it."""
        return self.get_frozen_credentials().token

    @property
    def account_id(self) -> str | None:
        """The account's id, or None, as botocore reads it."""
        return getattr(self.get_frozen_credentials(), "account_id", None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return usable credentials. Raises `CredentialsUnavailable` and nothing else."""
        fresh = self._usable(renewed=True)
        if fresh is not None:
            return fresh
        at_hand = self._usable(renewed=False)
        attempt, is_mine = self._join_attempt()
        if attempt is not None and (is_mine or at_hand is None):
            has_ended = attempt.ended.wait(_SOURCE_SECONDS)
            if not has_ended and at_hand is None:
                raise CredentialsUnavailable(SILENT, f"their source gave no answer in {_SOURCE_SECONDS:.0f} s")
        found = self._usable(renewed=False)
        if found is not None:
            return found
        # A fresh error, outside of any handler: no traceback and no error of botocore's travels with it.
        raise CredentialsUnavailable.of(self._failure or sdk.NoCredentialsError())

    def _usable(self, *, renewed: bool) -> ReadOnlyCredentials | None:
        """Return the credentials at hand, or None if they have expired; ``renewed``: if they are due for renewal."""
        held = self._held
        return None if held is None or held.expires_within(None if renewed else 0) else held.frozen

    def _join_attempt(self) -> tuple[_Attempt | None, bool]:
        """Return the attempt under way, begun if need be, and whether this caller began it. None in a pause."""
        now = time.monotonic()
        with self._lock:
            attempt = self._attempt
            if attempt is not None and now >= attempt.given_up:
                self._hangs += 1
                attempt = None
            if attempt is not None or now < self._quiet_until:
                return attempt, False
            attempt = self._attempt = _Attempt(now + _HANG.seconds(self._hangs + 1))
        thread = threading.Thread(target=self._make_attempt, args=(attempt,), name="envelope-codec-credentials")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:  # no thread can be started, as when the interpreter is about to end
            self._make_attempt(attempt)
        return attempt, True

    def _make_attempt(self, attempt: _Attempt) -> None:
        """Ask the source, and keep its answer."""
        held, failure = self._ask_source(self._held)
        with self._lock:
            if self._attempt is attempt:
                self._attempt = None
                self._held, self._failure = held, failure
                self._failures = self._failures + 1 if failure is not None else 0
                self._hangs = self._hangs if failure is not None else 0
                self._quiet_until = time.monotonic() + _pause_after(self._failures)
        attempt.ended.set()

    def _ask_source(self, held: _Held | None) -> tuple[_Held | None, CredentialsUnavailable | None]:
        """Return what is held once the source has been asked, and why it gave nothing new."""
        failure = None
        try:
            with WIRE_LOG.silenced():
                source = held.source if held is not None and not self._hangs else self._find()
                if source is None:
                    raise sdk.NoCredentialsError
                held = _Held(source, source.get_frozen_credentials())
            failure = _find_flaw(held.frozen)
            if failure is None and held.expires_within(None):  # botocore keeps quiet of an early renewal that fails
                failure = CredentialsUnavailable(BROKEN, "the renewal of credentials failed")
        except Exception as error:
            failure = CredentialsUnavailable.of(error)
        if failure is not None and held is not None and (held.expires_within(0) or _find_flaw(held.frozen)):
            held = None  # the next attempt looks into the configuration again
        return held, failure


class _Attempt:
    """One question to the source.

    Attributes:
        ended: set when it is over.
        given_up: monotonic seconds after which another one is made.
    """

    ended: threading.Event

    def __init__(self, given_up: float) -> None:
        renew_after_fork(self, ended=threading.Event)
        self.given_up = given_up


class _Held(NamedTuple):
    """Credentials as they are now, and the source that renews them."""

    source: Any
    frozen: ReadOnlyCredentials

    def __repr__(self) -> str:
        return "_Held()"  # the default one would show the credentials

    def expires_within(self, seconds: int | None) -> bool:
        """Return whether they expire within ``seconds``. None stands for the time at which they are to be renewed."""
        refresh_needed = getattr(self.source, "refresh_needed", None)
        return bool(refresh_needed is not None and refresh_needed(seconds))


def _pause_after(failures: int) -> float:
    """Return the seconds for which the source is not asked after so many failures."""
    return _PAUSE.seconds(failures - 1) if failures > 1 else 0.0


def _find_flaw(credentials: ReadOnlyCredentials) -> CredentialsUnavailable | None:
    """Return why no request can be signed with ``credentials``, or None. Half a file, for instance, gives such."""
    named = (("access key id", credentials.access_key), ("secret access key", credentials.secret_key))
    for name, value in (*named, ("session token", credentials.token or "none")):
        if not isinstance(value, str) or not value:
            return CredentialsUnavailable(BROKEN, f"the {name} is empty, or no text")
        if not (value.isascii() and value.isprintable()):
            return CredentialsUnavailable(BROKEN, f"the {name} has a line end, or another character that none has")
    return None


def watch(session: Session, find: Callable[[], Any]) -> WatchedCredentials:
    """Give ``session``, and the clients that it makes, credentials that ``find`` looks for."""
    credentials = WatchedCredentials(find)
    session.register_component("credential_provider", CredentialResolver([_FixedProvider(credentials)]))
    return credentials


class _FixedProvider(CredentialProvider):
    METHOD = "envelope-codec"

    def __init__(self, credentials: WatchedCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> WatchedCredentials:
        return self._credentials
