"""What an error of google-auth means, where no token could be had. All of these are outages: none is about the key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from google.auth.exceptions import GoogleAuthError, MalformedError, OAuthError, TransportError

from envelope_codec.provider import Meaning
from envelope_codec_gcp import _hints as hints

# https://datatracker.ietf.org/doc/html/rfc6749#section-5.2 and https://datatracker.ietf.org/doc/html/rfc8693#section-2.2.2
_OAUTH_CODE = re.compile(r"(?:Error code )?([a-z_]{3,40})(?::|$)")
_EXCHANGE: Mapping[str, Meaning] = {
    "invalid_target": hints.NO_PROVIDER,
    "invalid_grant": hints.EXCHANGE_REFUSED,
    "unauthorized_client": hints.EXCHANGE_REFUSED,
    "access_denied": hints.EXCHANGE_REFUSED,
    "invalid_request": hints.EXCHANGE_REFUSED,
    "invalid_client": hints.EXCHANGE_REFUSED,
}
_REFRESH: Mapping[str, Meaning] = {
    "invalid_grant": hints.CREDENTIALS_EXPIRED,
    "invalid_rapt": hints.CREDENTIALS_EXPIRED,
    "invalid_client": hints.CREDENTIALS_EXPIRED,
    "deleted_client": hints.CREDENTIALS_EXPIRED,
}
_IMPERSONATION = {
    401: hints.CREDENTIALS_EXPIRED,
    403: hints.NO_IMPERSONATION,
    404: hints.NO_ACCOUNT,
}
# google-auth's own words, before a path, a URL or a reply.
_SUBJECT_TOKEN = (
    *("File '", "Unable to parse subject_token", "Unable to retrieve Identity Pool subject token"),
    *("Missing subject_token", "Unable to retrieve AWS", "Unable to determine AWS", "Unable to determine the AWS"),
    *(
        "Executable returned",
        "Executable exited",
        "Failed to retrieve leaf",
        "Failed to parse leaf",
        "Trust chain file",
    ),
)


def meaning_of_no_token(error: GoogleAuthError, _: str) -> Meaning:
    """Return what ``error`` means, by google-auth's class and words."""
    if isinstance(error, TransportError) or isinstance(error.__cause__, TransportError):
        return hints.TOKEN_SERVICE_UNREACHABLE
    words = str(error.args[0]) if error.args else ""
    status = _status_of_reply(error)
    if status is not None:
        if status >= 500 or status == 429:
            return hints.TOKEN_SERVICE_UNREACHABLE
        return _IMPERSONATION.get(status, hints.TOKEN_SERVICE_REFUSED)
    if isinstance(error, MalformedError) or words.startswith(_SUBJECT_TOKEN):
        return hints.NO_SUBJECT_TOKEN
    return _meaning_of_code(error, words)


def describe_no_token(error: GoogleAuthError) -> str:
    """Describe ``error`` for a log: its text may quote a reply or a token, so of that only a known code is told."""
    name, status = type(error).__name__, _status_of_reply(error)
    if status is not None:
        return f"{name}: status {status}"
    code = _OAUTH_CODE.match(str(error.args[0]) if error.args else "")
    return f"{name}: {code[1]}" if code is not None and code[1] in {*_EXCHANGE, *_REFRESH} else name


def _meaning_of_code(error: GoogleAuthError, words: str) -> Meaning:
    """Return what the code of a token service means; without a code it is no token service that answered."""
    code = _OAUTH_CODE.match(words)
    if code is not None:
        known = (_EXCHANGE if isinstance(error, OAuthError) else _REFRESH).get(code[1])
        if known is not None:
            return known
    is_broken = error.retryable or (isinstance(error, OAuthError) and code is None)
    if is_broken:
        return hints.TOKEN_SERVICE_UNREACHABLE
    return hints.TOKEN_SERVICE_REFUSED if code is not None else hints.NO_CREDENTIALS


def _status_of_reply(error: GoogleAuthError) -> int | None:
    """Return the status in a reply of Google's API for service accounts: google-auth's second argument."""
    reply: Any = error.args[1] if len(error.args) > 1 else None
    if not isinstance(reply, str):
        return None
    try:
        return int(json.loads(reply)["error"]["code"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
