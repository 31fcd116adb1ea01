"""What a reply of Key Vault, or an error of its SDK, means: an outage, a refusal, or a ciphertext that does not open.

An outage must not pass for a refusal: `KeyDenied` ends leases, while `KmsUnavailable` lets the keyring go on for a
while with what it has. So what is not known to come from a vault is `KmsUnavailable`.

The meaning goes by the call: what the credential raises says nothing about the key, whatever its class.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from azure.core import exceptions as sdk
from requests.exceptions import SSLError

from envelope_codec.provider import ErrorTable, Meaning, Row, meanings, quote
from envelope_codec_azure import _hints as hints
from envelope_codec_azure._hints import (
    DISABLED,
    EXPIRED,
    FORBIDDEN,
    NETWORK_FORBIDDEN,
    NOT_FOUND,
    NOT_PERMITTED,
    WRONG_USAGE,
)

UNWRAPS = frozenset({"unwrapkey", "decrypt"})
"""Operations whose only part that can be wrong is the ciphertext."""

# https://learn.microsoft.com/azure/key-vault/general/common-error-codes
_BY_INNER_CODE: Mapping[str, Meaning] = {
    "KeyDisabled": DISABLED,
    "KeyExpired": EXPIRED,
    "KeyNotYetValid": EXPIRED,
    "KeyOperationForbidden": WRONG_USAGE,
    "AccessDenied": NOT_PERMITTED,
    "ForbiddenByPolicy": NOT_PERMITTED,
    "ForbiddenByRbac": NOT_PERMITTED,
    "ForbiddenByFirewall": NETWORK_FORBIDDEN,
    "ForbiddenByConnection": NETWORK_FORBIDDEN,
    "": NOT_PERMITTED,
}


# Packages that read replies. What fails in them, with whatever class, is a reply that no vault sends.
_READERS = frozenset({"azure", "encodings", "json", "msal", "requests", "urllib3"})


class VaultRefused(Exception):
    """A reply that is not a success.

    Args:
        status: of HTTP.
        code: the error's code, or None if the reply is not one of Key Vault.
        inner: code of the inner error; empty without one.
        text: Key Vault's own words, for the log.
        work: the operation asked for, such as ``unwrapkey`` or ``get``.
        signing: whether it was asked of a signing key.
    """

    def __init__(self, status: int, code: str | None, inner: str, text: str, *, work: str, signing: bool) -> None:
        words = f"{work}{' of the signing key' if signing else ''}: {status} {code} {inner} {text}"
        # One line, whatever the reply says.
        super().__init__(" ".join("".join(c if c.isprintable() else " " for c in words).split()))
        self.status = status
        self.code = code
        self.inner = inner
        self.work = work
        self.signing = signing


class NoCredentials(Exception):
    """No token could be had. The text is the class of what the credential raised."""


def _meaning_of_reply(error: VaultRefused, operation: str) -> Meaning:
    meaning = _meaning_of_status(error, operation)
    return hints.OF_SIGNING_KEY.get(meaning.code, meaning) if error.signing else meaning


def _meaning_of_status(error: VaultRefused, operation: str) -> Meaning:
    status = error.status
    if status == 429:
        return hints.THROTTLED
    if status in (408, 504):
        return meanings.TIMED_OUT
    if status >= 500:
        return meanings.SERVER_ERROR
    if error.code is None:
        return meanings.NO_ANSWER
    return _meaning_of_refusal(error, operation)


def _meaning_of_refusal(error: VaultRefused, operation: str) -> Meaning:
    if error.status == 401:
        return hints.CREDENTIALS_REJECTED
    if error.status == 403:
        return _BY_INNER_CODE.get(error.inner, FORBIDDEN)
    if error.status == 404:
        return NOT_FOUND
    if error.status == 400 and error.work in UNWRAPS:
        return meanings.BAD_CIPHERTEXT
    if error.status == 400 and operation == "wrap":
        return meanings.REFUSED
    return meanings.NO_ANSWER


def _meaning_of_request(error: Any, operation: str) -> Meaning:
    """Tell a connection that is not trusted from one that is not there."""
    return meanings.NO_TLS if isinstance(error.inner_exception, SSLError) else meanings.UNREACHABLE


ERRORS = ErrorTable(
    logging.getLogger("envelope_codec.azure"),
    (
        Row(VaultRefused, _meaning_of_reply, words=quote),
        Row((NoCredentials, sdk.ClientAuthenticationError), hints.NO_CREDENTIALS, words=quote),
        Row((sdk.ServiceRequestTimeoutError, sdk.ServiceResponseTimeoutError), meanings.TIMED_OUT),
        Row(sdk.ServiceRequestError, _meaning_of_request),
        Row(sdk.ServiceResponseError, meanings.UNREACHABLE),
        # The text of the others may quote a reply, and with it the secret.
        Row(sdk.AzureError, meanings.NO_ANSWER),
        Row(OSError, meanings.UNREACHABLE),
    ),
    is_of_reply=lambda modules: modules[-1].partition(".")[0] in _READERS,
)
"""Of the SDK's classes; the connection's own failures come as `ServiceRequestError` and `ServiceResponseError`."""
