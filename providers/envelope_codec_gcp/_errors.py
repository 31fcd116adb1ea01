"""What an error of Google's SDK means: an outage, a refusal, or a ciphertext that does not open.

An outage must not pass for a refusal: `KeyDenied` evicts keys at once, while `KmsUnavailable` lets the keyring go on
for a while with what it has. So whatever is not known here says nothing of the key: it is `KmsUnavailable`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import google.auth.exceptions
import grpc  # type: ignore[import-untyped,unused-ignore]
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
from google.rpc.error_details_pb2 import PreconditionFailure  # type: ignore[import-untyped,unused-ignore]

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.frames import place_of
from envelope_codec.provider import UNEXPECTED

_log = logging.getLogger("envelope_codec.gcp")

Verdict = tuple[type[EnvelopeError], str]


class Closed(Exception):
    """A call came after the master key was closed."""

    def __init__(self) -> None:
        super().__init__("this master key is closed")


DAMAGED: Verdict = (KmsUnavailable, "request or reply was damaged on the way between here and the KMS")
_CLOSED: Verdict = (KmsUnavailable, "this master key is closed")
_UNKNOWN: Verdict = (KmsUnavailable, "the call to the KMS failed")
_FAULT: Verdict = (KmsUnavailable, UNEXPECTED)
_NO_CREDENTIALS: Verdict = (KmsUnavailable, "no valid credentials for the KMS could be obtained")
_NOT_FROM_KMS: Verdict = (KmsUnavailable, "something between here and the KMS answered in its place")
_NOT_USABLE: Verdict = (KeyDenied, "the key is disabled, destroyed, or not made for encryption")
_EXTERNAL: Verdict = (KmsUnavailable, "the external key manager behind the KMS gave no answer")

BY_STATUS: Mapping[grpc.StatusCode, Verdict] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (KmsUnavailable, "the KMS did not answer in time"),
    grpc.StatusCode.UNAVAILABLE: (KmsUnavailable, "the KMS could not be reached"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (KmsUnavailable, "the KMS is throttling"),
    grpc.StatusCode.INTERNAL: (KmsUnavailable, "the KMS had an internal error"),
    grpc.StatusCode.ABORTED: (KmsUnavailable, "the KMS aborted the call"),
    grpc.StatusCode.CANCELLED: (KmsUnavailable, "the call to the KMS was cancelled"),
    grpc.StatusCode.UNAUTHENTICATED: (KmsUnavailable, "the KMS did not take the credentials, which may have expired"),
    grpc.StatusCode.PERMISSION_DENIED: (KeyDenied, "the KMS refused: permission is missing"),
    grpc.StatusCode.NOT_FOUND: (KeyDenied, "the KMS has no such key"),
    grpc.StatusCode.FAILED_PRECONDITION: _NOT_USABLE,
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidCiphertext, "the ciphertext does not open under this key and context"),
}
"""Statuses of gRPC; every other one is `_UNKNOWN`. https://cloud.google.com/kms/docs/reference/rpc/google.rpc"""

OUTAGES = frozenset(
    {
        # The version exists, and its material is still being made.
        "KEY_PENDING_GENERATION",
        # "Retriable errors" and "External key management system errors" of Cloud EKM, which Google reports as
        # FAILED_PRECONDITION: https://cloud.google.com/kms/docs/reference/ekm_errors
        "DNS",
        "EXTERNAL_NOT_IMPLEMENTED",
        "EXTERNAL_RESOURCE_EXHAUSTED",
        "EXTERNAL_SERVER_ERROR",
        "OVERLOADED_EKM",
        "REQUEST_CANCELLED",
        "TIMEOUT",
        "TLS_CERT",
        "UNEXPECTED_ERROR",
        "UNEXPECTED_RESPONSE",
        "UNREACHABLE_NETWORK",
    }
)
"""Violated preconditions that are an outage."""

REFUSALS = frozenset(
    {
        "KEY_DISABLED",
        "KEY_DESTROYED",
        "KEY_DESTROY_SCHEDULED",
        # "Input errors" of Cloud EKM: the external key manager withdrew the key, or no longer has it.
        "EXTERNAL_KEY_HOST_NOT_WHITELISTED",
        "EXTERNAL_KEY_URI_INVALID",
        "EXTERNAL_NOT_FOUND",
        "EXTERNAL_PERMISSION_DENIED",
    }
)
"""Violated preconditions that are a refusal, whatever else is violated."""

_OF_THE_SDK = (Closed, google.auth.exceptions.GoogleAuthError, GoogleAPIError, grpc.RpcError, OSError)
"""What these say of is outside this process. Any other class is a fault in it, ours or the SDK's."""

_QUOTES_NO_SECRET = (Closed, GoogleAPICallError, google.auth.exceptions.DefaultCredentialsError)


def failure(error: Exception, *, operation: str, key_id: str) -> EnvelopeError:
    """The library's error for what a call of Google's SDK raised. Logs ``error``, which stays behind."""
    _log.warning("%s with %s failed: %s", operation, key_id, _described(error))
    kind, reason = _verdict(error, operation)
    return kind(reason, operation=operation, key_id=key_id)


def _described(error: Exception) -> str:
    """``error`` in one line for a log: key ids and endpoints may be in it, secrets may not."""
    name = type(error).__name__
    if isinstance(error, _QUOTES_NO_SECRET):
        return f"{name}: {str(error)[:500]}"
    # Others may quote what they could not use: a request, a token service's reply, a header.
    return name if isinstance(error, _OF_THE_SDK) else place_of(error)


def _verdict(error: Exception, operation: str) -> Verdict:
    if isinstance(error, Closed):
        return _CLOSED
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return _NO_CREDENTIALS
    if not isinstance(error, GoogleAPICallError):
        return _UNKNOWN if isinstance(error, _OF_THE_SDK) else _FAULT
    status = error.grpc_status_code
    message = str(error.message)
    if message.startswith("Received http2 header with status"):
        # gRPC itself turned a bare HTTP status into its own, as 403 into PERMISSION_DENIED: a proxy spoke, not the KMS.
        return _NOT_FROM_KMS
    if status is grpc.StatusCode.FAILED_PRECONDITION:
        return _precondition(error)
    if status is grpc.StatusCode.INVALID_ARGUMENT and message.startswith("The checksum in field "):
        # https://cloud.google.com/kms/docs/data-integrity-guidelines
        return DAMAGED
    if status is grpc.StatusCode.INVALID_ARGUMENT and operation == "wrap":
        return _NOT_USABLE
    return BY_STATUS.get(status, _UNKNOWN) if status is not None else _UNKNOWN


def _precondition(error: GoogleAPICallError) -> Verdict:
    """Tell a key that is not usable from an external key manager that is not there.

    Cloud EKM names two violations, the second about the attempt to reach the external key manager.
    """
    details = [detail for detail in error.details if isinstance(detail, PreconditionFailure)]
    types = [violation.type for detail in details for violation in detail.violations]
    if REFUSALS.intersection(types):
        return _NOT_USABLE
    if OUTAGES.intersection(types) or len(types) > 1:
        return _EXTERNAL
    return _NOT_USABLE
