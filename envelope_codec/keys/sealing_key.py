"""A key to seal with, and what it is for."""

from __future__ import annotations

import itertools
import math
from typing import Any

from envelope_codec.envelope import Record
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keys.lease import Lease
from envelope_codec.keys.trial import Lack

Place = str | tuple[str, KeySet]
"""What has a sealing key of its own: a namespace with its usual master keys, or with others."""


class SealingKey:
    """A key to seal with, and the record that carries it.

    ``template`` is for the codec to keep a payload in; ``lacks`` are the recipients that it was to have as well; from
    ``ripe_at`` (monotonic seconds) on, or when ``ripe``, it is to be replaced by whatever next key there is; ``tries``
    says that the next payload has to tell `Trials` of it; ``serving`` is the lease under which it was found vouched for
    last.
    """

    __slots__ = (
        "_asked",
        "_number",
        "due_monotonic",
        "due_time",
        "exhausted",
        "key",
        "lacks",
        "leases",
        "max_payloads",
        "prepare_at",
        "record",
        "ripe",
        "ripe_at",
        "serving",
        "template",
        "tries",
    )

    def __init__(
        self, record: Record, key: bytes, leases: tuple[Lease, ...] = (), lacks: tuple[Lack, ...] = ()
    ) -> None:
        self.record = record
        self.key = key
        self.leases = leases
        self.lacks = lacks
        self.due_monotonic = self.due_time = self.ripe_at = self.max_payloads = self.prepare_at = math.inf
        self.exhausted = self.ripe = self.tries = False
        self.serving: Lease | None = None
        self.template: Any = None
        self._number = itertools.count(1)  # next() is atomic, += is not
        self._asked = 0

    def take(self) -> int:
        """Count one more payload: its number, from 1."""
        return next(self._number)

    def sealed(self) -> int:
        """How many payloads it has sealed. Costs more than `take`."""
        number = self.take()
        self._asked += 1
        self.max_payloads, self.prepare_at = self.max_payloads + 1, self.prepare_at + 1  # that was no payload
        return number - self._asked

    def due(self, monotonic: float, time: float) -> bool:
        """Whether it is too old to seal at these two times, or has sealed enough."""
        return self.exhausted or monotonic >= self.due_monotonic or time >= self.due_time

    def vouched(self, monotonic: float, time: float) -> bool:
        """Whether a lease of it is live."""
        for lease in self.leases:
            if lease.live(monotonic, time):
                self.serving = lease
                return True
        return False
