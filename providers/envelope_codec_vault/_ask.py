"""One question to Vault, with the 403 that it gives for bad tokens and for missing permission told apart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import hvac
from hvac import exceptions as sdk

from envelope_codec.errors import KmsUnavailable
from envelope_codec_vault._failure import (
    CREDENTIALS,
    NO_ANSWER,
    NOT_PERMITTED,
    Failed,
    describe,
    is_from_vault,
    is_policy_refusal,
    meaning_of,
)
from envelope_codec_vault._session import Session, Sessions

_log = logging.getLogger("envelope_codec.vault")

Question = Callable[[hvac.Client], Any]


class _BadToken(Exception):
    """Vault does not know the session's token (any more)."""


def ask(sessions: Sessions, operation: str, question: Question) -> Any:
    """Vault's reply, as hvac gives it; with a bad token, after one new login and one more try.

    Raises:
        Failed: with what the failure means.
    """
    session = sessions.current()
    try:
        return _answer(session, operation, question)
    except _BadToken:
        pass
    session = sessions.replacement(session)
    try:
        return _answer(session, operation, question)
    except _BadToken:
        # Just logged in, so no reason to do it again: a token may need a moment to reach the node that we ask.
        raise Failed(CREDENTIALS) from None


def _answer(session: Session, operation: str, question: Question) -> Any:
    try:
        return question(session.client)
    except sdk.Forbidden as error:
        _log.warning("Vault refused to %s: %s", operation, describe(error))
        vault_refused = is_from_vault(error)
    except Exception as error:
        _log.warning("Vault failed to %s: %s", operation, describe(error))
        raise Failed(meaning_of(error, operation=operation)) from None
    if not vault_refused:
        raise Failed(NO_ANSWER)
    if _is_good(session, operation):
        raise Failed(NOT_PERMITTED)
    raise _BadToken


def _is_good(session: Session, operation: str) -> bool:
    """Whether Vault knows the session's token.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
    """
    try:
        session.client.auth.token.lookup_self()
    except sdk.Forbidden as error:
        _log.warning("Vault refused to look up our token: %s", describe(error))
        if not is_from_vault(error):
            raise Failed(NO_ANSWER) from None
        return is_policy_refusal(error)
    except Exception as error:
        _log.warning("Vault failed to look up our token: %s", describe(error))
        meaning = meaning_of(error, operation=operation)
        raise Failed(meaning if meaning.kind is KmsUnavailable else NO_ANSWER) from None
    return True
