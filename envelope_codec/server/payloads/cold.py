"""Keys that are not at hand: a KMS is asked for them, in turns, and not for those who have too many refused."""

from __future__ import annotations

import asyncio

from envelope_codec.envelope import Record
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied
from envelope_codec.keys.keyring import Keyring
from envelope_codec.server.web.admission import TooManyRefused, Visit
from envelope_codec.server.web.refusal import TOO_MANY_REFUSED, failure_of
from envelope_codec.server.web.turns import Turns


class ColdKeys:
    """Has the keyring fetch keys.

    Args:
        keyring: asks the KMS.
        turns: at the KMS.
        timeout: seconds for one key.
    """

    def __init__(self, keyring: Keyring, turns: Turns, *, timeout: float) -> None:
        self._keyring = keyring
        self._turns = turns
        self._timeout = min(timeout, keyring.limits.timeout)

    async def fetch(self, record: Record, visit: Visit) -> str | None:
        """Have the key of ``record`` at hand. The name of the failure, if that is not possible."""
        if self._keyring.try_opening_key(record) is not None:
            return None
        end = await self._turns.take(visit.caller, record.namespace)
        try:
            visit.ask()
        except TooManyRefused:
            end()
            return TOO_MANY_REFUSED
        asked = asyncio.ensure_future(self._asked(record, visit))
        # The turn is over when the KMS has answered, not when nobody waits for that any more.
        asked.add_done_callback(lambda _: end())
        return await asyncio.shield(asked)

    async def _asked(self, record: Record, visit: Visit) -> str | None:
        try:
            # At hand by now if another request asked for it; then this returns at once.
            await self._keyring.opening_key(record, timeout=self._timeout)
        except EnvelopeError as error:
            if isinstance(error, (KeyDenied, InvalidCiphertext)):
                visit.was_refused()
            return failure_of(error)
        return None
