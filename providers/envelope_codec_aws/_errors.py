"""What an error of AWS means: no answer, a refusal, or a bad ciphertext.

The rule behind the tables: a refusal (`KeyDenied`) is AWS's decision about this key or this permission, because it
ends leases and evicts keys at once. Whatever says nothing of the key (who is asking, the way there, the server's
health) is no answer (`KmsUnavailable`): it is retried, and keys at hand serve for the outage grace. Credentials that
can't be had are no answer either, whatever error came up in getting them: see `aws_credentials`. So a code that is
not listed is no answer too: all the ways to revoke a key are listed, and to take a new kind of hiccup for a revocation
would stop every worker, while the reverse mistake is bounded by the grace.

Sources: the errors of https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html, API_Encrypt.html,
API_DescribeKey.html and CommonErrors.html; for custom key stores https://docs.aws.amazon.com/kms/latest/developerguide/xks-troubleshooting.html.
"""

from __future__ import annotations

from traceback import walk_tb
from typing import NamedTuple

from botocore import exceptions as sdk

from envelope_codec._frames import place_of
from envelope_codec.aws.credentials import REASONS, REFUSED, REJECTED, CredentialsUnavailable
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import UNEXPECTED


class _Meaning(NamedTuple):
    kind: type[EnvelopeError]
    reason: str


class Closed(Exception):
    """A call came after the master key was closed."""

    def __init__(self) -> None:
        super().__init__("this master key is closed")


_CLOSED = _Meaning(KmsUnavailable, "this master key is closed")
_THROTTLED = _Meaning(KmsUnavailable, "the KMS throttled the request")
_SERVER_ERROR = _Meaning(KmsUnavailable, "the KMS failed with a server error")
_CREDENTIALS = _Meaning(KmsUnavailable, "AWS did not take the credentials: expired, unknown or wrongly signed")
_TIMED_OUT = _Meaning(KmsUnavailable, "the KMS did not answer in time")
_UNREACHABLE = _Meaning(KmsUnavailable, "the KMS could not be reached")
_TLS = _Meaning(KmsUnavailable, "no trusted TLS connection to the KMS")
_STORE_DOWN = _Meaning(KmsUnavailable, "the key store behind the KMS gave no answer")
_NO_ANSWER = _Meaning(KmsUnavailable, "the KMS gave no usable answer")
_FAULT = _Meaning(KmsUnavailable, UNEXPECTED)

_NOT_PERMITTED = _Meaning(KeyDenied, "permission to use the key is missing")
_DISABLED = _Meaning(KeyDenied, "the key is disabled")
_UNUSABLE = _Meaning(KeyDenied, "the key is pending deletion or otherwise not usable")
_NOT_FOUND = _Meaning(KeyDenied, "the key does not exist")
_WRONG_USAGE = _Meaning(KeyDenied, "the key is not made for encryption and decryption")
_REFUSED_REQUEST = _Meaning(KeyDenied, "the KMS refused the request as invalid")

_BAD_CIPHERTEXT = _Meaning(InvalidCiphertext, "the ciphertext or its context was changed")
_OTHER_KEY = _Meaning(InvalidCiphertext, "the ciphertext was made under another key")
_NO_CIPHERTEXT = _Meaning(InvalidCiphertext, "not a ciphertext of AWS KMS")

_NO_CREDENTIALS = {reason: _Meaning(KmsUnavailable, reason) for reason in REASONS}

_KMS_OPERATIONS = frozenset({"Encrypt", "Decrypt", "DescribeKey"})

_CODES: dict[str, _Meaning] = {
    # Refusals.
    "AccessDeniedException": _NOT_PERMITTED,
    "AccessDenied": _NOT_PERMITTED,
    "NotAuthorized": _NOT_PERMITTED,
    "InvalidGrantTokenException": _NOT_PERMITTED,
    "DisabledException": _DISABLED,
    "NotFoundException": _NOT_FOUND,
    "InvalidArnException": _NOT_FOUND,
    "InvalidKeyUsageException": _WRONG_USAGE,
    "XksKeyNotFoundException": _NOT_FOUND,
    "XksKeyInvalidConfigurationException": _WRONG_USAGE,
    # Somebody disconnected the key store, which is how its owner takes its keys away.
    "CustomKeyStoreInvalidStateException": _UNUSABLE,
    "CustomKeyStoreNotFoundException": _UNUSABLE,
    # About the ciphertext alone, whichever key its bytes claim: nothing against the key that was named.
    "InvalidCiphertextException": _BAD_CIPHERTEXT,
    "IncorrectKeyException": _OTHER_KEY,
    # Throttling. LimitExceeded is a quota on Encrypt and Decrypt, which have no other limit to exceed.
    "ThrottlingException": _THROTTLED,
    "Throttling": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "LimitExceededException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    # Server errors; AWS asks to retry each. KeyUnavailable is a fault of the service, not a state of the key.
    "KMSInternalException": _SERVER_ERROR,
    "DependencyTimeoutException": _SERVER_ERROR,
    "KeyUnavailableException": _SERVER_ERROR,
    "InternalFailure": _SERVER_ERROR,
    "InternalServerError": _SERVER_ERROR,
    "ServiceUnavailable": _SERVER_ERROR,
    "RequestTimeoutException": _TIMED_OUT,
    "RequestAbortedException": _UNREACHABLE,
    # Who is asking is not settled, so the key's policy was never asked.
    **dict.fromkeys(REJECTED, _CREDENTIALS),
    # The key store's cluster or proxy is down. Encrypt and Decrypt report it as KMSInvalidStateException.
    "CloudHsmClusterNotActiveException": _STORE_DOWN,
    "CloudHsmClusterNotFoundException": _STORE_DOWN,
    "XksProxyUriUnreachableException": _STORE_DOWN,
    "XksProxyInvalidResponseException": _STORE_DOWN,
    "XksProxyIncorrectAuthenticationCredentialException": _STORE_DOWN,
    # A dry run neither wraps nor refuses; only a client handed in can ask for one.
    "DryRunOperationException": _NO_ANSWER,
}

