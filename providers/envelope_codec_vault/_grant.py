"""A login as it is asked for. Refused logins are remembered, and each failure has a meaning."""

from __future__ import annotations

import logging

from hvac import exceptions as sdk

from envelope_codec.errors import KmsUnavailable
from envelope_codec.provider import Failed, meanings
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._errors import ERRORS, WRAP
from envelope_codec_vault._hints import LOGIN_FAILED, LOGIN_NAMESPACE
from envelope_codec_vault._login import Grant, Login
from envelope_codec_vault._refusal import Refusals, find_refusal
from envelope_codec_vault._session import say_span

_log = logging.getLogger("envelope_codec.vault")


def ask_for_grant(login: Login, connection: Connection, refusals: Refusals, now: float) -> Grant:
    """Log in.

    Args:
        login: how.
        connection: to which Vault.
        refusals: the logins that were refused; this one is added to them, or clears them.
        now: monotonic seconds.

    Raises:
        Failed: there is no token. It says nothing of the key: credentials run out for many reasons.
    """
    credential = login.credential()
    known = refusals.known(credential, now)
    if known is not None:
        raise Failed(known)
    try:
        grant = login.grant(connection.client(""), credential)
    except Failed as failed:
        _log.warning("Vault login failed: %s", failed)
        raise
    except Exception as error:
        refusal = find_refusal(error, login.pace)
        if refusal is not None:
            seconds = refusals.add(credential, refusal, now)
            said = ERRORS.describe(error)
            _log.error(
                "%s: %s. Not tried again for %s, but with other credentials", refusal.text, said, say_span(seconds)
            )
            raise Failed(refusal) from None
        _log.warning("Vault login failed: %s", ERRORS.describe(error))
        is_elsewhere = isinstance(error, sdk.InvalidPath) and "namespace not found" in (error.errors or ())
        meaning = LOGIN_NAMESPACE if is_elsewhere else ERRORS.look_up(error, WRAP)
    else:
        refusals.clear()
        return grant
    is_told = meaning.error is KmsUnavailable and meaning != meanings.NO_ANSWER
    raise Failed(meaning if is_told else LOGIN_FAILED)
