"""AWS credentials whose failures can be told from those of the service that is called.

botocore gets credentials while it signs a request. What goes wrong then has any class: an error of the token service, a
file that is missing, a parameter that botocore itself does not take. By its class it would count as the called
service's. So the clients built here get their credentials from `WatchedCredentials`, which raises
`CredentialsUnavailable` for whatever came up, and `told_apart` does the same for a client that somebody else built.

Needs botocore, and is imported by what needs it as well: the provider for AWS KMS and the store for S3.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore import exceptions as sdk
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials
from botocore.session import Session

from envelope_codec._backoff import Backoff
from envelope_codec.aws.meanings import (
    BROKEN,
    NO_CONFIGURATION,
    NO_LOGIN,
    NO_ROLE,
    NOT_FOUND,
    REFUSED,
    SILENT,
    UNREACHABLE,
)
from envelope_codec.aws.wirelog import WIRE_LOG
from envelope_codec.provider import Meaning, renew_after_fork

REJECTED = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed", "TokenRefreshRequired"),
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken"),
        *("IncompleteSignature", "IncompleteSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch"),
        *("MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidSecurity", "AuthFailure"),
        # An unpaid bill stops the account; it withdraws no permission.
        *("OptInRequired", "NotSignedUp"),
    }
)
"""Codes with which a service says that it does not take the credentials. Who is asking is not settled then, so nothing
was decided about the key or the bucket. These also come up while credentials are rotated, while new ones spread in IAM,
and when a clock is wrong.
"""

# Seconds for which a failure is not tried again, twice as long after each: a source may be a process that is started
# each time. The first one is forgotten at once.
_MEMORY = Backoff(0.1, 5.0)
_LONGEST_WAIT = 10.0  # seconds for the source
# Seconds after which a source that hangs is asked again, twice as long after each: what hangs may do so for ever, as a
# credential process that waits for a password, or a token's file that is a pipe.
_HANG = Backoff(60.0, 3_600.0)


def _known(*names: str) -> tuple[type[Exception], ...]:
    """botocore's classes of these names: not every botocore that is supported has each."""
    return tuple(getattr(sdk, name) for name in names if hasattr(sdk, name))


_CONFIGURATION = _known(
    *("ProfileNotFound", "ConfigNotFound", "ConfigParseError", "InvalidConfigError", "PartialCredentialsError"),
    *("UnknownCredentialError", "UnknownTokenProviderError", "RefreshWithMFAUnsupportedError"),
    *("MissingDependencyException", "InvalidIMDSEndpointError", "InvalidIMDSEndpointModeError", "NoRegionError"),
)
_LOGINS = _known("SSOError", "LoginError", "TokenRetrievalError", "NoAuthTokenError")
_TIMEOUTS = (sdk.ConnectTimeoutError, sdk.ReadTimeoutError)
_NETWORK = (sdk.ConnectionError, sdk.HTTPClientError, sdk.MetadataRetrievalError)
_TOLD: tuple[type[Exception], ...] = (sdk.NoCredentialsError, *_CONFIGURATION, *_NETWORK, *_LOGINS)
# Their texts repeat what a credential process wrote, or the body of a reply, but for these words of botocore's.
_QUOTING: tuple[type[Any], ...] = (sdk.CredentialRetrievalError, sdk.MetadataRetrievalError)
_REPEATABLE = re.compile(
    r"Received non 200 response \d{3} from container metadata|Unable to parse JSON returned from container metadata"
    r"|Received error when attempting to retrieve container metadata|Unsupported version|IMDSv1 has been disabled"
    r"|Missing required key in response: '\w{1,40}'|response did not contain: [\w, ]{1,100}"
    r"|No credentials found in credential_source"
)


class CredentialsUnavailable(Exception):
    """Credentials could not be had, for whatever reason. An outage: it says nothing of a key, a bucket or a permission.

    Attributes:
        meaning: why; one of `aws_meanings.CREDENTIALS`.
        said: what came up, in one line for a log.
    """

    def __init__(self, meaning: Meaning, said: str) -> None:
        super().__init__(meaning.text)
        self.meaning = meaning
        self.said = said

    @classmethod
    def of(cls, error: Exception) -> CredentialsUnavailable:
        """For what came up while credentials were looked for or renewed. Of any class; it is not kept."""
        return cls(error.meaning, error.said) if isinstance(error, cls) else cls(_meaning(error), described(error))


