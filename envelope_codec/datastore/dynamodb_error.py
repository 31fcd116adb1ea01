"""The meaning of errors of DynamoDB: which part is at fault, and whether the same call may succeed later.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html.
"""

from __future__ import annotations

import logging

from botocore.exceptions import ClientError, ParamValidationError

from envelope_codec.aws.credentials_error import REJECTED, CredentialsUnavailable
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.dynamodb")

_REASONS = {
    "ResourceNotFoundException": "the table does not exist in this region and account",
    "AccessDeniedException": "permission on the table is missing",
    "AccessDenied": "permission on the table is missing",
    "403": "permission on the table is missing",  # in words that are not DynamoDB's
    "ValidationException": "the table has another key than the ddl command prints, or its name is not valid",
    "ItemCollectionSizeLimitExceededException": "the table is full: a local index bounds it",
    "UnknownOperationException": "its server does not do what was asked for",
    "ResourceInUseException": "the table is being made, changed or deleted",
}
_PASSING = {
    *("InternalServerError", "InternalFailure", "ServiceUnavailable", "ProvisionedThroughputExceededException"),
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "LimitExceededException"),
    *("TransactionConflictException", "ReplicatedWriteConflictException", "ResourceInUseException"),
}
_THROTTLED = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException"}
_NO_ANSWER = "the table did not answer"
_CREDENTIALS = "DynamoDB did not take the credentials: expired, unknown or wrongly signed"
_TOO_MUCH = "the table, or the account, takes no more requests for now"
_OTHER = "DynamoDB refused, and the log has its code"
_NAME = "the table's name is not valid"


def translate(error: Exception, operation: str) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its code."""
    if isinstance(error, CredentialsUnavailable):
        _log.debug("DynamoDB %s failed: %s", operation, error.said)
        return StoreUnavailable(error.meaning.text, operation=operation)
    code = code_of(error)
    _log.debug("DynamoDB %s failed: %s", operation, code or type(error).__name__)
    if isinstance(error, ParamValidationError):
        return StoreRefused(_NAME, operation=operation)
    if not isinstance(error, ClientError):
        return StoreUnavailable(_NO_ANSWER, operation=operation)
    if code in REJECTED:
        return StoreUnavailable(_CREDENTIALS, operation=operation)
    if code in _PASSING or _status(error) >= 500:
        return StoreUnavailable(
            _TOO_MUCH if code in _THROTTLED else _REASONS.get(code, _NO_ANSWER), operation=operation
        )
    if code not in _REASONS:
        _log.warning("DynamoDB refused a %s: code %.64r", operation, code)
    return StoreRefused(_REASONS.get(code, _OTHER), operation=operation)


def code_of(error: Exception) -> str:
    """Return the code in an answer of DynamoDB, or "" if there is none."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
