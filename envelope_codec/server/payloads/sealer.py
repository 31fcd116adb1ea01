"""Sealing the payloads of a request: all of them or none, since whatever is not sealed would be stored in clear."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachetools import LRUCache
from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import NAME_KEY_ID
from envelope_codec.errors import ConfigurationError, KeyNotConfigured, KmsUnavailable
from envelope_codec.server.payloads.outcome import PASSED, SEALED, Outcome
from envelope_codec.server.web.turns import Turns
from envelope_codec.storage.reference import refers_to_storage
from envelope_codec.temporal.codec import EnvelopeCodec, is_envelope

_CODECS = 1_000


class Sealer:
    """Seals the payloads of requests.

    Args:
        codec: its configuration and keyring are used.
        turns: at the KMS.
        timeout: seconds for the payloads of one request.
    """

    def __init__(self, codec: EnvelopeCodec, turns: Turns, *, timeout: float) -> None:
        self._codec = codec
        self._turns = turns
        self._timeout = timeout
        self._codecs: LRUCache[str, EnvelopeCodec] = LRUCache(_CODECS)

    async def seal(
        self, payloads: Sequence[Payload], namespace: str, caller: str, *, keep_references: bool
    ) -> list[Outcome]:
        """Return what became of each of ``payloads``, in their order.

        Args:
            payloads: in clear.
            namespace: the one to seal them for.
            caller: whose turn at the KMS is taken.
            keep_references: whether references to external storage stay as they are.

        Raises:
            EnvelopeError: one of them can't be sealed.
        """
        codec = self._codec_for(namespace)
        kept = [keep_references and refers_to_storage(payload) for payload in payloads]
        given = [payload for payload, keep in zip(payloads, kept, strict=True) if not keep]
        try:
            sealed = iter(await asyncio.wait_for(self._encode(codec, given, caller), self._timeout))
        except asyncio.TimeoutError:
            raise KmsUnavailable("the KMS did not answer before the deadline", operation="seal") from None
        return [
            Outcome(payload, PASSED) if keep else _sealed_outcome(next(sealed), namespace)
            for payload, keep in zip(payloads, kept, strict=True)
        ]

    async def _encode(self, codec: EnvelopeCodec, payloads: list[Payload], caller: str) -> list[Payload]:
        end_turn = await self._turns.take(caller, codec.namespace)
        try:
            return await codec.encode(payloads)
        finally:
            end_turn()

    def _codec_for(self, namespace: str) -> EnvelopeCodec:
        root = self._codec
        if not root.keyring.seals(namespace):
            raise KeyNotConfigured("the namespace has no master key to seal with", operation="seal")
        codec = self._codecs.get(namespace)
        if codec is None:
            try:
                codec = EnvelopeCodec(root.config, namespace=namespace, keyring=root.keyring)
            except ConfigurationError:  # the name is too long, or a text that no record can hold
                raise KeyNotConfigured("the namespace can't be bound to payloads", operation="seal") from None
            self._codecs[namespace] = codec
        return codec


def _sealed_outcome(payload: Payload, namespace: str) -> Outcome:
    if not is_envelope(payload):  # ``sealing`` is off
        return Outcome(payload, PASSED)
    return Outcome(payload, SEALED, namespace, payload.metadata[NAME_KEY_ID].decode())
