"""Fetching of keys that are not at hand: in turns, and not for callers who had too many refused by a KMS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from envelope_codec.envelope import Record
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied
from envelope_codec.keys.foreign_keys import ForeignWrap
from envelope_codec.keys.keyring import Keyring
from envelope_codec.server.web.admission import TooManyRefused, Visit
from envelope_codec.server.web.refusal import TOO_MANY_REFUSED, failure_of
from envelope_codec.server.web.turns import Turns


class KeyFetcher:
    """Lets the keyring fetch keys.

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
        """Fetch the key of ``record``, unless it is at hand. Return the name of the failure, or None."""
        if self._keyring.try_opening_key(record) is not None:
            return None
        ask = partial(self._keyring.opening_key, record, timeout=self._timeout)
        return await self._fetch(ask, record.namespace, visit)

    async def fetch_foreign(self, namespace: str, wrap: ForeignWrap, visit: Visit) -> str | None:
        """Fetch the data key of Temporal's proxy, for opening in ``namespace``. As `fetch`."""
        if self._keyring.try_foreign_key(namespace, wrap) is not None:
            return None
        ask = partial(self._keyring.foreign_key, namespace, wrap, timeout=self._timeout)
        return await self._fetch(ask, namespace, visit)

    async def _fetch(self, ask: Callable[[], Awaitable[bytes]], namespace: str, visit: Visit) -> str | None:
        end_turn = await self._turns.take(visit.caller, namespace)
        try:
            visit.check_refused()
        except TooManyRefused:
            end_turn()
            return TOO_MANY_REFUSED
        question = asyncio.ensure_future(_ask(ask, visit))
        # The turn is over when the KMS has answered, not when nobody waits for the answer any more.
        question.add_done_callback(lambda _: end_turn())
        return await asyncio.shield(question)


async def _ask(ask: Callable[[], Awaitable[bytes]], visit: Visit) -> str | None:
    try:
        # Another request may have fetched the key meanwhile; then this returns at once.
        await ask()
    except EnvelopeError as error:
        if isinstance(error, (KeyDenied, InvalidCiphertext)):
            visit.count_refused()
        return failure_of(error)
    return None
