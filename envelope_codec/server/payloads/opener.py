"""Opening the payloads of a request: in batches where keys are at hand, and some at a time where a KMS is asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence

from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import Record, parse
from envelope_codec.errors import EnvelopeError
from envelope_codec.server.payloads.decoder import decode
from envelope_codec.server.payloads.outcome import PASSED, Outcome
from envelope_codec.server.payloads.read_request import ReadRequest
from envelope_codec.server.payloads.single_opener import SingleOpener, opened_outcome
from envelope_codec.server.payloads.stores import Stores
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.refusal import KMS_UNAVAILABLE, NOT_ALLOWED, STORAGE_UNAVAILABLE, failure_of
from envelope_codec.server.web.turns import Turns
from envelope_codec.storage.reference import is_encoded_reference, refers_to_storage
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.system_payloads import is_reference

_BATCH = 100  # payloads; after each batch the requests of others have their turn


class Opener:
    """Opens the payloads of requests.

    Args:
        codec: opens; compares no namespaces.
        stores: where references lead; None if they are not followed.
        at_kms: turns at a KMS.
        at_stores: turns at a store.
        each: how many records of one request are waited for at once.
        timeout: seconds to wait for the records of one request.
    """

    def __init__(
        self, codec: EnvelopeCodec, stores: Stores | None, at_kms: Turns, at_stores: Turns, *, each: int, timeout: float
    ) -> None:
        self._codec = codec
        self._keyring = codec.keyring
        self._follows = stores is not None
        self._single = SingleOpener(codec, stores, at_kms, at_stores, timeout=timeout)
        self._each = each
        self._timeout = timeout

    async def open(self, payloads: Sequence[Payload], request: ReadRequest) -> list[Outcome]:
        """Return what became of each of ``payloads``, in their order."""
        found: list[Outcome | Record | None] = []
        for begin in range(0, len(payloads), _BATCH):
            found += [self._look_at(payload, request) for payload in payloads[begin : begin + _BATCH]]
            await asyncio.sleep(0)
        # Whatever is not replaced in time keeps this outcome.
        outcomes = [
            what if isinstance(what, Outcome) else Outcome(payload, _late_failure(payload))
            for payload, what in zip(payloads, found, strict=True)
        ]
        records = {number: what for number, what in enumerate(found) if isinstance(what, Record)}
        ready = await self._open_ready(outcomes, records, request.visit)
        waiting = [number for number, what in enumerate(found) if not isinstance(what, Outcome) and number not in ready]
        await self._open_waiting(outcomes, waiting, records, request)
        return outcomes

    def _look_at(self, payload: Payload, request: ReadRequest) -> Outcome | Record | None:
        """Return the outcome if it is known at once, or the record of an envelope. None needs a longer look."""
        if is_encoded_reference(payload):
            return None
        if is_reference(payload):
            return None if request.follow and self._follows else Outcome(payload, PASSED)
        try:
            envelope = parse(payload.metadata, payload.data)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))
        if envelope is None:
            return None if self._codec.opens_others else Outcome(payload, PASSED)
        record = envelope.record
        if not request.grants.may(request.verb, record.namespace):
            return Outcome(payload, NOT_ALLOWED, record.namespace)
        return record

    async def _open_ready(self, outcomes: list[Outcome], records: dict[int, Record], visit: Visit) -> set[int]:
        """Open the payloads whose keys are at hand, in batches. Return their numbers."""
        ready = [number for number, record in records.items() if self._keyring.try_opening_key(record) is not None]
        for begin in range(0, len(ready), _BATCH):
            batch = {number: records[number] for number in ready[begin : begin + _BATCH]}
            await self._open_batch(outcomes, batch, visit)
            await asyncio.sleep(0)
        return set(ready)

    async def _open_batch(self, outcomes: list[Outcome], batch: dict[int, Record], visit: Visit) -> None:
        """Open a batch at once, or one by one if one of its payloads can't be opened."""
        payloads = [outcomes[number].payload for number in batch]
        try:
            opened = await decode(self._codec, payloads, visit)
        except EnvelopeError:
            for number, record in batch.items():
                outcomes[number] = await self._single.open_ready(outcomes[number].payload, record, visit)
                await asyncio.sleep(0)
        else:
            for (number, record), payload in zip(batch.items(), opened, strict=True):
                outcomes[number] = opened_outcome(payload, record)

    async def _open_waiting(
        self, outcomes: list[Outcome], waiting: list[int], records: dict[int, Record], request: ReadRequest
    ) -> None:
        """Open the payloads that need a KMS, a store or a legacy codec. Some are opened at the same time.

        Payloads of one record are opened together. Those that are not done in time keep their outcome.
        """
        groups: dict[Hashable, list[int]] = {}
        for number in waiting:
            record = records.get(number)
            groups.setdefault(number if record is None else record.header_tail, []).append(number)
        left = deque(groups.values())

        async def work() -> None:
            while left:
                numbers = left.popleft()
                record = records.get(numbers[0])
                if record is None:
                    outcomes[numbers[0]] = await self._single.open(outcomes[numbers[0]].payload, request)
                    await asyncio.sleep(0)  # it may have waited for nothing
                else:
                    await self._open_record(outcomes, numbers, record, request)

        tasks = [asyncio.create_task(work()) for _ in range(min(self._each, len(left)))]
        if not tasks:
            return
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._timeout)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _open_record(
        self, outcomes: list[Outcome], numbers: list[int], record: Record, request: ReadRequest
    ) -> None:
        """Open the payloads of one record."""
        failure = await self._single.fetch_key(record, request)
        for number in numbers:
            payload = outcomes[number].payload
            if failure is None:
                outcomes[number] = await self._single.open_ready(payload, record, request.visit)
                await asyncio.sleep(0)
            else:
                outcomes[number] = Outcome(payload, failure, record.namespace)


def _late_failure(payload: Payload) -> str:
    """Return the name of the failure of a payload that is not opened in time."""
    return STORAGE_UNAVAILABLE if refers_to_storage(payload) else KMS_UNAVAILABLE
