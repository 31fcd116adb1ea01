"""One question to Vault. A 403 can mean a bad token or a missing permission, and the two are told apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import hvac
from hvac import exceptions as sdk

from envelope_codec.errors import KmsUnavailable
from envelope_codec.provider import Failed, Meaning, meanings
from envelope_codec_vault import _hints as hints
from envelope_codec_vault._errors import ERRORS, is_from_vault, is_policy_refusal
from envelope_codec_vault._session import Session, Sessions

_log = logging.getLogger("envelope_codec.vault")

Question = Callable[[hvac.Client], Any]


class _BadToken(Exception):
    """Vault does not know the session's token (any more)."""


def ask(sessions: Sessions, namespace: str, operation: str, path: str, question: Question) -> Any:
    """Ask Vault, and give its reply as hvac does. With a bad token there is one new login and one more try.

    Args:
        sessions: where a token comes from.
        namespace: of the key.
        operation: `WRAP` or `UNWRAP`.
        path: what the question is for, as policies name it.
        question: the request.

    Raises:
        Failed: with what the failure means.
    """
    session = sessions.current()
    try:
        return _answer(session, namespace, operation, path, question)
    except _BadToken:
        pass
    session = sessions.replacement(session)
    try:
        return _answer(session, namespace, operation, path, question)
    except _BadToken:
        # Just logged in, so no reason to do it again: a token may need a moment to reach the node that we ask.
        raise Failed(hints.CREDENTIALS) from None


def _answer(session: Session, namespace: str, operation: str, path: str, question: Question) -> Any:
    client = session.client_in(namespace)
    try:
        return question(client)
    except sdk.Forbidden as error:
        _log.warning("Vault refused to %s: %s", operation, ERRORS.describe(error))
        vault_refused = is_from_vault(error)
    except Exception as error:
        _log.warning("Vault failed to %s: %s", operation, ERRORS.describe(error))
        meaning = ERRORS.look_up(error, operation)
        if meaning is hints.CREDENTIALS:
            raise _BadToken from None
        raise Failed(meaning) from None
    if not vault_refused:
        raise Failed(meanings.NO_ANSWER)
    token = _look_up(session, operation)
    if token is None:
        raise _BadToken
    raise Failed(_denial(client, path, token))


def _look_up(session: Session, operation: str) -> Mapping[str, Any] | None:
    """Ask what Vault knows of the token: nothing if it may not look itself up, None if Vault does not know it.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
    """
    try:
        reply = session.client.auth.token.lookup_self()
    except sdk.Forbidden as error:
        _log.warning("Vault refused to look up our token: %s", ERRORS.describe(error))
        if not is_from_vault(error):
            raise Failed(meanings.NO_ANSWER) from None
        return {} if is_policy_refusal(error) else None
    except Exception as error:
        _log.warning("Vault failed to look up our token: %s", ERRORS.describe(error))
        meaning = ERRORS.look_up(error, operation)
        raise Failed(meaning if meaning.error is KmsUnavailable else meanings.NO_ANSWER) from None
    data = reply.get("data") if isinstance(reply, dict) else None
    return data if isinstance(data, dict) else {}


def _denial(client: hvac.Client, path: str, token: Mapping[str, Any]) -> Meaning:
    """Find out why a good token was refused. Nobody must be told to change a policy that is right."""
    own = token.get("namespace_path")
    here = f"{(client.adapter.namespace or '').strip('/')}/".lstrip("/")
    if isinstance(own, str) and not here.startswith(own.lstrip("/")):
        return hints.OTHER_NAMESPACE
    if own in (None, "", here) and _is_allowed(client, path):
        return hints.POLICY_ALLOWS
    return hints.NOT_PERMITTED


def _is_allowed(client: hvac.Client, path: str) -> bool:
    """Whether the token's policies name ``path``; False if that is not to be known.

    https://developer.hashicorp.com/vault/api-docs/system/capabilities-self
    """
    try:
        reply: Any = client.sys.get_capabilities([path])
    except Exception as error:
        _log.debug("Vault did not tell what our token may do: %s", ERRORS.describe(error))
        return False
    allowed = reply.get("data", reply).get(path) if isinstance(reply, dict) else None
    return isinstance(allowed, list) and bool({"update", "create", "root"} & set(map(str, allowed)))
