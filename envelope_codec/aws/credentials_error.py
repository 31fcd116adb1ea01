"""The error for AWS credentials that could not be had, and the meanings of botocore's errors."""

from __future__ import annotations

import re
from typing import Any

from botocore import exceptions as sdk

from envelope_codec.aws.meanings import (
    BROKEN,
    NO_CONFIGURATION,
    NO_LOGIN,
    NO_ROLE,
    NO_TOKEN_REGION,
    NOT_FOUND,
    REFUSED,
    SESSION_OVER,
    SILENT,
    UNREACHABLE,
)
from envelope_codec.provider import Meaning

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
"""Codes with which a service says that it does not take the credentials.

The service does not know who asks then, so it has decided nothing about the key or the bucket. These codes also come up
while credentials are rotated, while new ones spread in IAM, and when a clock is wrong.
"""


def _classes(*names: str) -> tuple[type[Exception], ...]:
    """Return botocore's classes of these names. Some supported versions of botocore lack some of them."""
    return tuple(getattr(sdk, name) for name in names if hasattr(sdk, name))


_CONFIGURATION = _classes(
    *("ProfileNotFound", "ConfigNotFound", "ConfigParseError", "InvalidConfigError", "PartialCredentialsError"),
    *("UnknownCredentialError", "UnknownTokenProviderError", "RefreshWithMFAUnsupportedError"),
    *("MissingDependencyException", "InvalidIMDSEndpointError", "InvalidIMDSEndpointModeError", "NoRegionError"),
    "EndpointProviderError",
)
_LOGINS = _classes("SSOError", "LoginError", "TokenRetrievalError", "NoAuthTokenError")
_TIMEOUTS = (sdk.ConnectTimeoutError, sdk.ReadTimeoutError)
_NETWORK = (sdk.ConnectionError, sdk.HTTPClientError, sdk.MetadataRetrievalError)
# The texts of these hold no secret.
_HARMLESS: tuple[type[Exception], ...] = (sdk.NoCredentialsError, *_CONFIGURATION, *_NETWORK, *_LOGINS)
# The texts of these repeat what a credential process wrote, or the body of a reply. Only `_OWN_WORDS` are botocore's.
_QUOTING: tuple[type[Any], ...] = (sdk.CredentialRetrievalError, sdk.MetadataRetrievalError)
_OWN_WORDS = re.compile(
    r"Received non 200 response \d{3} from container metadata|Unable to parse JSON returned from container metadata"
    r"|Received error when attempting to retrieve container metadata|Unsupported version|IMDSv1 has been disabled"
    r"|Missing required key in response: '\w{1,40}'|response did not contain: [\w, ]{1,100}"
    r"|No credentials found in credential_source"
)

# The first row whose classes fit counts. Errors of the token service have a function of their own.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Meaning], ...] = (
    ((sdk.NoCredentialsError,), NOT_FOUND),
    (_CONFIGURATION, NO_CONFIGURATION),
    (_LOGINS, NO_LOGIN),
    (_TIMEOUTS, SILENT),
    (_NETWORK, UNREACHABLE),
)


class CredentialsUnavailable(Exception):
    """Credentials could not be had. That is an outage: it says nothing of a key, a bucket or a permission.

    Attributes:
        meaning: one of `envelope_codec.aws.meanings.CREDENTIALS`.
        said: what came up, in one line for a log.
    """

    def __init__(self, meaning: Meaning, said: str) -> None:
        super().__init__(meaning.text)
        self.meaning = meaning
        self.said = said

    @classmethod
    def of(cls, error: Exception) -> CredentialsUnavailable:
        """Make the error for what came up while credentials were looked for or renewed.

        ``error`` is of any class. It is not kept.
        """
        if isinstance(error, cls):
            return cls(error.meaning, error.said)
        return cls(_find_meaning(error), describe(error))


def describe(error: Exception) -> str:
    """Return ``error`` in one line for a log. Names of files, hosts and roles may be in it, secrets may not."""
    name = type(error).__name__
    if isinstance(error, sdk.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return f"{error.operation_name}: {code:.64}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror} ({error.filename})"
    if type(error) is sdk.HTTPClientError:  # its text quotes what it could not use, such as a header with a token
        return f"{name}: {type(error.kwargs.get('error')).__name__}"
    if isinstance(error, _QUOTING):
        found = _OWN_WORDS.search(str(error))
        source = str(getattr(error, "kwargs", {}).get("provider") or "the metadata service")
        return f"{name}: {source:.64}: {found.group() if found else 'what it says may hold secrets, and is left out'}"
    if isinstance(error, _HARMLESS):
        return f"{name}: {str(error).partition(chr(10))[0][:300]}"
    return name  # other texts may quote a token, or a reply's body


def _find_meaning(error: Exception) -> Meaning:
    if isinstance(error, sdk.ClientError):
        return _find_token_service_meaning(error)
    return next((meaning for classes, meaning in _MEANINGS if isinstance(error, classes)), BROKEN)


def _find_token_service_meaning(error: sdk.ClientError) -> Meaning:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500 or status == 429:
        return BROKEN
    code, operation = str(error.response.get("Error", {}).get("Code", "")), error.operation_name
    if operation == "AssumeRole" and code in REJECTED:
        return SESSION_OVER
    if code == "RegionDisabledException":
        return NO_TOKEN_REGION
    return NO_ROLE if code.startswith("AccessDenied") and operation.startswith("AssumeRole") else REFUSED
