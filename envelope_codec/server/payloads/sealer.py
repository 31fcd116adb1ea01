"""Sealing payloads for a caller: all of a request or none, since what is not sealed would be stored in clear."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachetools import LRUCache
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import NAME_KEY_ID
from envelope_codec.errors import ConfigurationError, KeyNotConfigured, KmsUnavailable
from envelope_codec.server.payloads.outcome import PASSED, SEALED, Outcome
from envelope_codec.server.payloads.reference import is_marked, is_reference
from envelope_codec.server.web.turns import Turns
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope

_CODECS = 1_000


class Sealer:
    """Seals payloads.

    Args:
        codec: whose configuration and keyring are used.
        turns: at the KMS.
        timeout: seconds for those of one request.
    """

    def __init__(self, codec: EnvelopeCodec, turns: Turns, *, timeout: float) -> None:
        self._codec = codec
        self._turns = turns
        self._timeout = timeout
        self._codecs: LRUCache[str, EnvelopeCodec] = LRUCache(_CODECS)

    async def seal(
        self, payloads: Sequence[Payload], namespace: str, caller: str, *, keep_references: bool
    ) -> list[Outcome]:
        """What becomes of each of ``payloads``, in their order.

        Args:
            payloads: in clear.
            namespace: to seal them for.
            caller: who asks, for their turn at the KMS.
            keep_references: whether references to external storage stay as they are.

        Raises:
            EnvelopeError: one of them can't be sealed.
        """
        codec = self._for(namespace)
        kept = [keep_references and (is_reference(payload) or is_marked(payload)) for payload in payloads]
        given = [payload for payload, keep in zip(payloads, kept, strict=True) if not keep]
        try:
            sealed = iter(await asyncio.wait_for(self._encoded(codec, given, caller), self._timeout))
        except asyncio.TimeoutError:
            raise KmsUnavailable("the KMS did not answer before the deadline", operation="seal") from None
        return [
            Outcome(payload, PASSED) if keep else _outcome(next(sealed), namespace)
            for payload, keep in zip(payloads, kept, strict=True)
        ]

    async def _encoded(self, codec: EnvelopeCodec, payloads: list[Payload], caller: str) -> list[Payload]:
        end = await self._turns.take(caller, codec.namespace)
        try:
            return await codec.encode(payloads)
        finally:
            end()

    def _for(self, namespace: str) -> EnvelopeCodec:
        root = self._codec
        if not root.keyring.seals(namespace):
            raise KeyNotConfigured("the namespace has no master key to seal with", operation="seal")
        codec = self._codecs.get(namespace)
        if codec is None:
            try:
                codec = EnvelopeCodec(root.config, namespace=namespace, keyring=root.keyring)
            except ConfigurationError:  # it is too long, or of a text that no record can hold
                raise KeyNotConfigured("the namespace can't be bound to payloads", operation="seal") from None
            self._codecs[namespace] = codec
        return codec


def _outcome(payload: Payload, namespace: str) -> Outcome:
    if not is_envelope(payload):  # ``sealing`` is off
        return Outcome(payload, PASSED)
    return Outcome(payload, SEALED, namespace, payload.metadata[NAME_KEY_ID].decode())
