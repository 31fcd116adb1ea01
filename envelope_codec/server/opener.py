"""Opening payloads for a caller: each on its own, each only where the caller may read what its envelope says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec, WorkflowSerializationContext

from envelope_codec.codec import EnvelopeCodec
from envelope_codec.envelope import Envelope, parse
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
        outcomes: list[Outcome] = []
        waiting: dict[asyncio.Task[Outcome], int] = {}
        for payload in payloads:
            if self._waits(payload, asking):
                waiting[asyncio.create_task(self._one(payload, asking))] = len(outcomes)
                outcomes.append(Outcome(payload, self._late(payload)))
            else:
                outcomes.append(await self._one(payload, asking))
        if waiting:
            try:
                done, _ = await asyncio.wait(waiting, timeout=self._timeout)
                for task in done:
                    outcomes[waiting[task]] = task.result()
            finally:
                for task in waiting:
                    task.cancel()
        return outcomes

    def _waits(self, payload: Payload, asking: Asking) -> bool:
        """Whether it may take longer than the time of the processor that it takes."""
        if is_marked(payload) or (is_reference(payload) and asking.follow):
            return True
        try:
            envelope = parse(payload.metadata, payload.data)
        except EnvelopeError:
            return False
        if envelope is None:
            return bool(self._codec.config.legacy_codecs)
        return self._keyring.try_opening_key(envelope.record) is None

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

    async def _inline(self, payload: Payload, asking: Asking) -> Outcome:
        try:
            envelope = parse(payload.metadata, payload.data)
            if envelope is None:
                return await self._foreign(payload, asking)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))
        return await self._envelope(payload, envelope, asking)

    async def _envelope(self, payload: Payload, envelope: Envelope, asking: Asking) -> Outcome:
        record = envelope.record
        if not asking.grants.may(asking.verb, record.namespace):
            return Outcome(payload, NOT_ALLOWED, record.namespace)
        try:
            if self._keyring.try_opening_key(record) is None:
                async with self._at_kms:
                    await self._keyring.opening_key(record, timeout=self._timeout)
            [opened] = await self._codec.decode([payload])
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error), record.namespace)
        return Outcome(opened, OPENED, record.namespace, record.recipients[0].key_id)

    async def _foreign(self, payload: Payload, asking: Asking) -> Outcome:
        """What is no envelope: legacy codecs have their say, where the caller may read; it passes otherwise."""
        namespace = asking.namespace
        if not self._codec.config.legacy_codecs or namespace is None or not asking.grants.may(asking.verb, namespace):
            return Outcome(payload, PASSED)
        codec: PayloadCodec = self._codec.with_context(
            WorkflowSerializationContext(namespace=namespace, workflow_id="")
        )
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
        try:
            envelope = parse(payload.metadata, payload.data)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))
        if envelope is None:
            return Outcome(payload, NOT_AN_ENVELOPE)
        return await self._envelope(payload, envelope, asking)
