"""What an error of hvac or requests means: no answer, a refusal, or a bad ciphertext.

The rule behind the tables: `KeyDenied` is Vault's own decision about this key or this permission, because it ends
leases and evicts keys at once. Who is asking, the way there and the server's health say nothing of the key: that is
no answer (`KmsUnavailable`), which is retried while keys at hand serve for the outage grace.

Vault has a status per kind of failure (https://developer.hashicorp.com/vault/api-docs#http-status-codes) but puts most
of what Transit refuses under 400, so the texts below tell them apart. They stand in Vault's
``sdk/helper/keysutil/policy.go`` and ``builtin/logical/transit``, and OpenBao has the same.
"""

from __future__ import annotations

from traceback import walk_tb
from typing import NamedTuple

import requests
from hvac import exceptions as sdk

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.frames import place_of
from envelope_codec.provider import UNEXPECTED

WRAP = "wrap"
UNWRAP = "unwrap"


class Meaning(NamedTuple):
    """One of the library's errors, before it is raised: a class and its fixed reason."""

    kind: type[EnvelopeError]
    reason: str


class Failed(Exception):
    """Carries a `Meaning` to `VaultTransit`, which raises it without the SDK's exception in its context."""

    def __init__(self, meaning: Meaning) -> None:
        super().__init__(meaning.reason)
        self.meaning = meaning


class RedirectRefused(requests.RequestException):
    """Vault answered with a redirect to another origin."""


CREDENTIALS = Meaning(KmsUnavailable, "the KMS did not take the credentials: expired, revoked or unknown")
UNREADABLE = Meaning(KmsUnavailable, "a file with credentials for the KMS could not be read")
LOGIN_FAILED = Meaning(KmsUnavailable, "no login to the KMS")
LOGIN_REFUSED = Meaning(KmsUnavailable, "the KMS refused the login")
LOGIN_LOCKED = Meaning(KmsUnavailable, "the KMS refused the login, as it does while a role is locked")
NO_ANSWER = Meaning(KmsUnavailable, "the KMS gave no usable answer")
FAULT = Meaning(KmsUnavailable, UNEXPECTED)
CLOSED = Meaning(KmsUnavailable, "this master key is closed")
NOT_PERMITTED = Meaning(KeyDenied, "permission to use the key is missing")
OTHER_NAMESPACE = Meaning(KeyDenied, "the token is of another namespace than the key, and may not use it")
POLICY_ALLOWS = Meaning(KeyDenied, "the KMS refused, though the token's policies name the key's path")
NOT_TRANSIT = Meaning(KeyDenied, "the mount is not a Transit engine")
BAD_CIPHERTEXT = Meaning(InvalidCiphertext, "the ciphertext or its context was changed")
NO_CIPHERTEXT = Meaning(InvalidCiphertext, "not a ciphertext of Vault Transit")
OTHER_VERSION = Meaning(InvalidCiphertext, "the ciphertext is of another key version than recorded")

_THROTTLED = Meaning(KmsUnavailable, "the KMS throttled the request")
_SERVER_ERROR = Meaning(KmsUnavailable, "the KMS failed with a server error")
_SEALED = Meaning(KmsUnavailable, "the KMS is sealed, not initialized or in maintenance")
_TIMED_OUT = Meaning(KmsUnavailable, "the KMS did not answer in time")
_UNREACHABLE = Meaning(KmsUnavailable, "the KMS could not be reached")
_TLS = Meaning(KmsUnavailable, "no trusted TLS connection to the KMS")
_REDIRECT = Meaning(KmsUnavailable, "the KMS redirected to another origin")

_NOT_FOUND = Meaning(KeyDenied, "the key does not exist")
_NO_MOUNT = Meaning(KeyDenied, "the key's mount or namespace does not exist")
_DELETED = Meaning(KeyDenied, "the key is deleted")
_VERSION_DENIED = Meaning(KeyDenied, "the key version is no longer allowed to decrypt")
_WRONG_KIND = Meaning(KeyDenied, "keys of this type can't bind a context: use aes256-gcm96 or chacha20-poly1305")
_DERIVED = Meaning(KeyDenied, "derived and convergent keys can't be used: use one without derivation")
_REFUSED = Meaning(KeyDenied, "the KMS refused the request as invalid")
_NO_SUCH_VERSION = Meaning(InvalidCiphertext, "the ciphertext names a key version that does not exist")

ABSENT_KEY_TYPE = "must-already-exist"
"""Sent as the type of the key to create if there is none. No such type exists, so Vault refuses instead of creating."""

