"""What an error of hvac or requests means: no answer, a refusal, or a bad ciphertext.

The rule behind the tables: `KeyDenied` is Vault's own decision about this key or this permission, because it ends
leases and evicts keys at once. Who is asking, the way there and the server's health say nothing of the key: that is
no answer (`KmsUnavailable`), which is retried while keys at hand serve for the outage grace.

Vault has a status per kind of failure (https://developer.hashicorp.com/vault/api-docs#http-status-codes) but puts most
of what Transit refuses under 400, so the texts below tell them apart. They stand in Vault's
``sdk/helper/keysutil/policy.go`` and ``builtin/logical/transit``, and OpenBao has the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import requests
from hvac import exceptions as sdk

from envelope_codec.provider import ErrorTable, Meaning, Row, meanings, quote
from envelope_codec_vault import _hints as hints
from envelope_codec_vault._adapter import SocketForbidden, SocketMissing

WRAP = "wrap"
UNWRAP = "unwrap"

ABSENT_KEY_TYPE = "must-already-exist"
"""Sent as the type of the key to create if there is none. No such type exists, so Vault refuses instead of creating."""

# A text matches if it holds the phrase. Of a 400 that matches none, the operation decides.
_BAD_REQUESTS: tuple[tuple[str, Meaning], ...] = (
    (": message authentication failed", meanings.BAD_CIPHERTEXT),
    # A lagging replica says the same of a version made a moment ago elsewhere. Yet the number is the ciphertext's own
    # claim, so whoever can change it must not be able to make readers wait for it.
    ("invalid ciphertext: version is too new", hints.NO_SUCH_VERSION),
    ("ciphertext or signature version is disallowed by policy (too old)", hints.VERSION_DENIED),
    ("encryption key not found", hints.NOT_FOUND),
    (f"unknown key type {ABSENT_KEY_TYPE}", hints.NOT_FOUND),
    ("refusing to use soft-deleted key", hints.DELETED),
    ("provided for non-AEAD cipher suite", hints.WRONG_TYPE),
    ("encryption not supported for key type", hints.WRONG_TYPE),
    ("decryption not supported for key type", hints.WRONG_TYPE),
    ("missing 'context' for key derivation", hints.DERIVED),
    # Vault's word for a request without any token.
    ("missing client token", hints.CREDENTIALS),
)

# A 404 also comes from gateways that lost their route, so only Vault's own words count as a refusal.
_MISSING: tuple[str, ...] = ("no handler for route", "namespace not found", "unsupported path")

_READERS = ("hvac.adapters", "hvac.utils")


class RedirectRefused(requests.RequestException):
    """Vault answered with a redirect to another origin."""


def is_policy_refusal(error: sdk.Forbidden) -> bool:
    """Whether a 403 proves that the token is good, and only its policies refuse.

    Of a bad token Vault says "invalid token" as well, and OpenBao says a bare "permission denied"
    (https://developer.hashicorp.com/vault/docs/concepts/tokens).
    """
    return error.errors == ["1 error occurred:\n\t* permission denied\n\n"]


def is_from_vault(error: sdk.VaultError) -> bool:
    """Whether the reply is in Vault's own form, and not that of a gateway before it."""
    return isinstance(error.errors, list) and bool(error.errors)


def _meaning_of_bad_request(error: sdk.InvalidRequest, operation: str) -> Meaning:
    words = _words(error)
    if not words:
        # Not Vault's: its web server says so of plain HTTP on a TLS port, gateways of much else.
        return meanings.NO_ANSWER
    for phrase, meaning in _BAD_REQUESTS:
        if phrase in words:
            return meaning
    # To unwrap is to send what somebody stored, so an unknown complaint is about that. What wrap sends is always
    # well-formed: there it is about the key.
    return meanings.BAD_CIPHERTEXT if operation == UNWRAP else hints.REFUSED


def _meaning_of_missing(error: sdk.InvalidPath, _: str) -> Meaning:
    words = _words(error)
    return hints.NO_MOUNT if any(phrase in words for phrase in _MISSING) else meanings.NO_ANSWER


def _words(error: sdk.VaultError) -> str:
    return ", ".join(str(text) for text in error.errors or ()) if is_from_vault(error) else ""


def _describe(error: sdk.VaultError) -> str:
    # A reply that is not Vault's is left out: gateways' error pages may quote the request, token and all.
    words = _words(error)[:300] or "not a reply of Vault"
    return f"{type(error).__name__}: {words} ({error.method} {error.url})"


def _is_of_reply(modules: Sequence[str]) -> bool:
    """Whether hvac has stumbled over a reply that no Vault sends, with whatever class."""
    return modules[-1] in _READERS


# The text of a class without `quote` may repeat what it could not use, such as a header's value.
ERRORS = ErrorTable(
    logging.getLogger("envelope_codec.vault"),
    (
        Row(sdk.InvalidRequest, _meaning_of_bad_request, _describe),
        Row(sdk.InvalidPath, _meaning_of_missing, _describe),
        Row(sdk.RateLimitExceeded, hints.THROTTLED, _describe),
        Row((sdk.InternalServerError, sdk.BadGateway), meanings.SERVER_ERROR, _describe),
        Row((sdk.VaultNotInitialized, sdk.VaultDown), hints.SEALED, _describe),
        # The others say nothing: 401 is a gateway's, 412 asks to wait for replication, 403 is for the caller.
        Row(sdk.VaultError, meanings.NO_ANSWER, _describe),
        Row(RedirectRefused, hints.REDIRECT, quote),
        Row(SocketMissing, hints.SOCKET_MISSING),
        Row(SocketForbidden, hints.SOCKET_FORBIDDEN),
        Row(requests.Timeout, meanings.TIMED_OUT, quote),
        Row(requests.exceptions.SSLError, hints.NO_TLS, quote),
        Row(requests.ConnectionError, hints.UNREACHABLE, quote),
        # Files too: a CA bundle that went away.
        Row((requests.RequestException, OSError), hints.UNREACHABLE),
    ),
    is_of_reply=_is_of_reply,
)
