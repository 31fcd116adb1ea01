"""The two questions about a token: how long it lives, and whether Vault renews it."""

from __future__ import annotations

import logging

from hvac import exceptions as sdk

from envelope_codec.provider import Failed, meanings
from envelope_codec_vault._errors import ERRORS, is_from_vault
from envelope_codec_vault._life import Life, read_life
from envelope_codec_vault._session import Session

_log = logging.getLogger("envelope_codec.vault")


def look_up(session: Session, now: float) -> Session:
    """Ask how long the token lives. ``now``: by the clock of the session.

    https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self

    Raises:
        Failed: Vault does not tell.
    """
    try:
        reply = session.client.auth.token.lookup_self()
        life = read_life(reply["data"])
    except sdk.Forbidden as error:
        if not is_from_vault(error):
            raise Failed(meanings.NO_ANSWER) from None
        life = Life()  # it may not look itself up, or is not good any more, which the next call will tell
    except Exception as error:
        _log.info("Vault did not tell how long our token lives: %s", ERRORS.describe(error))
        raise Failed(meanings.NO_ANSWER) from None
    return Session(session.client, now + life.seconds, life, now)


def renew(session: Session, now: float) -> Session | None:
    """Ask for a longer life of the token. ``now``: by the clock of the session. None: Vault does not renew it any more.

    https://developer.hashicorp.com/vault/api-docs/auth/token#renew-a-token-self

    Raises:
        Failed: Vault gives no answer.
    """
    old = session.life or Life()
    try:
        reply = session.client.auth.token.renew_self()
        life = read_life(reply["auth"])
    except (sdk.InvalidRequest, sdk.Forbidden) as error:
        _log.warning("Vault did not renew our token: %s", ERRORS.describe(error))
        if not is_from_vault(error):
            raise Failed(meanings.NO_ANSWER) from None
        return None
    except Exception as error:
        _log.warning("Vault failed to renew our token: %s", ERRORS.describe(error))
        raise Failed(meanings.NO_ANSWER) from None
    return Session(session.client, now + life.seconds, Life(life.seconds, old.full, life.renewable), now)
