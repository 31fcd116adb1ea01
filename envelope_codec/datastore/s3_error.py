"""The meaning of errors of S3: which part is at fault, and whether the same call may succeed later.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ChecksumError, ClientError, FlexibleChecksumError, ParamValidationError
from botocore.parsers import ResponseParserError

from envelope_codec.aws.credentials_error import REJECTED, CredentialsUnavailable
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.datastore.s3_rules import BucketRules
from envelope_codec.errors import EnvelopeError, PayloadMissing, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.s3")

MISSING = {"NoSuchKey", "404", "NotFound"}
"""Codes with which S3 says that there is no such object."""

# These codes say nothing of the request, and may pass.
_PASSING = {
    *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"),
    *("TooManyRequests", "OperationAborted", "KMS.ThrottlingException", "500", "502", "503", "504"),
}
_OTHER_REGION = "the bucket is in another region: give ?region="
_CHECKSUM = "its server does not take the checksums that boto3 sends"
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "301": _OTHER_REGION,
    "AccessDenied": "permission is missing (S3 says so of a missing object, too, to who may not list the bucket)",
    "403": "permission is missing",
    "NotImplemented": "its server does not do what was asked for",
    "501": "its server does not do what was asked for",
    "BadDigest": _CHECKSUM,
    "InvalidDigest": _CHECKSUM,
    "XAmzContentChecksumMismatch": _CHECKSUM,
    "XAmzContentSHA256Mismatch": _CHECKSUM,
    "MissingContentLength": _CHECKSUM,
    "411": _CHECKSUM,
}
_DENIED = {"AccessDenied", "403"}
_OR_OWNER = "permission is missing, or the bucket is not of the account that bucket_owner names"
_KEY_DENIED = "permission to use the KMS key is missing that encrypts what is stored there"
_KEY_UNUSABLE = "the KMS key that encrypts what is stored there is missing, disabled, or of another region"
_MAYBE_MISSING = (_ADVICE["AccessDenied"], _OR_OWNER)
_NO_ANSWER = "the bucket did not answer"
_NOT_S3 = "the answer is not one of S3: a proxy or a gateway before it gave it"
_CREDENTIALS = "S3 did not take the credentials: expired, unknown or wrongly signed"
_FULL = {"QuotaExceeded", "XMinioStorageFull"}
# Statuses of servers that speak a part of S3, and of redirects. Their answers have no body, and so no code.
_WITHOUT_CODE = {301, 411}
# Services that are not Amazon's have their own words for a refused checksum. One of these is in them.
_CHECKSUM_WORDS = ("checksum", "x-amz-sdk", "x-amz-trailer", "aws-chunked", "streaming-unsigned-payload-trailer")


class NotS3(Exception):
    """What answered is something else than S3, although it said that all went well."""


def check_stored(answer: Mapping[str, Any]) -> str:
    """Return the ETag in the answer to PutObject.

    Raises:
        NotS3: there is none. A gateway that answers anything with a page of its own has stored nothing.
    """
    etag = answer.get("ETag")
    if not etag:
        raise NotS3
    return str(etag)


def translate(error: Exception, operation: str, rules: BucketRules | None = None) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its code.

    ``rules`` are those that the request kept.
    """
    if isinstance(error, CredentialsUnavailable):
        _log.debug("S3 %s failed: %s", operation, error.said)
        return StoreUnavailable(error.meaning.text, operation=operation)
    _log.debug("S3 %s failed: %s", operation, code_of(error) or type(error).__name__)
    if isinstance(error, ClientError):
        return _translate_answer(error, operation, rules or BucketRules())
    if isinstance(error, (NotS3, ResponseParserError, RecursionError)):  # the last, of redirects without end
        _log.warning("what answered an S3 %s is not S3: %s", operation, type(error).__name__)
        return StoreUnavailable(_NOT_S3, operation=operation)
    if isinstance(error, ParamValidationError):
        return StoreRefused("the bucket refused: its name, or the prefix, is not valid", operation=operation)
    if isinstance(error, (ChecksumError, FlexibleChecksumError)):
        return StoreUnavailable("what the bucket sent does not fit its checksum", operation=operation)
    return StoreUnavailable(_NO_ANSWER, operation=operation)


def code_of(error: Exception) -> str:
    """Return the code in an answer of S3, or "" if there is none."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _translate_answer(error: ClientError, operation: str, rules: BucketRules) -> EnvelopeError:
    code, status = code_of(error), _status(error)
    if not _is_from_s3(error):
        _log.warning("what answered an S3 %s is not S3: HTTP status %d", operation, status)
        return StoreUnavailable(_NOT_S3, operation=operation)
    if code in MISSING and operation == "get":
        return PayloadMissing("the datastore has no such payload", operation=operation)
    if code in REJECTED:
        return StoreUnavailable(_CREDENTIALS, operation=operation)
    advice = _advice(error, rules)
    if advice is None and (code in _PASSING or status >= 500):
        return StoreUnavailable(_NO_ANSWER, operation=operation)
    if advice is None:
        _log.warning("S3 refused a %s: code %.64r", operation, code)
    refused = StoreRefused(f"the bucket refused: {advice or 'the log has its code'}", operation=operation)
    refused.code = MAYBE_MISSING if code == "AccessDenied" and advice in _MAYBE_MISSING else None
    return refused


def _advice(error: ClientError, rules: BucketRules) -> str | None:
    """Return what people are told of a refusal, or None if its cause is not known."""
    code, status = code_of(error), _status(error)
    words = str(error.response.get("Error", {}).get("Message", "")).lower()
    if code in _FULL:
        return "it is full"
    if status >= 500 and status != 501:  # all of these may pass, except 501
        return None
    if code.startswith("KMS."):
        return None if code in _PASSING else _KEY_UNUSABLE
    if code in _DENIED and "to perform: kms:" in words:
        return _KEY_DENIED
    if code in _DENIED and rules.owner is not None:
        return _OR_OWNER
    if any(word in words for word in _CHECKSUM_WORDS):
        return _CHECKSUM
    return _ADVICE.get("501" if status == 501 else code)


def _is_from_s3(error: ClientError) -> bool:
    """Return whether S3 itself seems to have answered: the answer has a code, or headers that S3 sets."""
    code, status = code_of(error), _status(error)
    metadata = error.response.get("ResponseMetadata", {})
    has_code = (bool(code) and not code.isdigit()) or status in _WITHOUT_CODE or status >= 500
    return has_code or bool(metadata.get("RequestId") or metadata.get("HostId"))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