_INVALID_REQUEST = frozenset(
    {"ValidationException", "ValidationError", "InvalidParameterValue", "InvalidParameterCombination"}
)

# KMSInvalidStateException is a state of the key (pending deletion or import, key store disconnected), but with a key in
# a custom key store it is also the one code for everything that fails there. Only the text tells them apart; the
# phrases are those that AWS documents. Text that matches none is a refusal.
_INVALID_STATE_PHRASES: tuple[tuple[str, _Meaning], ...] = (
    ("corrupted, missing, or otherwise invalid", _BAD_CIPHERTEXT),
    ("did not respond", _STORE_DOWN),
    ("could not authenticate AWS KMS", _STORE_DOWN),
    ("cannot communicate with the external key store proxy", _STORE_DOWN),
    ("cannot interpret the response from the external key store proxy", _STORE_DOWN),
    ("proxy is in an unhealthy state", _STORE_DOWN),
    ("very high request rate", _THROTTLED),
)

# The first class that fits counts, so a class stands before those that it derives from.
_EXCEPTIONS: tuple[tuple[type[Exception], _Meaning], ...] = (
    (Closed, _CLOSED),
    (sdk.ConnectTimeoutError, _TIMED_OUT),
    (sdk.ReadTimeoutError, _TIMED_OUT),
    (sdk.SSLError, _TLS),
    (sdk.ProxyConnectionError, _UNREACHABLE),
    (sdk.EndpointConnectionError, _UNREACHABLE),
    (sdk.ConnectionClosedError, _UNREACHABLE),
    (sdk.ConnectionError, _UNREACHABLE),
    (sdk.HTTPClientError, _UNREACHABLE),
)

# What these say of is outside this process. Any other class is a fault in it, unless a reply has brought it about.
_OF_THE_SDK = (Closed, sdk.BotoCoreError, sdk.ClientError, OSError)


def translate(error: Exception, *, operation: str, key_id: str) -> EnvelopeError:
    """The library's error for one that came up while boto3 was asked.

    Args:
        error: of any class: botocore lets some pass that are none of its own.
        operation: ``wrap`` or ``unwrap``.
        key_id: the master key concerned.
    """
    meaning = _meaning(error, operation)
    return meaning.kind(meaning.reason, operation=operation, key_id=key_id)


def code(error: Exception) -> str:
    """AWS's error code, or the class of an error that is not AWS's."""
    return _reply(error)[0] if isinstance(error, sdk.ClientError) else type(error).__name__


def describe(error: Exception) -> str:
    """``error`` in one line for a log: key ids and endpoints may be in it, secrets may not."""
    if isinstance(error, CredentialsUnavailable):
        return f"{error.reason}: {error.said}"
    name = code(error)
    if isinstance(error, sdk.ClientError):
        _, status, message = _reply(error)
        request = error.response.get("ResponseMetadata", {}).get("RequestId", "unknown")
        # What follows the first line is the signed request with its session token.
        line = message.partition("\n")[0][:300]
        return f"{error.operation_name}: {name} (HTTP {status}, request id {request}): {line}"
    if type(error) is sdk.HTTPClientError:  # it quotes what it could not use, such as a header with a token
        return f"{name}: {type(error.kwargs.get('error')).__name__}"
    if isinstance(error, tuple(kind for kind, _ in _EXCEPTIONS)):
        return f"{name}: {str(error)[:300]}"
    # Others may quote what they could not use: a parameter, which may be the secret, or a reply's body.
    return name if isinstance(error, _OF_THE_SDK) else place_of(error)


def _meaning(error: Exception, operation: str) -> _Meaning:
    if isinstance(error, CredentialsUnavailable):
        return _NO_CREDENTIALS[error.reason]
    if isinstance(error, sdk.ClientError):
        return _meaning_of_reply(error, operation)
    if isinstance(error, sdk.ParamValidationError):
        return _meaning_of_invalid_request(operation)
    unlisted = _NO_ANSWER if isinstance(error, _OF_THE_SDK) or _is_of_reply(error) else _FAULT
    return next((meaning for kind, meaning in _EXCEPTIONS if isinstance(error, kind)), unlisted)


def _is_of_reply(error: Exception) -> bool:
    """Whether botocore has stumbled, with whatever class, over a reply that no AWS sends."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    return "botocore.parsers" in modules or (bool(modules) and modules[-1].startswith("botocore."))


def _meaning_of_reply(error: sdk.ClientError, operation: str) -> _Meaning:
    name, status, message = _reply(error)
    if error.operation_name not in _KMS_OPERATIONS:
        return _NO_CREDENTIALS[REFUSED]  # of STS or SSO, which say nothing of the key
    if status >= 500:
        return _SERVER_ERROR
    if status == 429:
        return _THROTTLED
    if name == "KMSInvalidStateException":
        return next((meaning for phrase, meaning in _INVALID_STATE_PHRASES if phrase in message), _UNUSABLE)
    if name in _INVALID_REQUEST:
        return _meaning_of_invalid_request(operation)
    return _CODES.get(name, _NO_ANSWER)


def _meaning_of_invalid_request(operation: str) -> _Meaning:
    # All of an unwrap request that varies comes from the record, so the record is bad and the key is not to blame.
    return _NO_CIPHERTEXT if operation == "unwrap" else _REFUSED_REQUEST


def _reply(error: sdk.ClientError) -> tuple[str, int, str]:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(details.get("Code", "")), int(status), str(details.get("Message", ""))
