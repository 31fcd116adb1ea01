"""Credentials that are waited for some seconds at most, and whose failures can be told from those of the KMS."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import google.auth.transport.requests
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import Request, Response

from envelope_codec.provider import Failed, WireLog, place_of, renew_after_fork
from envelope_codec_gcp import _hints as hints

_log = logging.getLogger("envelope_codec.gcp")

# Seconds that a call waits for credentials. It also bounds google-auth's own retries, of which some take half a minute.
_SOURCE_SECONDS = 10.0
# Seconds after which a source that hangs is asked again, twice as long after each time, up to an hour.
_HANG = 60.0
_LONGEST_HANG = 3_600.0

_WIRE_LOG = WireLog("google.auth.transport.requests")
"""google-auth logs requests for tokens, with the token that proves who asks in headers or form, and replies."""


class BoundedRequest(Request):
    """HTTP requests for tokens, none of which takes longer than some seconds. google-auth would wait two minutes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Its own signature has a timeout in whole seconds, though requests takes any.
        self._request: Callable[..., Response] = google.auth.transport.requests.Request()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Response:
        """Make one request.

        No redirect is followed with a body: it holds what proves who asks, and would go to any other server.
        """
        if method != "GET":
            settings["allow_redirects"] = False
        longest = self._seconds if timeout is None else min(timeout, self._seconds)
        return self._request(url, method=method, body=body, headers=headers, timeout=longest, **settings)


class AwaitedCredentials(Credentials):
    """Credentials that are loaded at their first use, and have a token whenever they are asked for a header.

    One thread at a time asks for a token, and the others share the answer. It is a thread of its own. Callers wait for
    it some seconds at most, and it keeps no process from ending. A token that is about to expire is replaced meanwhile,
    and serves to its end if no other is to be had.

    Args:
        load: finds credentials; may raise anything.
        seconds: that one request to a token service may take.
    """

    _lock: threading.Lock
    _attempt: _Attempt | None

    def __init__(self, load: Callable[[Request], Credentials], seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._load = load
        self._request = BoundedRequest(seconds)
        self._found: Credentials | None = None
        self._hangs = 0
        renew_after_fork(self, _lock=threading.Lock, _attempt=lambda: None)

    def before_request(self, request: Request, method: str, url: str, headers: dict[str, str]) -> None:
        """Add the headers that carry the token."""
        found = self.wait()
        if found.token_state is TokenState.FRESH:
            found.before_request(self._request, method, url, headers)
        else:  # google-auth would replace the token here and now, in a thread of the SDK's, and fail if it could not
            found.apply(headers)

    def refresh(self, request: Request) -> None:
        """Get a token."""
        self.wait()

    def wait(self) -> Credentials:
        """Return the credentials, with a token.

        Raises:
            Failed: their source does not answer.
            Exception: whatever came up while they were looked for.
        """
        found = self._found
        state = TokenState.INVALID if found is None else found.token_state
        if found is not None and state is TokenState.FRESH:
            return found
        attempt = self._join_attempt()
        if found is not None and state is TokenState.STALE:
            return found
        if not attempt.ended.wait(_SOURCE_SECONDS):
            raise Failed(hints.CREDENTIALS_SILENT)
        if attempt.failure is not None:
            # Shared by all who wait, so nobody's frames may stay on it.
            raise attempt.failure.with_traceback(None)
        return attempt.found or self.wait()

    def _join_attempt(self) -> _Attempt:
        """Return the attempt under way, begun if need be."""
        now = time.monotonic()
        with self._lock:
            attempt = self._attempt
            if attempt is not None and now < attempt.given_up:
                return attempt
            self._hangs = self._hangs + 1 if attempt is not None else 0
            attempt = self._attempt = _Attempt(now + min(_HANG * 2.0**self._hangs, _LONGEST_HANG))
        thread = threading.Thread(target=self._make_attempt, args=(attempt,), name="envelope-codec-credentials")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:  # no thread can be started, as when the interpreter is about to end
            self._make_attempt(attempt)
        return attempt

    def _make_attempt(self, attempt: _Attempt) -> None:
        found = self._found
        try:
            with _WIRE_LOG.silenced():
                found = found or self._load(self._request)
                if found.token_state is not TokenState.FRESH:
                    _refresh(found, self._request)
            self._found = attempt.found = found
        except Exception as error:
            attempt.failure = error
            if found is None or found.token_state is TokenState.INVALID:
                self._found = None  # the next attempt looks into file and environment again
        finally:
            with self._lock:
                if self._attempt is attempt:
                    self._attempt = None
            attempt.ended.set()


def _refresh(credentials: Credentials, request: Request) -> None:
    """Get a token. google-auth raises many a class for a reply that no token service sends, as a gateway may."""
    try:
        credentials.refresh(request)
    except (GoogleAuthError, OSError):
        raise
    except Exception as error:
        _log.warning("the reply of a token service can't be used: %s", place_of(error))
    else:
        return
    raise Failed(hints.TOKEN_SERVICE_UNREACHABLE)


class _Attempt:
    """One question for a token.

    Attributes:
        ended: set when it is over.
        given_up: monotonic seconds after which another one is made.
        found: the credentials.
        failure: what came up in their place.
    """

    ended: threading.Event

    def __init__(self, given_up: float) -> None:
        renew_after_fork(self, ended=threading.Event)
        self.given_up = given_up
        self.found: Credentials | None = None
        self.failure: Exception | None = None
