"""What an error of AWS means: no answer, a refusal, or a bad ciphertext.

The rule behind the tables: a refusal (`KeyDenied`) is AWS's decision about this key or this permission, because it
ends leases and evicts keys at once. Whatever says nothing of the key (who is asking, the way there, the server's
health) is no answer (`KmsUnavailable`): it is retried, and keys at hand serve for the outage grace. Credentials that
can't be had are no answer either, whatever error came up in getting them: see `envelope_codec.aws`. So a code that is
not listed is no answer too: all the ways to revoke a key are listed, and to take a new kind of hiccup for a revocation
would stop every worker, while the reverse mistake is bounded by the grace.

Sources: the errors of https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html, API_Encrypt.html,
API_DescribeKey.html and CommonErrors.html; for custom key stores https://docs.aws.amazon.com/kms/latest/developerguide/xks-troubleshooting.html.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from botocore import exceptions as sdk

from envelope_codec.aws.credentials_error import REJECTED, CredentialsUnavailable
from envelope_codec.aws.meanings import REFUSED as ROLE_REFUSED
from envelope_codec.provider import ErrorTable, Meaning, Row, meanings, quote
from envelope_codec_aws import _hints as hints

_KMS_OPERATIONS = frozenset({"Encrypt", "Decrypt", "ReEncrypt", "DescribeKey", "GetKeyLastUsage"})

_CODES: dict[str, Meaning] = {
    # Refusals.
    "AccessDeniedException": hints.NOT_PERMITTED,
    "AccessDenied": hints.NOT_PERMITTED,
    "NotAuthorized": hints.NOT_PERMITTED,
    "InvalidGrantTokenException": hints.NOT_PERMITTED,
    "DisabledException": hints.DISABLED,
    "NotFoundException": hints.NOT_FOUND,
    "InvalidArnException": hints.NOT_FOUND,
    "InvalidKeyUsageException": hints.WRONG_USAGE,
    "XksKeyNotFoundException": hints.NOT_FOUND,
    "XksKeyInvalidConfigurationException": hints.WRONG_USAGE,
    # Somebody disconnected the key store, which is how its owner takes its keys away.
    "CustomKeyStoreInvalidStateException": hints.UNUSABLE,
    "CustomKeyStoreNotFoundException": hints.UNUSABLE,
    # About the ciphertext alone, whichever key its bytes claim: nothing against the key that was named.
    "InvalidCiphertextException": meanings.BAD_CIPHERTEXT,
    "IncorrectKeyException": hints.OTHER_KEY_MADE_IT,
    # Throttling. LimitExceeded is a quota on Encrypt and Decrypt, which have no other limit to exceed.
    "ThrottlingException": hints.THROTTLED,
    "Throttling": hints.THROTTLED,
    "RequestLimitExceeded": hints.THROTTLED,
    "LimitExceededException": hints.THROTTLED,
    "TooManyRequestsException": hints.THROTTLED,
    # Server errors; AWS asks to retry each. KeyUnavailable is a fault of the service, not a state of the key.
    "KMSInternalException": meanings.SERVER_ERROR,
    "DependencyTimeoutException": meanings.SERVER_ERROR,
    "KeyUnavailableException": meanings.SERVER_ERROR,
    "InternalFailure": meanings.SERVER_ERROR,
    "InternalServerError": meanings.SERVER_ERROR,
    "ServiceUnavailable": meanings.SERVER_ERROR,
    "RequestTimeoutException": hints.TIMED_OUT,
    "RequestAbortedException": hints.UNREACHABLE,
    # Who is asking is not settled, so the key's policy was never asked.
    **dict.fromkeys(REJECTED, hints.CREDENTIALS_REJECTED),
    # The key store's cluster or proxy is down. Encrypt and Decrypt report it as KMSInvalidStateException.
    "CloudHsmClusterNotActiveException": hints.STORE_DOWN,
    "CloudHsmClusterNotFoundException": hints.STORE_DOWN,
    "XksProxyUriUnreachableException": hints.STORE_DOWN,
    "XksProxyInvalidResponseException": hints.STORE_DOWN,
    "XksProxyIncorrectAuthenticationCredentialException": hints.STORE_DOWN,
    # A dry run neither wraps nor refuses; only a client handed in can ask for one.
    "DryRunOperationException": meanings.NO_ANSWER,
}

_INVALID_REQUEST = frozenset(
    {"ValidationException", "ValidationError", "InvalidParameterValue", "InvalidParameterCombination"}
)

# KMSInvalidStateException is a state of the key (pending deletion or import, key store disconnected), but with a key in
# a custom key store it is also the one code for everything that fails there. Only the text tells them apart; the
# phrases are those that AWS documents. Text that matches none is a refusal.
_INVALID_STATE_PHRASES: tuple[tuple[str, Meaning], ...] = (
    ("corrupted, missing, or otherwise invalid", meanings.BAD_CIPHERTEXT),
    ("did not respond", hints.STORE_DOWN),
    ("could not authenticate AWS KMS", hints.STORE_DOWN),
    ("cannot communicate with the external key store proxy", hints.STORE_DOWN),
    ("cannot interpret the response from the external key store proxy", hints.STORE_DOWN),
    ("proxy is in an unhealthy state", hints.STORE_DOWN),
    ("very high request rate", hints.THROTTLED),
)


def code_of(error: BaseException) -> str:
    """Give AWS's error code, or the class of an error that is not AWS's."""
    return _reply(error)[0] if isinstance(error, sdk.ClientError) else type(error).__name__


def _meaning_of_reply(error: sdk.ClientError, operation: str) -> Meaning:
    name, status, message = _reply(error)
    if error.operation_name not in _KMS_OPERATIONS:
        return ROLE_REFUSED  # of STS or SSO, which say nothing of the key
    if status >= 500:
        return meanings.SERVER_ERROR
    if status == 429:
        return hints.THROTTLED
    if name == "KMSInvalidStateException":
        return next((meaning for phrase, meaning in _INVALID_STATE_PHRASES if phrase in message), hints.UNUSABLE)
    if name in _INVALID_REQUEST:
        return _meaning_of_invalid_request(error, operation)
    return _CODES.get(name, meanings.NO_ANSWER)


def _meaning_of_invalid_request(_: Exception, operation: str) -> Meaning:
    # All of an unwrap request that varies comes from the record, so the record is bad and the key is not to blame.
    return hints.NO_CIPHERTEXT if operation == "unwrap" else hints.REFUSED


def _reply(error: sdk.ClientError) -> tuple[str, int, str]:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(details.get("Code", "")), int(status), str(details.get("Message", ""))


def _describe_reply(error: sdk.ClientError) -> str:
    name, status, message = _reply(error)
    request = error.response.get("ResponseMetadata", {}).get("RequestId", "unknown")
    # What follows the first line is the signed request with its session token.
    line = message.partition("\n")[0][:300]
    return f"{error.operation_name}: {name} (HTTP {status}, request id {request}): {line}"


def _describe_http(error: sdk.HTTPClientError) -> str:
    if type(error) is sdk.HTTPClientError:  # it quotes what it could not use, such as a header with a token
        return f"{type(error).__name__}: {type(error.kwargs.get('error')).__name__}"
    return quote(error)


def _is_of_reply(modules: Sequence[str]) -> bool:
    """Whether botocore has stumbled, with whatever class, over a reply that no AWS sends."""
    return "botocore.parsers" in modules or modules[-1].startswith("botocore.")


ERRORS = ErrorTable(
    logging.getLogger("envelope_codec.aws"),
    (
        Row(
            CredentialsUnavailable,
            lambda error, _: error.meaning,
            lambda error: f"{error.meaning.text}: {error.said}",
        ),
        Row(sdk.ClientError, _meaning_of_reply, _describe_reply),
        Row(sdk.ParamValidationError, _meaning_of_invalid_request),  # its text may quote the secret
        Row((sdk.ConnectTimeoutError, sdk.ReadTimeoutError), hints.TIMED_OUT, quote),
        Row(sdk.SSLError, meanings.NO_TLS, quote),
        Row(sdk.ConnectionError, hints.UNREACHABLE, quote),
        Row(sdk.HTTPClientError, hints.UNREACHABLE, _describe_http),
        # What these tell of is outside this process. Any other class is a fault in it, unless a reply caused it.
        Row((sdk.BotoCoreError, OSError), meanings.NO_ANSWER),
    ),
    is_of_reply=_is_of_reply,
)
