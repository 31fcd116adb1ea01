"""The library as the reader of test vectors: its codec and keyring, over the KMSs, rows and settings that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import InvalidCiphertext
from envelope_codec.keys.clock import Clock
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.observe import Observer
from envelope_codec.temporal.codec import EnvelopeCodec
from tests.support.rows_on_fake import FakeRows
from tests.vectors.vector_files import Vector


class VectorKey:
    """One master key of the KMSs of some vectors."""

    def __init__(self, vectors: list[Vector], key_id: str) -> None:
        self._vectors = vectors
        self.key_id = key_id

    def accepts(self, key_id: str) -> bool:
        return key_id == self.key_id

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        raise AssertionError("nothing is sealed here")

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        for vector in self._vectors:
            with suppress(LookupError):
                secret = vector.unwrap(wrapped.key_id, wrapped.key_version, wrapped.ciphertext, context)
                return Unwrapped(secret, wrapped.key_version)
        raise InvalidCiphertext("the KMS refused", operation="unwrap")

    def close(self) -> None:
        pass


class VectorReader:
    """A reader that is set up as these vectors say.

    Args:
        vectors: whose KMSs and rows there are. Namespace and ``max_payload`` are the last one's.
        configured: namespace and key ids; the last vector's if None.
        spawn: see `Keyring`.
        clock: see `Keyring`.
        observer: see `Keyring`.
        settings: further ones of `EnvelopeConfig`.
    """

    def __init__(
        self,
        *vectors: Vector,
        configured: Mapping[str, list[str]] | None = None,
        spawn: Callable[[Callable[[], None]], object] | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
        **settings: object,
    ) -> None:
        last, every = vectors[-1], list(reversed(vectors))  # two may have a KMS answer the same differently
        key_sets = {
            namespace: KeySet(
                VectorKey(every, key_ids[0]), decrypt_keys=tuple(VectorKey(every, key_id) for key_id in key_ids[1:])
            )
            for namespace, key_ids in (last.configured if configured is None else configured).items()
            if key_ids
        }
        self._rows = FakeRows() if any(one.keystore for one in vectors) else None
        for one in vectors:
            for key, data in one.keystore.items():
                self.keep(key, data)
        self.keyring = Keyring(key_sets.get, keystore=self._rows, spawn=spawn, clock=clock, observer=observer)
        if last.max_payload is not None:  # smaller than the setting may be
            settings["max_payload"] = last.max_payload
        config = EnvelopeConfig(key="localfile:///unused").model_copy(update=settings)
        self._unaware = EnvelopeCodec(config, keyring=self.keyring)
        self._codec = self._unaware
        if last.namespace is not None:
            self._codec = self._unaware.with_context(WorkflowSerializationContext(last.namespace, "w"))

    @property
    def is_cold(self) -> bool:
        """Whether no unwrapped key is at hand."""
        return not self.keyring._opening._keys and not self.keyring._opening._hot

    def keep(self, key: bytes, row: bytes) -> None:
        """Put a row into the keystore, whatever is there."""
        assert self._rows is not None
        self._rows.keystore.kept[key] = row, f"kept-{len(self._rows.keystore.kept)}"

    async def warm_up(self, *vectors: Vector) -> None:
        """Open these, wherever they were sealed."""
        for one in vectors:
            await self._unaware.decode([Payload(metadata=one.metadata, data=one.data)])

    async def read(self, payload: Payload) -> Payload:
        """What becomes of a payload."""
        [read] = await self._codec.decode([payload])
        return read

    def close(self) -> None:
        self.keyring.close()
