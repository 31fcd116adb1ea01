"""Opening payloads for a caller: each on its own, each only where the caller may read what its envelope says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec.envelope import Envelope, Record, parse
from envelope_codec.errors import EnvelopeError
from envelope_codec.server.auth.access import Grants
from envelope_codec.server.auth.rule import Verb
from envelope_codec.server.payloads.cold import ColdKeys
from envelope_codec.server.payloads.outcome import OPENED, PASSED, Outcome
from envelope_codec.server.payloads.reference import (
    BadReference,
    StorageFailed,
    Stores,
    is_marked,
    is_reference,
    with_sizes,
    without_mark,
)
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.refusal import (
    BAD_REFERENCE,
    KMS_UNAVAILABLE,
    NOT_ALLOWED,
    NOT_AN_ENVELOPE,
    STORAGE_UNAVAILABLE,
    TOO_MANY_BYTES,
    Refusal,
    failure_of,
)
from envelope_codec.server.web.turns import Turns
from envelope_codec.temporal.codec import EnvelopeCodec

_LEAST = 2**18  # bytes that a reference counts until it is known what it leads to; fewer would hardly be stored
_TOGETHER = 100  # payloads; between such the requests of others have their turn


@dataclass(frozen=True)
class Asking:
    """What is asked for, and by whom.

    Attributes:
        verb: ``decode`` or ``download``.
        grants: what the caller may do.
        namespace: that the request names, once the caller is known to be allowed there; None for none.
        visit: what the request takes of the caller's budgets.
        follow: whether references are followed.
    """

    verb: Verb
    grants: Grants
    namespace: str | None
    visit: Visit
    follow: bool


class Opener:
    """Opens payloads.

    Args:
        codec: opens; compares no namespaces.
        stores: what references lead to; None if they lead nowhere.
        at_kms: turns at a KMS.
        at_stores: turns at a store.
        each: how many records of one request are waited for at once.
        timeout: seconds to wait for those of one request.
    """

    def __init__(
        self,
        codec: EnvelopeCodec,
        stores: Stores | None,
        at_kms: Turns,
        at_stores: Turns,
        *,
        each: int,
        timeout: float,
    ) -> None:
        self._codec = codec
        self._keyring = codec.keyring
        self._stores = stores
        self._keys = ColdKeys(codec.keyring, at_kms, timeout=timeout)
        self._at_stores = at_stores
        self._each = each
        self._timeout = timeout

    async def open(self, payloads: Sequence[Payload], asking: Asking) -> list[Outcome]:
        """What becomes of each of ``payloads``, in their order."""
        found: list[Outcome | Record | None] = []
        for begin in range(0, len(payloads), _TOGETHER):
            found += [self._at_once(payload, asking) for payload in payloads[begin : begin + _TOGETHER]]
            await asyncio.sleep(0)
        outcomes = [
            what if isinstance(what, Outcome) else Outcome(payload, self._late(payload))
            for payload, what in zip(payloads, found, strict=True)
        ]
        records = {number: what for number, what in enumerate(found) if isinstance(what, Record)}
        ready = {number for number, record in records.items() if self._keyring.try_opening_key(record) is not None}
        some = sorted(ready)
        for begin in range(0, len(some), _TOGETHER):
            await self._open_ready(outcomes, {number: records[number] for number in some[begin : begin + _TOGETHER]})
            await asyncio.sleep(0)
        waiting = [number for number, what in enumerate(found) if not isinstance(what, Outcome) and number not in ready]
        await self._open_waiting(outcomes, waiting, records, asking)
        return outcomes

    def _at_once(self, payload: Payload, asking: Asking) -> Outcome | Record | None:
        """What becomes of it, or its record; None if something else must be found out first."""
        if is_marked(payload):
            return None
        if is_reference(payload):
            return None if asking.follow and self._stores is not None else Outcome(payload, PASSED)
        try:
            envelope = parse(payload.metadata, payload.data)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))
        if envelope is None:
            return None if self._codec.config.legacy_codecs else Outcome(payload, PASSED)
        record = envelope.record
        if not asking.grants.may(asking.verb, record.namespace):
            return Outcome(payload, NOT_ALLOWED, record.namespace)
        return record

    async def _open_ready(self, outcomes: list[Outcome], ready: dict[int, Record]) -> None:
        """Open those whose keys are at hand; all at once, unless one of them can't be opened."""
        payloads = [outcomes[number].payload for number in ready]
        try:
            opened = await self._codec.decode(payloads)
        except EnvelopeError:
            for number, record in ready.items():
                outcomes[number] = await self._opened(outcomes[number].payload, record)
        else:
            for (number, record), payload in zip(ready.items(), opened, strict=True):
                outcomes[number] = _outcome(payload, record)

    async def _open_waiting(
        self, outcomes: list[Outcome], waiting: list[int], records: dict[int, Record], asking: Asking
    ) -> None:
        """Open the others, some at the same time, and those of one record together. Who is not done in time stays as it
        is.
        """
        together: dict[Hashable, list[int]] = {}
        for number in waiting:
            record = records.get(number)
            together.setdefault(number if record is None else record.header_tail, []).append(number)
        left = deque(together.values())

        async def work() -> None:
            while left:
                numbers = left.popleft()
                record = records.get(numbers[0])
                if record is None:
                    outcomes[numbers[0]] = await self._one(outcomes[numbers[0]].payload, asking)
                else:
                    await self._open_record(outcomes, numbers, record, asking)

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

    async def _open_record(self, outcomes: list[Outcome], numbers: list[int], record: Record, asking: Asking) -> None:
        """Open the payloads of one record."""
        failure = await self._keys.fetch(record, asking.visit)
        for number in numbers:
            payload = outcomes[number].payload
            if failure is None:
                outcomes[number] = await self._opened(payload, record)
            else:
                outcomes[number] = Outcome(payload, failure, record.namespace)

    def _late(self, payload: Payload) -> str:
        return STORAGE_UNAVAILABLE if is_marked(payload) or is_reference(payload) else KMS_UNAVAILABLE

    async def _one(self, payload: Payload, asking: Asking) -> Outcome:
        try:
            if is_marked(payload):
                return await self._marked(payload, asking)
            if is_reference(payload):
                return await self._reference(payload, payload, asking)
            return await self._inline(payload, asking)
        except BadReference:
            return Outcome(payload, BAD_REFERENCE)
        except StorageFailed:
            return Outcome(payload, STORAGE_UNAVAILABLE)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))

    async def _inline(self, payload: Payload, asking: Asking) -> Outcome:
        envelope = parse(payload.metadata, payload.data)
        if envelope is None:
            return await self._foreign(payload, asking)
        return await self._envelope(payload, envelope, asking)

    async def _envelope(self, payload: Payload, envelope: Envelope, asking: Asking) -> Outcome:
        record = envelope.record
        if not asking.grants.may(asking.verb, record.namespace):
            return Outcome(payload, NOT_ALLOWED, record.namespace)
        failure = await self._keys.fetch(record, asking.visit)
        if failure is not None:
            return Outcome(payload, failure, record.namespace)
        return await self._opened(payload, record)

    async def _opened(self, payload: Payload, record: Record) -> Outcome:
        try:
            [opened] = await self._codec.decode([payload])
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error), record.namespace)
        return _outcome(opened, record)

    async def _foreign(self, payload: Payload, asking: Asking) -> Outcome:
        """What is no envelope: legacy codecs have their say, where the caller may read; it passes otherwise."""
        namespace = asking.namespace
        if not self._codec.config.legacy_codecs or namespace is None or not asking.grants.may(asking.verb, namespace):
            return Outcome(payload, PASSED)
        # A new one each time: a codec remembers every context that it was asked for.
        codec = EnvelopeCodec(self._codec.config, namespace=namespace, keyring=self._keyring)
        codec = codec.with_context(WorkflowSerializationContext(namespace=namespace, workflow_id=""))
        [found] = await codec.decode([payload])
        return Outcome(payload, PASSED) if found is payload else Outcome(found, OPENED, namespace)

    async def _marked(self, payload: Payload, asking: Asking) -> Outcome:
        """A reference that went through the codec, which must have been ours."""
        sealed = without_mark(payload)
        found = await self._sealed(sealed, asking)
        if found.failed:
            return found._replace(payload=payload)
        if not is_reference(found.payload):
            return Outcome(payload, BAD_REFERENCE, found.namespace)
        reference = with_sizes(found.payload, payload)
        if not asking.follow or self._stores is None:
            return found._replace(payload=reference)
        return await self._reference(reference, payload, asking)

    async def _reference(self, reference: Payload, payload: Payload, asking: Asking) -> Outcome:
        """``payload``, which is ``reference`` or was decoded to it: what it leads to must be ours as well."""
        if not asking.follow or self._stores is None:
            return Outcome(reference, PASSED)
        claim = self._stores.claim(reference)
        envelope = None if claim is None else parse(claim.metadata, claim.data)
        if envelope is not None:
            # Asked for here, like any other: the driver would ask the KMS past every budget.
            failure = await self._keys.fetch(envelope.record, asking.visit)
            if failure is not None:
                return Outcome(payload, failure)
        end = await self._at_stores.take(asking.visit.caller, asking.namespace or "")
        try:
            stored = await self._fetched(self._stores, reference, asking.visit)
        except Refusal:
            return Outcome(payload, TOO_MANY_BYTES)
        finally:
            end()
        found = await self._sealed(stored, asking)
        return found._replace(payload=payload) if found.failed else found

    async def _fetched(self, stores: Stores, reference: Payload, visit: Visit) -> Payload:
        """What ``reference`` leads to, counted from before it comes. Raises `Refusal` if there is no room for it."""
        counted = max(_LEAST, await stores.size(reference))
        visit.take_bytes(counted)
        try:
            stored = await stores.fetch(reference)
        except BaseException:
            visit.give_back_bytes(counted)
            raise
        size = len(stored.data)
        if size > counted:
            visit.take_bytes(size - counted)
        else:
            visit.give_back_bytes(counted - size)
        return stored

    async def _sealed(self, payload: Payload, asking: Asking) -> Outcome:
        """The same as `_inline` for what must be an envelope: nobody may read through us what is none."""
        envelope = parse(payload.metadata, payload.data)
        if envelope is None:
            return Outcome(payload, NOT_AN_ENVELOPE)
        return await self._envelope(payload, envelope, asking)


def _outcome(opened: Payload, record: Record) -> Outcome:
    return Outcome(opened, OPENED, record.namespace, record.recipients[0].key_id)
