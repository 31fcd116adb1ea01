"""The meaning of errors of Google Cloud Storage: which part is at fault, and whether the same call may succeed later.

Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.cloud.storage.exceptions import DataCorruption

from envelope_codec.datastore.gcs_credentials import CredentialsUnavailable
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.gcs")

NO_ANSWER = "the bucket did not answer"
NOT_GCS = "the answer is not one of Google Cloud Storage: a proxy or a gateway before it gave it"
CHECKSUM = "what the bucket sent does not fit its checksum"
REJECTED = "Google Cloud Storage did not take the credentials: expired, revoked or unknown"
NO_CREDENTIALS = "no Google credentials were found"
UNREADABLE = "no Google credentials could be had: their file is missing, or holds none"
REFUSED = "no Google credentials could be had: the token service refused"
NOT_IMPERSONATED = "no Google credentials could be had: the service account can't be impersonated"
UNREACHABLE = "no Google credentials could be had: their source could not be reached, or failed"
OUTAGES = (
    *(NO_ANSWER, NOT_GCS, CHECKSUM, REJECTED),
    *(NO_CREDENTIALS, UNREADABLE, REFUSED, NOT_IMPERSONATED, UNREACHABLE),
)

NO_BUCKET = "the bucket does not exist"
FORBIDDEN = "permission is missing"
MAYBE_FORBIDDEN = "permission is missing (Google says so of a missing object, too, to who may not list the bucket)"
NARROW = "the access scopes of the credentials are too narrow"
SUSPENDED = "its project's billing is off, or the project or account is suspended"
PERIMETER = "a perimeter of VPC Service Controls or a policy of the organization forbids it"
RETAINED = "a retention policy or a hold keeps the object"
PAYS = "it makes its callers pay (Requester Pays)"
KMS = "the Cloud KMS key of the bucket can't be used"
INVALID = "its name, or the prefix, is not valid"
OTHER = "the log has its code"
REFUSALS = (
    *(NO_BUCKET, FORBIDDEN, MAYBE_FORBIDDEN, NARROW, SUSPENDED, PERIMETER, RETAINED, PAYS, KMS, INVALID, OTHER),
)

# By words in the reasons and messages of an answer. The first row that fits counts.
_WORDS = (
    (re.compile(r"cloud ?kms|kms key", re.IGNORECASE), KMS),
    (re.compile(r"retentionpolicynotmet|objectunderactivehold|retention policy", re.IGNORECASE), RETAINED),
    (re.compile(r"vpcservicecontrols|vpc service controls|organization's policy", re.IGNORECASE), PERIMETER),
    (re.compile(r"accountdisabled|userprojectaccountproblem|billing", re.IGNORECASE), SUSPENDED),
    (re.compile(r"userprojectmissing|requester pays", re.IGNORECASE), PAYS),
    (re.compile(r"authentication scopes|access_token_scope_insufficient", re.IGNORECASE), NARROW),
)
_MAYBE_WORDS = "or it may not exist"
_PASSING = frozenset({408, 429})  # and all from 500 on
_IMPERSONATION = "Unable to acquire impersonated credentials"


class NameRefused(Exception):
    """The client library takes no such name of a bucket."""


def translate(error: Exception, operation: str) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its code."""
    if isinstance(error, CredentialsUnavailable):
        error = error.error
    _log.debug("Google Cloud Storage %s failed: %s", operation, _code_of(error))
    if isinstance(error, GoogleAPICallError):
        return _translate_answer(error, operation)
    if isinstance(error, GoogleAuthError):
        return StoreUnavailable(_credentials_reason(error), operation=operation)
    if isinstance(error, NameRefused):
        return _refusal(INVALID, operation)
    if isinstance(error, DataCorruption):
        return StoreUnavailable(CHECKSUM, operation=operation)
    return StoreUnavailable(NO_ANSWER, operation=operation)


def names_bucket(error: GoogleAPICallError) -> bool:
    """Return whether a 404 says that there is no bucket. Some servers say no more than "not found"."""
    return "bucket does not exist" in _words_of(error)


def _translate_answer(error: GoogleAPICallError, operation: str) -> EnvelopeError:
    status = int(error.code or 0)
    if status in _PASSING or status >= 500:
        return StoreUnavailable(NO_ANSWER, operation=operation)
    if not _is_from_gcs(error):
        _log.warning("what answered a Google Cloud Storage %s is something else: HTTP status %d", operation, status)
        return StoreUnavailable(NOT_GCS, operation=operation)
    if status == 401:
        return StoreUnavailable(REJECTED, operation=operation)
    reason = _refusal_reason(error, status)
    if reason == OTHER:
        _log.warning("Google Cloud Storage refused a %s: %s", operation, _code_of(error))
    if reason == FORBIDDEN and operation == "get" and _MAYBE_WORDS in _words_of(error):
        refusal = _refusal(MAYBE_FORBIDDEN, operation)
        refusal.code = MAYBE_MISSING
        return refusal
    return _refusal(reason, operation)


def _refusal_reason(error: GoogleAPICallError, status: int) -> str:
    words = _words_of(error)
    known = next((reason for pattern, reason in _WORDS if pattern.search(words)), None)
    if known is not None:
        return known
    return {403: FORBIDDEN, 404: NO_BUCKET}.get(status, OTHER)


def _refusal(reason: str, operation: str) -> StoreRefused:
    return StoreRefused(f"the bucket refused: {reason}", operation=operation)


def _credentials_reason(error: GoogleAuthError) -> str:
    words = str(error)
    if isinstance(error, DefaultCredentialsError):
        return NO_CREDENTIALS if "default credentials were not found" in words else UNREADABLE
    if isinstance(error, RefreshError) and not error.retryable:
        return NOT_IMPERSONATED if _IMPERSONATION in words else REFUSED
    return UNREACHABLE


def _is_from_gcs(error: GoogleAPICallError) -> bool:
    """Return whether Google Cloud Storage itself seems to have answered: by a header that it sets, or by its JSON."""
    response: Any = error.response
    if response is None:
        return True
    if "x-guploader-uploadid" in response.headers:
        return True
    try:
        body = response.json()
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("error"), dict)


def _words_of(error: GoogleAPICallError) -> str:
    """Return the reasons and messages of an answer. They name buckets, objects and accounts: for comparison alone."""
    reasons = [str(one.get("reason", "")) for one in error.errors if isinstance(one, dict)]
    text = str(getattr(error.response, "text", ""))[:2_000]
    return " ".join([*reasons, str(error.message), text]).lower()


def _code_of(error: Exception) -> str:
    """Return what a log may hold: the class, and the status and reason of an answer."""
    if not isinstance(error, GoogleAPICallError):
        return type(error).__name__
    reasons = [str(one.get("reason", "")) for one in error.errors if isinstance(one, dict)]
    reason = next((reason for reason in reasons if re.fullmatch(r"[\w .-]{1,64}", reason)), "")
    return f"{error.code:d} {reason}".strip() if error.code is not None else type(error).__name__