# A text matches if it holds the phrase. Of a 400 that matches none, the operation decides: see `_of_bad_request`.
_BAD_REQUESTS: tuple[tuple[str, Meaning], ...] = (
    (": message authentication failed", BAD_CIPHERTEXT),
    # A lagging replica says the same of a version made a moment ago elsewhere. Yet the number is the ciphertext's own
    # claim, so whoever can change it must not be able to make readers wait for it.
    ("invalid ciphertext: version is too new", _NO_SUCH_VERSION),
    ("ciphertext or signature version is disallowed by policy (too old)", _VERSION_DENIED),
    ("encryption key not found", _NOT_FOUND),
    (f"unknown key type {ABSENT_KEY_TYPE}", _NOT_FOUND),
    ("refusing to use soft-deleted key", _DELETED),
    ("provided for non-AEAD cipher suite", _WRONG_KIND),
    ("encryption not supported for key type", _WRONG_KIND),
    ("decryption not supported for key type", _WRONG_KIND),
    ("missing 'context' for key derivation", _DERIVED),
    # Vault's word for a request without any token.
    ("missing client token", CREDENTIALS),
)

# A 404 also comes from gateways that lost their route, so only Vault's own words count as a refusal.
_MISSING: tuple[str, ...] = ("no handler for route", "namespace not found", "unsupported path")

_READERS = ("hvac.adapters", "hvac.utils")

# The first class that fits counts, so a class stands before those that it derives from.
_CLASSES: tuple[tuple[type[Exception], Meaning], ...] = (
    (sdk.RateLimitExceeded, _THROTTLED),
    (sdk.InternalServerError, _SERVER_ERROR),
    (sdk.BadGateway, _SERVER_ERROR),
    (sdk.VaultNotInitialized, _SEALED),
    (sdk.VaultDown, _SEALED),
    (RedirectRefused, _REDIRECT),
    (requests.Timeout, _TIMED_OUT),
    (requests.exceptions.SSLError, _TLS),
    (requests.ConnectionError, _UNREACHABLE),
    (requests.RequestException, _UNREACHABLE),
    # Files: a CA bundle that went away.
    (OSError, _UNREACHABLE),
)


def meaning_of(error: Exception, *, operation: str) -> Meaning:
    """What ``error`` says about the key.

    Args:
        error: of any class, as hvac stumbles over replies that no Vault sends.
        operation: `WRAP` or `UNWRAP`.
    """
    if isinstance(error, sdk.InvalidRequest):
        return _of_bad_request(_words(error), operation)
    if isinstance(error, sdk.InvalidPath):
        words = _words(error)
        return _NO_MOUNT if any(phrase in words for phrase in _MISSING) else NO_ANSWER
    # Unlisted classes are no answer: 401 is a gateway's, 412 asks to wait for replication, 403 is for the caller.
    unlisted = NO_ANSWER if isinstance(error, sdk.VaultError) or _is_of_reply(error) else FAULT
    return next((meaning for kind, meaning in _CLASSES if isinstance(error, kind)), unlisted)


def is_policy_refusal(error: sdk.Forbidden) -> bool:
    """Whether a 403 proves that the token is good, and only its policies refuse.

    Of a bad token Vault says "invalid token" as well, and OpenBao says a bare "permission denied"
    (https://developer.hashicorp.com/vault/docs/concepts/tokens).
    """
    return error.errors == ["1 error occurred:\n\t* permission denied\n\n"]


def is_from_vault(error: sdk.VaultError) -> bool:
    """Whether the reply is in Vault's own form, and not that of a gateway before it."""
    return isinstance(error.errors, list) and bool(error.errors)


def describe(error: Exception) -> str:
    """``error`` in one line for a log: key ids and addresses may be in it, tokens and secrets may not."""
    name = type(error).__name__
    if isinstance(error, sdk.VaultError):
        # A reply that is not Vault's is left out: gateways' error pages may quote the request, token and all.
        return f"{name}: {_words(error)[:300] or 'not a reply of Vault'} ({error.method} {error.url})"
    if isinstance(error, (requests.ConnectionError, requests.Timeout, RedirectRefused)):
        return f"{name}: {str(error)[:300]}"
    # Others may quote what they could not use, such as a header's value.
    return name if isinstance(error, (requests.RequestException, OSError)) else place_of(error)


def _is_of_reply(error: Exception) -> bool:
    """Whether hvac has stumbled over a reply that no Vault sends, with whatever class."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__") in _READERS


def _of_bad_request(words: str, operation: str) -> Meaning:
    if not words:
        # Not Vault's: its web server says so of plain HTTP on a TLS port, gateways of much else.
        return NO_ANSWER
    for phrase, meaning in _BAD_REQUESTS:
        if phrase in words:
            return meaning
    # To unwrap is to send what somebody stored, so an unknown complaint is about that. What wrap sends is always
    # well-formed: there it is about the key.
    return BAD_CIPHERTEXT if operation == UNWRAP else _REFUSED


def _words(error: sdk.VaultError) -> str:
    return ", ".join(str(text) for text in error.errors or ()) if is_from_vault(error) else ""
