"""The meaning of errors of Azure Blob Storage: which part is at fault, and whether the same call may succeed later.

Source: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""

from __future__ import annotations

import logging
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from requests.exceptions import SSLError
from urllib3.exceptions import NameResolutionError

from envelope_codec.datastore.azblob_credentials import CredentialsUnavailable, NoKeyGiven
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.azblob")

NO_ANSWER = "the storage account did not answer"
NO_NAME = "the host of the storage account is not known here (DNS)"
NO_TLS = "no trusted TLS connection to the storage account"
NOT_AZURE = "the answer is not one of Azure Storage: a proxy or a gateway before it gave it"
REJECTED = "Azure Storage did not take the credentials: wrong, expired, or of another tenant"
NO_KEY = "no credentials for Azure Storage: the account key's file can't be read, or holds none"
LOCAL = "no credentials for Azure Storage: a server without TLS is sent no token, and no account key is given"
NO_CREDENTIALS = "no Azure token could be had: no credentials were found"
REFUSED = "no Azure token could be had: the token service refused"
UNREACHABLE = "no Azure token could be had: the token service could not be reached"
OUTAGES = (*(NO_ANSWER, NO_NAME, NO_TLS, NOT_AZURE, REJECTED, NO_KEY, LOCAL, NO_CREDENTIALS, REFUSED, UNREACHABLE),)

NO_CONTAINER = "the container does not exist"
NO_ACCOUNT = "the storage account does not exist there, or is disabled"
FORBIDDEN = "permission is missing"
FIREWALL = "permission is missing, or the account's firewall does not let this network in"
NO_KEYS = "the account takes no account keys, but tokens alone"
ARCHIVED = "the payload was moved to the archive tier"
RETAINED = "a policy of immutability, a legal hold or a lease keeps the blob"
INVALID = "the name of the container or the prefix is not valid"
OTHER = "the log has its code"
REFUSALS = (*(NO_CONTAINER, NO_ACCOUNT, FORBIDDEN, FIREWALL, NO_KEYS, ARCHIVED, RETAINED, INVALID, OTHER),)

MISSING = frozenset({"BlobNotFound"})
"""Codes with which Azure says that there is no such blob."""

EXISTS = frozenset({"BlobAlreadyExists", "UnauthorizedBlobOverwrite"})
"""Codes with which Azure says that there is such a blob: the second, to who may create and not overwrite."""

_REJECTED = {
    *("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
    *("AuthorizationProtocolMismatch", "InvalidMd5"),
}
_REASONS = {
    "ContainerNotFound": NO_CONTAINER,
    "ContainerBeingDeleted": NO_CONTAINER,
    "ContainerDisabled": NO_CONTAINER,
    "ResourceNotFound": NO_ACCOUNT,
    "AccountIsDisabled": NO_ACCOUNT,
    "AuthorizationPermissionMismatch": FORBIDDEN,
    "InsufficientAccountPermissions": FORBIDDEN,
    "AuthorizationResourceTypeMismatch": FORBIDDEN,
    "AuthorizationFailure": FIREWALL,
    "AuthorizationSourceIPMismatch": FIREWALL,
    "PublicAccessNotPermitted": FORBIDDEN,
    "KeyBasedAuthenticationNotPermitted": NO_KEYS,
    "BlobArchived": ARCHIVED,
    "BlobBeingRehydrated": ARCHIVED,
    "BlobImmutableDueToPolicy": RETAINED,
    "LeaseIdMissing": RETAINED,
    "SnapshotsPresent": RETAINED,
    "InvalidResourceName": INVALID,
    "InvalidUri": INVALID,
    "OutOfRangeInput": INVALID,
}
_PASSING = frozenset({408, 429})  # and all from 500 on


def translate(error: Exception, operation: str) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its code."""
    if isinstance(error, CredentialsUnavailable):
        _log.debug("Azure Storage %s failed: credentials, %s", operation, type(error.error).__name__)
        return StoreUnavailable(_credentials_reason(error.error), operation=operation)
    _log.debug("Azure Storage %s failed: %s", operation, code_of(error) or type(error).__name__)
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _translate_answer(error, operation)
    if isinstance(error, (ServiceRequestError, ServiceResponseError)):
        return StoreUnavailable(_network_reason(error), operation=operation)
    if isinstance(error, ValueError) and not isinstance(error, AzureError):  # the SDK's own, of a reply
        return StoreUnavailable(NOT_AZURE, operation=operation)
    return StoreUnavailable(NO_ANSWER, operation=operation)


def code_of(error: Exception) -> str:
    """Return the code in an answer of Azure, or "" if there is none."""
    code: Any = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _translate_answer(error: HttpResponseError, operation: str) -> EnvelopeError:
    code, status = code_of(error), int(error.status_code or 0)
    if status in _PASSING or status >= 500:
        return StoreUnavailable(NO_ANSWER, operation=operation)
    if not _is_from_azure(error):
        _log.warning("what answered an Azure Storage %s is something else: HTTP status %d", operation, status)
        return StoreUnavailable(NOT_AZURE, operation=operation)
    if code in _REJECTED or status == 401:
        return StoreUnavailable(REJECTED, operation=operation)
    reason = _REASONS.get(code, OTHER)
    if reason == OTHER:
        _log.warning("Azure Storage refused a %s: code %.64r", operation, code)
    return StoreRefused(f"the container refused: {reason}", operation=operation)


def _is_from_azure(error: HttpResponseError) -> bool:
    """Return whether Azure Storage itself seems to have answered: by headers that it sets."""
    headers: Any = getattr(error.response, "headers", {})
    return "x-ms-request-id" in headers or "x-ms-error-code" in headers


def _network_reason(error: AzureError) -> str:
    inner: Any = error.inner_exception
    if isinstance(inner, SSLError):
        return NO_TLS
    while inner is not None:
        if isinstance(inner, NameResolutionError):
            return NO_NAME
        args = getattr(inner, "args", ())
        following = getattr(inner, "reason", None) or (args[0] if args else None)
        inner = following if isinstance(following, Exception) else None
    return NO_ANSWER


def _credentials_reason(error: Exception) -> str:
    if isinstance(error, ServiceRequestError):
        return UNREACHABLE
    if isinstance(error, AzureError):
        return REFUSED if "AADSTS" in str(error) else NO_CREDENTIALS
    if isinstance(error, NoKeyGiven):
        return LOCAL
    return NO_KEY
