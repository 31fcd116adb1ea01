"""One question to Vault, with the 403 that it gives for bad tokens and for missing permission told apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import hvac
from hvac import exceptions as sdk

from envelope_codec.errors import KmsUnavailable
from envelope_codec_vault._failure import (
    CREDENTIALS,
    NO_ANSWER,
    NOT_PERMITTED,
    OTHER_NAMESPACE,
    POLICY_ALLOWS,
    Failed,
    Meaning,
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


def ask(sessions: Sessions, operation: str, path: str, question: Question) -> Any:
    """Vault's reply, as hvac gives it; with a bad token, after one new login and one more try.

    Args:
        sessions: where a token comes from.
        operation: `WRAP` or `UNWRAP`.
        path: what the question is for, as policies name it.
        question: the request.

    Raises:
        Failed: with what the failure means.
    """
    session = sessions.current()
    try:
        return _answer(session, operation, path, question)
    except _BadToken:
        pass
    session = sessions.replacement(session)
    try:
        return _answer(session, operation, path, question)
    except _BadToken:
        # Just logged in, so no reason to do it again: a token may need a moment to reach the node that we ask.
        raise Failed(CREDENTIALS) from None


def _answer(session: Session, operation: str, path: str, question: Question) -> Any:
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
    token = _looked_up(session, operation)
    if token is None:
        raise _BadToken
    raise Failed(_denial(session, path, token))


def _looked_up(session: Session, operation: str) -> Mapping[str, Any] | None:
    """What Vault knows of the session's token: nothing if it may not look itself up, None if Vault does not know it.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
    """
    try:
        reply = session.client.auth.token.lookup_self()
    except sdk.Forbidden as error:
        _log.warning("Vault refused to look up our token: %s", describe(error))
        if not is_from_vault(error):
            raise Failed(NO_ANSWER) from None
        return {} if is_policy_refusal(error) else None
    except Exception as error:
        _log.warning("Vault failed to look up our token: %s", describe(error))
        meaning = meaning_of(error, operation=operation)
        raise Failed(meaning if meaning.kind is KmsUnavailable else NO_ANSWER) from None
    data = reply.get("data") if isinstance(reply, dict) else None
    return data if isinstance(data, dict) else {}


def _denial(session: Session, path: str, token: Mapping[str, Any]) -> Meaning:
    """Why a good token was refused. A policy that is right must not be told to be changed."""
    own = token.get("namespace_path")
    here = f"{(session.client.adapter.namespace or '').strip('/')}/".lstrip("/")
    if isinstance(own, str) and not here.startswith(own.lstrip("/")):
        return OTHER_NAMESPACE
    if own in (None, "", here) and _is_allowed(session, path):
        return POLICY_ALLOWS
    return NOT_PERMITTED


def _is_allowed(session: Session, path: str) -> bool:
    """Whether the token's policies name ``path``; False if that is not to be known.

    https://developer.hashicorp.com/vault/api-docs/system/capabilities-self
    """
    try:
        reply: Any = session.client.sys.get_capabilities([path])
    except Exception as error:
        _log.debug("Vault did not tell what our token may do: %s", describe(error))
        return False
    allowed = reply.get("data", reply).get(path) if isinstance(reply, dict) else None
    return isinstance(allowed, list) and bool({"update", "create", "root"} & set(map(str, allowed)))
