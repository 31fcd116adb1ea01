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

from envelope_codec.provider import ErrorTable, Meaning, Row, meanings, quote
from envelope_codec_gcp import _hints as hints
from envelope_codec_gcp._token_errors import describe_no_token, meaning_of_no_token

BY_STATUS: Mapping[grpc.StatusCode, Meaning] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: meanings.TIMED_OUT,
    grpc.StatusCode.UNAVAILABLE: meanings.UNREACHABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: hints.THROTTLED,
    grpc.StatusCode.INTERNAL: hints.SERVER_ERROR,
    grpc.StatusCode.ABORTED: hints.ABORTED,
    grpc.StatusCode.CANCELLED: hints.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED: meanings.CREDENTIALS_REJECTED,
    grpc.StatusCode.PERMISSION_DENIED: hints.NOT_PERMITTED,
    grpc.StatusCode.NOT_FOUND: hints.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION: hints.UNUSABLE,
    grpc.StatusCode.INVALID_ARGUMENT: hints.BAD_CIPHERTEXT,
}
"""Statuses of gRPC; any other is `CALL_FAILED`. https://cloud.google.com/kms/docs/reference/rpc/google.rpc"""

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


# Of the project that is to pay: they say nothing of the key. https://cloud.google.com/apis/design/errors#error_info
_QUOTA_REASONS = frozenset({"USER_PROJECT_DENIED", "CONSUMER_INVALID"})


def _meaning_of_reply(error: GoogleAPICallError, operation: str) -> Meaning:
    status = error.grpc_status_code
    message = str(error.message)
    if message.startswith("Received http2 header with status"):
        # gRPC itself turned a bare HTTP status into its own, as 403 into PERMISSION_DENIED: a proxy spoke, not the KMS.
        return hints.NOT_FROM_KMS
    if status is grpc.StatusCode.FAILED_PRECONDITION:
        return _meaning_of_precondition(error)
    if status is grpc.StatusCode.PERMISSION_DENIED and error.reason in _QUOTA_REASONS:
        return hints.QUOTA_PROJECT_DENIED
    if status is grpc.StatusCode.INVALID_ARGUMENT and message.startswith("The checksum in field "):
        # https://cloud.google.com/kms/docs/data-integrity-guidelines
        return hints.DAMAGED
    if status is grpc.StatusCode.INVALID_ARGUMENT and operation == "wrap":
        return hints.UNUSABLE
    return BY_STATUS.get(status, hints.CALL_FAILED) if status is not None else hints.CALL_FAILED


def _meaning_of_precondition(error: GoogleAPICallError) -> Meaning:
    """Tell a key that is not usable from an external key manager that is not there.

    Cloud EKM names two violations, the second about the attempt to reach the external key manager.
    """
    details = [detail for detail in error.details if isinstance(detail, PreconditionFailure)]
    types = [violation.type for detail in details for violation in detail.violations]
    if REFUSALS.intersection(types):
        return hints.UNUSABLE
    if OUTAGES.intersection(types) or len(types) > 1:
        return hints.EXTERNAL
    return hints.UNUSABLE


# The text of a class without `quote` may repeat what it could not use: a request, a token service's reply, a header.
ERRORS = ErrorTable(
    logging.getLogger("envelope_codec.gcp"),
    (
        Row(google.auth.exceptions.DefaultCredentialsError, hints.NO_CREDENTIALS, quote),
        Row(google.auth.exceptions.GoogleAuthError, meaning_of_no_token, describe_no_token),
        Row(GoogleAPICallError, _meaning_of_reply, quote),
        # What these tell of is outside this process. Any other class is a fault in it, ours or the SDK's.
        Row((GoogleAPIError, grpc.RpcError, OSError), hints.CALL_FAILED),
    ),
)
