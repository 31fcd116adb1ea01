"""A cloud's answer to who this process is. Its source may hang, and a login waits for it no longer than a request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from envelope_codec.provider import Failed, Meaning, WireLog, place_of, renew_after_fork
from envelope_codec_vault._hints import IDENTITY_SILENT, NO_IDENTITY
from envelope_codec_vault._secret_file import is_credential

T = TypeVar("T")

SECONDS = (2.0, 5.0)
"""For a connection, and between two reads."""

_HANG = 60.0  # seconds after which a source that hangs is asked again, twice as long after each time
_LONGEST_HANG = 3_600.0

_log = logging.getLogger("envelope_codec.vault")
_WIRE = WireLog(
    *(f"botocore.{name}" for name in ("auth", "credentials", "endpoint", "httpsession", "parsers", "tokens", "utils")),
    *("google.auth.transport.requests", "google.auth._default", "google.auth.transport._mtls_helper"),
    *("azure.core.pipeline.policies.http_logging_policy", "azure.identity._internal.decorators"),
    *("msal.application", "msal.token_cache", "urllib3.connectionpool"),
)


class IdentitySource(Generic[T]):
    """What a login fetches from the cloud.

    The clouds' libraries wait for minutes where a metadata server does not answer, or for ever. So they are asked in a
    thread of its own, which keeps no process from ending. While one hangs, the callers after it wait for the same one.

    Args:
        fetch: asks the cloud. It may raise anything.
        seconds: how long a caller waits.
        clock: monotonic seconds.
    """

    _lock: threading.Lock
    _attempt: _Attempt[T] | None

    def __init__(
        self,
        fetch: Callable[[], T],
        *,
        seconds: float = sum(SECONDS),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._hangs = 0
        renew_after_fork(self, _lock=threading.Lock, _attempt=lambda: None)

    def get(self) -> T:
        """Get the identity.

        Raises:
            Failed: for whatever came up. It says nothing of the key, and its own words may quote a secret.
        """
        attempt = self._join()
        if not attempt.ended.wait(self._seconds):
            _log.warning("the cloud gave no answer in %.0f s: no identity to log in to Vault with", self._seconds)
            raise Failed(IDENTITY_SILENT)
        with self._lock:
            if self._attempt is attempt:
                self._attempt, self._hangs = None, 0
        if attempt.failure is not None:
            raise Failed(attempt.failure)
        return attempt.found[0]

    def _join(self) -> _Attempt[T]:
        """Return the attempt under way. Begin one if there is none, or if it has hung for too long."""
        with self._lock:
            attempt = self._attempt
            if attempt is not None and self._clock() < attempt.given_up:
                return attempt
            if attempt is not None and not attempt.ended.is_set():
                self._hangs += 1
            wait = min(_LONGEST_HANG, _HANG * 2.0 ** min(self._hangs, 16))
            attempt = self._attempt = _Attempt(self._clock() + wait, self._clock)
        thread = threading.Thread(target=attempt.make, args=(self._fetch,), name="envelope-codec-credentials")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:  # no thread can be started, as when the interpreter is about to end
            attempt.make(self._fetch)
        return attempt


class _Attempt(Generic[T]):
    """One question to the cloud.

    Attributes:
        ended: set when it is over.
        found: holds what was found, if anything.
        failure: what it means that nothing was.
        given_up: monotonic seconds after which another one is made, whether or not it has ended: an identity ages.
    """

    ended: threading.Event

    def __init__(self, given_up: float, clock: Callable[[], float]) -> None:
        renew_after_fork(self, ended=threading.Event)
        self.found: list[T] = []
        self.failure: Meaning | None = None
        self.given_up = given_up
        self._clock = clock

    def make(self, fetch: Callable[[], T]) -> None:
        """Ask, and keep the answer. Raises nothing."""
        try:
            with _WIRE.silenced():
                found = fetch()
            if isinstance(found, str) and not is_credential(found):
                raise ValueError("a token that can't be sent")
            self.found.append(found)
        except BaseException as error:
            self.failure = NO_IDENTITY
            _log.warning("no identity of the cloud to log in to Vault with: %s", place_of(error))
        self.given_up = min(self.given_up, self._clock() + _HANG)
        self.ended.set()
