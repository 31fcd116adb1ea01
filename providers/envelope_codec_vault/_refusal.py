"""Refused logins, remembered so that retries lock nobody out.

Vault locks a role of AppRole for 15 minutes after 5 refused logins, of whatever processes, unless 15 minutes pass
without one (https://developer.hashicorp.com/vault/docs/concepts/user-lockout). A locked role keeps everybody out, with
good secret ids too.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from hvac import exceptions as sdk

from envelope_codec.provider import Meaning
from envelope_codec_vault._errors import is_from_vault
from envelope_codec_vault._hints import (
    LOGIN_AUDIENCE,
    LOGIN_CERTIFICATE,
    LOGIN_EXPIRED,
    LOGIN_LOCKED,
    LOGIN_NOT_BOUND,
    LOGIN_REFUSED,
    LOGIN_ROLE,
    LOGIN_SIGNATURE,
)


@dataclass(frozen=True)
class Pace:
    """Seconds until a refused login is tried again with the same credential: doubled each time, and up to half more by
    chance, so that processes that begin together spread.
    """

    first: float
    longest: float


APPROLE = Pace(1_800.0, 14_400.0)
"""Four processes with a dead secret id stay under the threshold: 15 minutes without a login lie between two rounds."""

UNLOCKED = Pace(60.0, 900.0)
"""For methods that know no lock."""

# A text matches if it holds the phrase. OpenBao says so at the logins by JWT, Kubernetes and certificate.
_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("invalid role name", LOGIN_ROLE),
    ('" could not be found', LOGIN_ROLE),
    ("(exp) claim", LOGIN_EXPIRED),
    ("(nbf) claim", LOGIN_EXPIRED),
    ("certificate has expired or is not yet valid", LOGIN_EXPIRED),  # a 500
    ("(aud) claim", LOGIN_AUDIENCE),
    ("(iss) claim", LOGIN_SIGNATURE),
    ("error verifying token signature", LOGIN_SIGNATURE),
    ("error validating claims", LOGIN_NOT_BOUND),
    ("service account name not authorized", LOGIN_NOT_BOUND),
    ("namespace not authorized", LOGIN_NOT_BOUND),
    ("no client certificate", LOGIN_CERTIFICATE),
    ("for this login certificate", LOGIN_CERTIFICATE),
    ("failed to verify client's certificate", LOGIN_CERTIFICATE),  # a 500
)

_LOCKED = 900.0
"""Vault's own default. What is refused while the role is locked does not count."""


class Refusals:
    """The refusals of one login: what it was refused with, and until when it is not tried again.

    Args:
        pace: how often.
        jitter: a number from 0 to 1.
    """

    def __init__(self, pace: Pace, jitter: Callable[[], float] = random.random) -> None:
        self._pace = pace
        self._jitter = jitter
        self._credential = b""
        self._until = 0.0
        self._count = 0
        self._meaning = LOGIN_REFUSED

    def known(self, credential: str, now: float) -> Meaning | None:
        """Tell what ``credential`` was refused with, if it must not be tried yet (``now``: monotonic seconds)."""
        if self._count and now < self._until and self._credential == _digest(credential):
            return self._meaning
        return None

    def add(self, credential: str, meaning: Meaning, now: float) -> float:
        """Remember a refusal. Return the seconds until the next try."""
        if meaning == LOGIN_LOCKED:
            seconds = _LOCKED
        else:
            seconds = min(self._pace.longest, self._pace.first * 2.0 ** min(self._count, 16))
            self._count += 1
        self._count = max(1, self._count)
        seconds *= 1.0 + 0.5 * self._jitter()
        self._credential, self._meaning, self._until = _digest(credential), meaning, now + seconds
        return seconds

    def clear(self) -> None:
        """Forget the refusals, because a login went well."""
        self._count = 0


def find_refusal(error: Exception, pace: Pace) -> Meaning | None:
    """Find what ``error`` means if it is Vault's refusal of a login; None if it is something else."""
    kinds = (sdk.InvalidRequest, sdk.Forbidden, sdk.InternalServerError)
    if not isinstance(error, kinds) or not is_from_vault(error):
        return None
    words = ", ".join(map(str, error.errors or ()))
    if told := next((meaning for phrase, meaning in _WORDS if phrase in words), None):
        return told
    if isinstance(error, sdk.InternalServerError):
        return None
    # A wrong secret id is a 400. All that Vault says of a locked role is this 403.
    locked = pace is APPROLE and isinstance(error, sdk.Forbidden) and error.errors == ["permission denied"]
    return LOGIN_LOCKED if locked else LOGIN_REFUSED


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()