class WatchedCredentials(Credentials):
    """Credentials that are looked for at their first use, and renewed before they expire. Safe for use by many threads.

    One thread at a time asks the source, and the others share what comes of it. It is a thread of its own, which nobody
    waits for longer than some seconds, and which keeps no process from ending. A source that fails again and again is
    asked ever more rarely, and as long as it fails, credentials that have not expired go on being used.

    Args:
        find: looks for credentials, as anew; None if there are none. May raise anything.
    """

    _lock: threading.Lock
    _attempt: _Attempt | None
    _held: _Held | None

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        # Not what is held either: botocore's credentials have a lock, which a thread that is not there may have taken.
        renew_after_fork(self, _lock=threading.Lock, _attempt=lambda: None, _held=lambda: None)
        self._failure: CredentialsUnavailable | None = None
        self._failures = 0  # since the last success
        self._hangs = 0  # the same
        self._quiet_until = -math.inf
        self.method = "envelope-codec"

    # Properties, which Credentials has as attributes.
    @property
    def access_key(self) -> str:  # type: ignore[override]
        """See `Credentials`."""
        return self.get_frozen_credentials().access_key or ""

    @property
    def secret_key(self) -> str:  # type: ignore[override]
        """See `Credentials`."""
        return self.get_frozen_credentials().secret_key or ""

    @property
    def token(self) -> str | None:  # type: ignore[override]
        """See `Credentials`."""
        return self.get_frozen_credentials().token

    @property
    def account_id(self) -> str | None:
        """See `Credentials`."""
        return getattr(self.get_frozen_credentials(), "account_id", None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """See `Credentials.get_frozen_credentials`. Raises `CredentialsUnavailable` and nothing else."""
        now = self._usable(renewed=True)
        if now is not None:
            return now
        now = self._usable(renewed=False)
        attempt, mine = self._joined()
        if attempt is not None and (mine or now is None) and not attempt.ended.wait(_LONGEST_WAIT) and now is None:
            raise CredentialsUnavailable(SILENT, f"their source gave no answer in {_LONGEST_WAIT:.0f} s")
        now = self._usable(renewed=False)
        if now is not None:
            return now
        # A fresh one, outside of any handler: no traceback and no error of botocore's travels with it.
        raise CredentialsUnavailable.of(self._failure or sdk.NoCredentialsError())

    def _usable(self, *, renewed: bool) -> ReadOnlyCredentials | None:
        """Those at hand, unless they have expired; ``renewed``: unless it is time to renew them."""
        held = self._held
        return None if held is None or held.expire(None if renewed else 0) else held.frozen

    def _joined(self) -> tuple[_Attempt | None, bool]:
        """The attempt under way, and whether it has been begun here. None if it is not time for one."""
        now = time.monotonic()
        with self._lock:
            attempt = self._attempt
            if attempt is not None and now >= attempt.given_up:
                self._hangs += 1
                attempt = None
            if attempt is not None or now < self._quiet_until:
                return attempt, False
            patience = _HANG.seconds(self._hangs + 1)
            attempt = self._attempt = _Attempt(now + patience)
        thread = threading.Thread(target=self._obtain, args=(attempt,), name="envelope-codec-credentials", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # none can be started, as when the interpreter is about to end
            self._obtain(attempt)
        return attempt, True

    def _obtain(self, attempt: _Attempt) -> None:
        held, failure = self._held, None
        try:
            with WIRE_LOG.silenced():
                source = held.source if held is not None and not self._hangs else self._find()
                if source is None:
                    raise sdk.NoCredentialsError
                held = _Held(source, source.get_frozen_credentials())
            failure = _flaw(held.frozen)
        except Exception as error:
            failure = CredentialsUnavailable.of(error)
        else:
            if failure is None and held.expire(None):  # botocore says nothing of a renewal that fails while it is early
                failure = CredentialsUnavailable(BROKEN, "the renewal of credentials failed")
        if failure is not None and held is not None and (held.expire(0) or _flaw(held.frozen)):
            held = None  # the next attempt looks into the configuration again
        with self._lock:
            if self._attempt is attempt:
                self._attempt = None
                self._held, self._failure = held, failure
                self._failures = self._failures + 1 if failure is not None else 0
                self._hangs = self._hangs if failure is not None else 0
                self._quiet_until = time.monotonic() + _memory(self._failures)
        attempt.ended.set()


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


def _memory(failures: int) -> float:
    """Seconds for which the last of so many failures is not tried again."""
    return _MEMORY.seconds(failures - 1) if failures > 1 else 0.0


def _flaw(credentials: ReadOnlyCredentials) -> CredentialsUnavailable | None:
    """Why no request can be signed with ``credentials``: half a file, for instance, gives such."""
    named = (("access key id", credentials.access_key), ("secret access key", credentials.secret_key))
    for name, value in (*named, ("session token", credentials.token or "none")):
        if not isinstance(value, str) or not value:
            return CredentialsUnavailable(BROKEN, f"the {name} is empty, or no text")
        if not (value.isascii() and value.isprintable()):
            return CredentialsUnavailable(BROKEN, f"the {name} has a line end, or another character that none has")
    return None


class _Held(NamedTuple):
    """Credentials as they are now, and what renews them."""

    source: Any
    frozen: ReadOnlyCredentials

    def __repr__(self) -> str:
        return "_Held()"  # the other one would show them

    def expire(self, within: int | None) -> bool:
        """Whether they expire ``within`` seconds; without a number, so soon that they are to be renewed."""
        refresh_needed = getattr(self.source, "refresh_needed", None)
        return bool(refresh_needed is not None and refresh_needed(within))


def watch(session: Session, find: Callable[[], Any]) -> WatchedCredentials:
    """Give ``session``, and the clients that it makes, credentials that ``find`` looks for."""
    watched = WatchedCredentials(find)
    session.register_component("credential_provider", CredentialResolver([_Given(watched)]))
    return watched


class _Given(CredentialProvider):
    METHOD = "envelope-codec"

    def __init__(self, credentials: WatchedCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> WatchedCredentials:
        return self._credentials


class _Signing(threading.local):
    under_way = False


_signing = _Signing()


def watch_signing(client: Any) -> None:
    """Have `told_apart` know when ``client``, which somebody else built, signs a request."""
    service = client.meta.service_model.service_id.hyphenize()
    for event, handler in ((f"before-sign.{service}", _signing_begins), (f"before-send.{service}", _signing_ends)):
        client.meta.events.register(event, handler, unique_id=f"envelope-codec-{event}")


@contextmanager
def told_apart() -> Iterator[None]:
    """Within it, what comes up while a request is signed is raised as `CredentialsUnavailable`."""
    _signing.under_way = False
    try:
        yield
    except Exception as error:
        if not _signing.under_way:
            raise
        failure = CredentialsUnavailable.of(error)
    else:
        return
    finally:
        _signing.under_way = False
    raise failure


def _signing_begins(**_: object) -> None:
    _signing.under_way = True


def _signing_ends(**_: object) -> None:
    _signing.under_way = False


def described(error: Exception) -> str:
    """``error`` in one line for a log: names of files, hosts and roles may be in it, secrets may not."""
    name = type(error).__name__
    if isinstance(error, sdk.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return f"{error.operation_name}: {code:.64}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror} ({error.filename})"
    if type(error) is sdk.HTTPClientError:  # it quotes what it could not use, such as a header with a token
        return f"{name}: {type(error.kwargs.get('error')).__name__}"
    if isinstance(error, _QUOTING):
        found = _REPEATABLE.search(str(error))
        source = str(getattr(error, "kwargs", {}).get("provider") or "the metadata service")
        return f"{name}: {source:.64}: {found.group() if found else 'what it says may hold secrets, and is left out'}"
    if isinstance(error, _TOLD):
        return f"{name}: {str(error).partition(chr(10))[0][:300]}"
    # Others may quote what they could not use: a token, or a reply's body.
    return name


def _meaning(error: Exception) -> Meaning:
    if isinstance(error, sdk.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or status == 429:
            return BROKEN
        denied = str(error.response.get("Error", {}).get("Code", "")).startswith("AccessDenied")
        return NO_ROLE if denied and error.operation_name.startswith("AssumeRole") else REFUSED
    if isinstance(error, sdk.NoCredentialsError):
        return NOT_FOUND
    if isinstance(error, _CONFIGURATION):
        return NO_CONFIGURATION
    if isinstance(error, _LOGINS):
        return NO_LOGIN
    if isinstance(error, _TIMEOUTS):
        return SILENT
    return UNREACHABLE if isinstance(error, _NETWORK) else BROKEN
