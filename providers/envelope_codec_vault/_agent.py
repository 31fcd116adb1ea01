"""No login of our own: a Vault Agent or Proxy on the way adds its token to each request."""

from __future__ import annotations

import hvac

from envelope_codec_vault._hints import AGENT_REJECTED
from envelope_codec_vault._life import Life
from envelope_codec_vault._login import Grant
from envelope_codec_vault._refusal import UNLOCKED


class Agent:
    """A Vault Agent or Proxy with ``use_auto_auth_token``. It renews its token, so there is nothing to tend here."""

    asks = False
    pace = UNLOCKED
    dead = AGENT_REJECTED

    @property
    def identity(self) -> tuple[str, ...]:
        return ("agent",)

    def credential(self) -> str:
        return ""

    def grant(self, client: hvac.Client, credential: str) -> Grant:
        return Grant("", Life())

    def changed(self) -> bool:
        return False
