"""Direct mode: the KMS wraps every data key itself, so each payload costs one call."""

from __future__ import annotations

from envelope_codec.envelope import Purpose
from envelope_codec.errors import EnvelopeError, KeyDenied
from envelope_codec.keys.calls import KmsCalls
from envelope_codec.keys.completion import report_recipients
from envelope_codec.keys.decisions import Start
from envelope_codec.keys.flight import Flight
from envelope_codec.keys.key_maker import KeyMaker
from envelope_codec.keys.sealing_key import Scope, SealingKey
from envelope_codec.keys.sealing_waits import SealingWaits
from envelope_codec.keys.slots import Slot, Slots

_REMEMBERED = 1_000  # scopes


class DirectKeys:
    """Keys for sealing in direct mode.

    Args:
        calls: makes the calls.
        maker: makes the keys.
        slots: of the keyring.
        waits: of the keyring.
        refusal_ttl: seconds for which a refusal is repeated to callers without asking again.
    """

    def __init__(
        self, calls: KmsCalls, maker: KeyMaker, slots: Slots, waits: SealingWaits, *, refusal_ttl: float
    ) -> None:
        self._calls = calls
        self._clock = calls.clock
        self._maker = maker
        self._slots = slots
        self._waits = waits
        self._refusal_ttl = refusal_ttl
        self._proven: set[Scope] = set()
        self._reported: dict[Scope, tuple[str, ...]] = {}

    async def get(self, scope: Scope, deadline: float) -> SealingKey:
        """Return a key for one payload, by ``deadline`` (monotonic seconds). Errors as in `Keyring.sealing_key`."""
        while True:
            flight = Flight(lambda: self._maker.make(scope, Purpose.DATA_KEY)).join(deadline)
            self._calls.fly(flight, lambda: None)
            try:
                key = SealingKey(await flight.wait(self._clock, deadline))
            except KeyDenied as refusal:
                self._proven.discard(scope)
                with self._calls.lock:
                    slot = self._slots.open(scope)
                self._slots.refuse(slot, refusal, self._refusal_ttl)
                await self._waits.outlast(scope, refusal, deadline, self._probe)
            except EnvelopeError:
                self._proven.discard(scope)
                raise
            else:
                self._prove(scope)
                self._report(scope, key)
                return key

    async def prove(self, scope: Scope, deadline: float) -> None:
        """Return as soon as it is known that keys can be had: at once, if the last one could.

        Otherwise a key is made to find that out, and thrown away.
        """
        if scope in self._proven:
            return
        flight = self._slots.fly(scope, self._probe, lambda slot: Start.CALL, deadline)
        if flight is not None:
            await flight.wait(self._clock, deadline)

    def _prove(self, scope: Scope) -> None:
        with self._calls.lock:
            if len(self._proven) >= _REMEMBERED:
                self._proven.clear()
            self._proven.add(scope)
        self._waits.end(scope)

    def _probe(self, scope: Scope, slot: Slot) -> None:
        """Have a data key wrapped, which is thrown away. One attempt; runs in a thread."""
        try:
            self._maker.make(scope, Purpose.DATA_KEY)
        except KeyDenied as error:
            self._slots.refuse(slot, error, self._refusal_ttl)
            raise
        slot.refusal = None
        self._prove(scope)

    def _report(self, scope: Scope, key: SealingKey) -> None:
        """Report which recipients the keys lack, wherever that has changed."""
        settings = tuple(lack.setting for lack in key.lacks)
        if self._reported.get(scope, ()) != settings:
            if len(self._reported) >= _REMEMBERED:
                self._reported.clear()
            self._reported[scope] = settings
            report_recipients(self._calls, *self._maker.find(scope), key)
