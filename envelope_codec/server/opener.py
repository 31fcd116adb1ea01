"""Opening payloads for a caller: each on its own, each only where the caller may read what its envelope says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec.codec import EnvelopeCodec
from envelope_codec.envelope import Envelope, Record, parse
from envelope_codec.errors import EnvelopeError
from envelope_codec.server.access import Grants
from envelope_codec.server.outcome import OPENED, PASSED, Outcome
from envelope_codec.server.reference import (
    BadReference,
    StorageFailed,
    Stores,
    is_marked,
    is_reference,
    with_sizes,
    without_mark,
)
from envelope_codec.server.refusal import (
    BAD_REFERENCE,
    KMS_UNAVAILABLE,
    NOT_ALLOWED,
    NOT_AN_ENVELOPE,
    STORAGE_UNAVAILABLE,
    failure_of,
)
from envelope_codec.server.rule import Verb


@dataclass(frozen=True)
class Asking:
    """What is asked for, and by whom.

    Attributes:
        verb: ``decode`` or ``download``.
        grants: what the caller may do.
        namespace: that the request names, once the caller is known to be allowed there; None for none.
        follow: whether references are followed.
    """

    verb: Verb
    grants: Grants
    namespace: str | None
    follow: bool


class Opener:
    """Opens payloads.

    Args:
        codec: opens; compares no namespaces.
        stores: what references lead to; None if they lead nowhere.
        waiting: how many payloads may wait for a KMS at once, and how many for a store.
        timeout: seconds to wait for those of one request.
    """

    def __init__(self, codec: EnvelopeCodec, stores: Stores | None, *, waiting: int, timeout: float) -> None:
        self._codec = codec
        self._keyring = codec.keyring
        self._stores = stores
        self._at_kms = asyncio.Semaphore(waiting)
        self._at_stores = asyncio.Semaphore(waiting)
        self._timeout = timeout

    async def open(self, payloads: Sequence[Payload], asking: Asking) -> list[Outcome]:
        """What becomes of each of ``payloads``, in their order."""
        found = [self._at_once(payload, asking) for payload in payloads]
        outcomes = [
            what if isinstance(what, Outcome) else Outcome(payload, self._late(payload))
            for payload, what in zip(payloads, found, strict=True)
        ]
        await self._open_ready(outcomes, {n: what for n, what in enumerate(found) if isinstance(what, Record)})
        await self._open_waiting(outcomes, [n for n, what in enumerate(found) if what is None], asking)
        return outcomes

    def _at_once(self, payload: Payload, asking: Asking) -> Outcome | Record | None:
        """What becomes of it, or its record if its key is at hand; None if somebody must be waited for."""
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
        return None if self._keyring.try_opening_key(record) is None else record

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

    async def _open_waiting(self, outcomes: list[Outcome], waiting: list[int], asking: Asking) -> None:
        """Open the others, all at the same time. Who is not done in time stays as it is."""
        if not waiting:
            return
        tasks = {asyncio.create_task(self._one(outcomes[number].payload, asking)): number for number in waiting}
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._timeout)
            for task in done:
                outcomes[tasks[task]] = task.result()
        finally:
            for task in tasks:
                task.cancel()

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
        return await self._opened(payload, record)

    async def _opened(self, payload: Payload, record: Record) -> Outcome:
        try:
            if self._keyring.try_opening_key(record) is None:
                async with self._at_kms:
                    await self._keyring.opening_key(record)
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
        async with self._at_stores:
            stored = await self._stores.fetch(reference)
        found = await self._sealed(stored, asking)
        return found._replace(payload=payload) if found.failed else found

    async def _sealed(self, payload: Payload, asking: Asking) -> Outcome:
        """The same as `_inline` for what must be an envelope: nobody may read through us what is none."""
        envelope = parse(payload.metadata, payload.data)
        if envelope is None:
            return Outcome(payload, NOT_AN_ENVELOPE)
        return await self._envelope(payload, envelope, asking)


def _outcome(opened: Payload, record: Record) -> Outcome:
    return Outcome(opened, OPENED, record.namespace, record.recipients[0].key_id)
