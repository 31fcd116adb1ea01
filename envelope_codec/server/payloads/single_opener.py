"""Opening one payload for a caller, only where the caller may read what its envelope says."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec.envelope import Envelope, Record, parse
from envelope_codec.errors import EnvelopeError, KeyNotConfigured
from envelope_codec.server.payloads.decoder import decode
from envelope_codec.server.payloads.key_fetcher import KeyFetcher
from envelope_codec.server.payloads.outcome import OPENED, PASSED, Outcome
from envelope_codec.server.payloads.read_request import ReadRequest
from envelope_codec.server.payloads.stores import BadReference, StorageFailed, Stores
from envelope_codec.server.web.admission import Visit
from envelope_codec.server.web.refusal import (
    BAD_REFERENCE,
    NOT_ALLOWED,
    NOT_AN_ENVELOPE,
    STORAGE_UNAVAILABLE,
    TOO_MANY_BYTES,
    Refusal,
    failure_of,
)
from envelope_codec.server.web.turns import Turns
from envelope_codec.storage.reference import is_encoded_reference, restore_sizes, strip_mark
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.temporal.system_payloads import is_reference

# Bytes that a reference counts until its size is known. Hardly anything smaller is stored.
_LEAST_SIZE = 2**18


class SingleOpener:
    """Opens one payload at a time.

    Args:
        codec: opens; compares no namespaces.
        stores: where references lead; None if they are not followed.
        at_kms: turns at a KMS.
        at_stores: turns at a store.
        timeout: seconds for one key.
    """

    def __init__(
        self, codec: EnvelopeCodec, stores: Stores | None, at_kms: Turns, at_stores: Turns, *, timeout: float
    ) -> None:
        self._codec = codec
        self._stores = stores
        self._keys = KeyFetcher(codec.keyring, at_kms, timeout=timeout)
        self._at_stores = at_stores

    async def open(self, payload: Payload, request: ReadRequest) -> Outcome:
        """Return what became of ``payload``, whatever it is."""
        try:
            if is_encoded_reference(payload):
                return await self._open_encoded_reference(payload, request)
            if is_reference(payload):
                return await self._follow(payload, payload, request)
            return await self._open_inline(payload, request)
        except BadReference:
            return Outcome(payload, BAD_REFERENCE)
        except StorageFailed:
            return Outcome(payload, STORAGE_UNAVAILABLE)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error))

    async def fetch_key(self, record: Record, request: ReadRequest) -> str | None:
        """Fetch the key of ``record``. Return the name of the failure, or None."""
        return await self._keys.fetch(record, request.visit)

    async def open_ready(self, payload: Payload, record: Record, visit: Visit) -> Outcome:
        """Open an envelope whose key is at hand."""
        try:
            [opened] = await decode(self._codec, [payload], visit)
        except EnvelopeError as error:
            return Outcome(payload, failure_of(error), record.namespace)
        return opened_outcome(opened, record)

    async def _open_inline(self, payload: Payload, request: ReadRequest) -> Outcome:
        envelope = parse(payload.metadata, payload.data)
        if envelope is None:
            return await self._open_legacy(payload, request)
        return await self._open_envelope(payload, envelope, request)

    async def _open_sealed(self, payload: Payload, request: ReadRequest) -> Outcome:
        """Open what must be an envelope: nobody may use this server to read other things from a store."""
        envelope = parse(payload.metadata, payload.data)
        if envelope is None:
            return Outcome(payload, NOT_AN_ENVELOPE)
        return await self._open_envelope(payload, envelope, request)

    async def _open_envelope(self, payload: Payload, envelope: Envelope, request: ReadRequest) -> Outcome:
        record = envelope.record
        if not request.grants.may(request.verb, record.namespace):
            return Outcome(payload, NOT_ALLOWED, record.namespace)
        failure = await self.fetch_key(record, request)
        if failure is not None:
            return Outcome(payload, failure, record.namespace)
        return await self.open_ready(payload, record, request.visit)

    async def _open_legacy(self, payload: Payload, request: ReadRequest) -> Outcome:
        """Open what a legacy codec or Temporal's proxy sealed, where the caller may read. Otherwise it passes.

        Nothing in it says of which namespace it is. An envelope in it does, and is opened only for who may read there.
        """
        namespace = request.namespace
        if not self._codec.opens_others or namespace is None or not request.grants.may(request.verb, namespace):
            return Outcome(payload, PASSED)
        # A new one each time: a codec remembers every context that it was asked for.
        codec = EnvelopeCodec(self._codec.config, namespace=namespace, keyring=self._codec.keyring)
        codec = codec.with_context(WorkflowSerializationContext(namespace=namespace, workflow_id=""))
        wrap = codec.find_foreign_key(payload)
        failure = None if wrap is None else await self._keys.fetch_foreign(namespace, wrap, request.visit)
        if failure is not None:
            return Outcome(payload, failure, namespace)
        try:
            [found] = await decode(codec, [payload], request.visit)
        except KeyNotConfigured:
            return Outcome(payload, PASSED)  # as where no key of the proxy is configured at all
        if found is payload:
            return Outcome(payload, PASSED)
        if wrap is not None and (envelope := parse(found.metadata, found.data)) is not None:
            outcome = await self._open_envelope(found, envelope, request)
            return outcome._replace(payload=payload) if outcome.failed else outcome
        return Outcome(found, OPENED, namespace, wrap.key_id if wrap is not None else "")

    async def _open_encoded_reference(self, payload: Payload, request: ReadRequest) -> Outcome:
        """Decode a reference that went through the codec, which must have been this library's, and follow it."""
        found = await self._open_sealed(strip_mark(payload), request)
        if found.failed:
            return found._replace(payload=payload)
        if not is_reference(found.payload):
            return Outcome(payload, BAD_REFERENCE, found.namespace)
        reference = restore_sizes(found.payload, payload)
        if not request.follow or self._stores is None:
            return found._replace(payload=reference)
        outcome = await self._follow(reference, payload, request)
        return found._replace(payload=reference) if outcome.kind == PASSED else outcome

    async def _follow(self, reference: Payload, payload: Payload, request: ReadRequest) -> Outcome:
        """Fetch and open what ``reference`` leads to. It must be an envelope as well.

        Args:
            reference: in clear.
            payload: ``reference`` itself, or the payload that was decoded to it. It goes back after a failure.
            request: what the caller asked for.
        """
        if not request.follow or self._stores is None:
            return Outcome(reference, PASSED)
        envelope = self._find_claim(self._stores, reference, request)
        if envelope is None and request.inline_below is not None:
            return Outcome(reference, PASSED)  # nothing sealed tells its size
        if envelope is not None:
            if not request.grants.may(request.verb, envelope.record.namespace):
                return Outcome(payload, NOT_ALLOWED, envelope.record.namespace)
            # The key of the claim is fetched here: the driver would ask the KMS past every budget.
            failure = await self.fetch_key(envelope.record, request)
            if failure is not None:
                return Outcome(payload, failure)
        if request.inline_below is not None and await self._stores.read_size(reference) > request.inline_below:
            return Outcome(reference, PASSED)
        end_turn = await self._at_stores.take(request.visit.caller, request.namespace or "")
        try:
            stored = await self._fetch(self._stores, reference, request.visit)
        except Refusal:
            return Outcome(payload, TOO_MANY_BYTES)
        finally:
            end_turn()
        found = await self._open_sealed(stored, request)
        return found._replace(payload=payload) if found.failed else found

    def _find_claim(self, stores: Stores, reference: Payload, request: ReadRequest) -> Envelope | None:
        """Return the envelope in a claim of this library. A reference that is left alone may lead anywhere."""
        try:
            claim = stores.claim_envelope(reference)
        except BadReference:
            if request.inline_below is None:
                raise
            return None
        return None if claim is None else parse(claim.metadata, claim.data)

    async def _fetch(self, stores: Stores, reference: Payload, visit: Visit) -> Payload:
        """Fetch what ``reference`` leads to, and count its bytes before they come.

        Raises:
            Refusal: there is no room for them.
        """
        counted = max(_LEAST_SIZE, await stores.read_size(reference))
        visit.take_bytes(counted)
        try:
            stored = await stores.fetch(reference)
        except BaseException:
            visit.give_back_bytes(counted)
            raise
        size = stored.ByteSize()
        if size > counted:
            visit.take_bytes(size - counted)
        else:
            visit.give_back_bytes(counted - size)
        return stored


def opened_outcome(opened: Payload, record: Record) -> Outcome:
    """Return the outcome of an envelope that was opened."""
    return Outcome(opened, OPENED, record.namespace, record.recipients[0].key_id)
