"""The payload codec for Temporal's SDK."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextvars import ContextVar

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec._frames import frameless, is_expected, place_of, without_frames
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import (
    ENCODING,
    NAME_DATA_KEY,
    NAME_ENCODING,
    NAMESPACE,
    Purpose,
    Record,
    open_envelope,
    parse,
    record_head,
    seal,
)
from envelope_codec.errors import (
    ConfigurationError,
    ContextMismatch,
    EncryptionRequired,
    EnvelopeError,
    InvalidCiphertext,
    MalformedEnvelope,
)
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.sealing_key import Scope, SealingKey
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Event, LogObserver, Observer, logger, report
from envelope_codec.temporal.legacy import LegacyCodecs, with_legacy_codecs
from envelope_codec.temporal.system_payloads import SYSTEM_MARK, admitted
from envelope_codec.temporal.untouched import any_untouched, is_untouched

_PADDING = "encryption-padding"
_REPLAYER_NAMESPACE = "ReplayNamespace"  # what the SDK's Replayer calls every namespace

unopened: ContextVar[list[EnvelopeError] | None] = ContextVar("unopened", default=None)
"""Set for everything that a replay runs: there goes what keeps it from reading a history."""


class EnvelopeCodec(PayloadCodec, WithSerializationContext):
    """Seals every payload on the way to Temporal, and opens it on the way back.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        namespace: the Temporal namespace of the client; bound to what is sealed where the SDK gives no context.
        keyring: where the keys come from, for sharing one among several codecs. It is then not this codec's to close.
        observer: receives events, if there is no ``keyring``, which has its own; what happens is logged if None.

    Raises:
        ConfigurationError: a setting is wrong.

    `encode` and `decode` raise `EnvelopeError` and nothing else, and return plaintext only whole and authentic. They
    never change their input.
    """

    @frameless
    def __init__(
        self,
        config: EnvelopeConfig | MasterKey | str,
        *,
        namespace: str = "default",
        keyring: Keyring | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._config = with_legacy_codecs(config if isinstance(config, EnvelopeConfig) else EnvelopeConfig(key=config))
        try:
            record_head(Purpose.WRAPPING_KEY, 0, {NAMESPACE: namespace})
        except MalformedEnvelope as error:
            raise ConfigurationError(f"namespace {namespace!r} can't be bound to payloads: {error}") from None
        self._owns_keyring = keyring is None
        self._keyring = keyring or self._config.keyring(observer=observer)
        self._namespace = namespace
        self._expected: str | None = None
        self._context: SealingContext | None = None
        self._resolves = self._keyring.resolves
        self._legacy = LegacyCodecs(self._config.legacy_codecs) if self._config.legacy_codecs else None
        self._open_timeout = self._keyring.limits.timeout
        self._observer = self._keyring.observer
        self._unwatched = type(self._observer) is LogObserver  # which has nothing to say of what went well
        self._variants: dict[tuple[str | None, bool], EnvelopeCodec] = {(None, False): self}

    @property
    def config(self) -> EnvelopeConfig:
        """The configuration that it was made from."""
        return self._config

    @property
    def keyring(self) -> Keyring:
        """Where the keys come from."""
        return self._keyring

    @property
    def namespace(self) -> str:
        """The namespace that is bound to what is sealed."""
        return self._namespace

    def with_context(self, context: SerializationContext) -> EnvelopeCodec:
        """The codec for this context: always the same object for the same namespace and kind of context, unless there
        is a resolver, or a legacy codec that makes a difference between other contexts too.

        Workflow and Activity contexts name a namespace, which what is opened there must have been sealed for. Others
        (Nexus, the Replayer's made-up namespace, none at all) do not, and nothing is compared.
        """
        activity = isinstance(context, ActivitySerializationContext)
        if activity or isinstance(context, WorkflowSerializationContext):
            namespace: str | None = context.namespace  # type: ignore[attr-defined]
            if not namespace or namespace == _REPLAYER_NAMESPACE:
                namespace = None
        else:
            namespace = None
        variant = self._variants.get((namespace, activity)) or self._variant(namespace, activity)
        if self._resolves and (activity or isinstance(context, WorkflowSerializationContext)):
            variant = copy.copy(variant)
            variant._context = SealingContext(variant._namespace, getattr(context, "workflow_id", None) or "")
        return variant if self._legacy is None else variant._with_legacy(self._legacy.with_context(context))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each payload. One payload in, one out."""
        if not self._config.sealing:
            return list(payloads)
        begun = time.perf_counter()
        try:
            sealed = await self._sealed(payloads)
        except BaseException as error:
            failure = self._failed("seal", len(payloads), begun, error)
        else:
            if not self._unwatched:
                self._report("seal", len(sealed), begun)
            return sealed
        del self, payloads  # the error keeps this frame, and no other
        try:
            raise failure
        finally:
            del failure  # or it and this frame would keep each other

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open each envelope, one layer of it. What is no envelope, nor opened by a legacy codec, passes untouched."""
        begun = time.perf_counter()
        try:
            return await self._opened(payloads, begun)
        except BaseException as error:
            failure = self._failed("open", len(payloads), begun, error)
        errors = unopened.get()
        if errors is not None and isinstance(failure, EnvelopeError):
            errors.append(failure.fresh())
        del self, payloads  # what passes may be in clear
        try:
            raise failure
        finally:
            del failure

    def close(self) -> None:
        """Close the keyring, if this codec made it."""
        if self._owns_keyring:
            self._keyring.close()

    async def _sealed(self, payloads: Sequence[Payload]) -> list[Payload]:
        keyring = self._keyring
        scope: Scope = self._namespace
        sealed: list[Payload] = []
        if self._resolves:
            scope = keyring.find_scope(self._context or SealingContext(self._namespace))
        marked = any_untouched(payloads)
        for payload in payloads:
            if marked and is_untouched(payload):
                sealed.append(payload)
                continue
            key = keyring.try_sealing_key(scope)
            if key is None:
                key = await keyring.sealing_key(scope)
            wrapped_data_key, data = seal(payload.SerializeToString(), key.record, key.key)
            sealed.append(_payload(key, wrapped_data_key, data))
        return sealed

    async def _opened(self, payloads: Sequence[Payload], begun: float) -> list[Payload]:
        keyring, expected = self._keyring, self._expected
        opened: list[Payload] = []
        passed = legacy = 0
        for payload in payloads:
            envelope = parse(payload.metadata, payload.data)
            if envelope is None:
                plain = None if self._legacy is None else await self._legacy.open(payload)
                if plain is None:
                    plain = self._passing(payload)
                    passed += 1
                else:
                    legacy += 1
                opened.append(plain)
                continue
            record = envelope.record
            if expected is not None and record.namespace != expected:
                self._check_namespace(record)
            key = keyring.try_opening_key(record)
            if key is None:
                key = await keyring.opening_key(record, timeout=self._open_timeout)
            opened.append(_inner(open_envelope(envelope, key)))
            keyring.note_opened(record)
        if not self._unwatched:
            counts = {"pass": passed, "legacy": legacy, "open": len(opened) - passed - legacy}
            for operation, count in counts.items():
                if count:
                    self._report(operation, count, begun)
        return opened

    def _passing(self, payload: Payload) -> Payload:
        passing = admitted(payload) if self._config.require_encryption else payload
        if passing is None:
            raise EncryptionRequired("the payload is not encrypted, and encryption is required", operation="open")
        return passing

    def _check_namespace(self, record: Record) -> None:
        if self._config.namespace_aliases.get(record.namespace) != self._expected:
            raise ContextMismatch("the envelope was sealed for another namespace", operation="open")

    def _variant(self, namespace: str | None, activity: bool) -> EnvelopeCodec:
        root = self._variants[(None, False)]
        variant = copy.copy(root)
        if namespace is not None:
            variant._namespace = variant._expected = namespace
        if activity:
            variant._open_timeout = root._config.activity_timeout
        return self._variants.setdefault((namespace, activity), variant)

    def _with_legacy(self, legacy: LegacyCodecs) -> EnvelopeCodec:
        if legacy is self._legacy:
            return self
        variant = copy.copy(self)
        variant._legacy = legacy
        return variant

    def _failed(self, operation: str, count: int, begun: float, error: BaseException) -> BaseException:
        """What leaves in place of ``error``: without its frames, which hold keys and what was opened before."""
        if not is_expected(error):
            # Its words may be the user's data, and Temporal's SDK would store them in clear.
            logger.error("the codec failed unexpectedly at %s: %s", operation, place_of(error))
            error = EnvelopeError("the codec failed unexpectedly", operation=operation)
        without_frames(error)
        if isinstance(error, EnvelopeError):
            self._report(operation, count, begun, error)
        return error

    def _report(self, operation: str, count: int, begun: float, error: EnvelopeError | None = None) -> None:
        event = Event(
            operation,
            type(error).__name__ if error else "ok",
            self._namespace,
            (error.key_id or "") if error else "",
            time.perf_counter() - begun,
            count,
            str(error) if error else "",
        )
        report(self._observer, event)


def _inner(data: bytes) -> Payload:
    try:
        payload = Payload.FromString(data)
    except DecodeError:
        raise InvalidCiphertext("what was sealed is not a payload", operation="open") from None
    if _PADDING in payload.metadata:
        del payload.metadata[_PADDING]
    if SYSTEM_MARK in payload.metadata:  # whoever put it there: what has it must not be taken for what nobody sealed
        del payload.metadata[SYSTEM_MARK]
    return payload


def _payload(key: SealingKey, wrapped_data_key: bytes | None, data: bytes) -> Payload:
    template = key.template
    if template is None:
        template = key.template = Payload(metadata=key.record.metadata)
    payload = Payload()
    payload.CopyFrom(template)  # a quarter of the time that setting each entry takes
    if wrapped_data_key is not None:
        payload.metadata[NAME_DATA_KEY] = wrapped_data_key
    payload.data = data
    return payload


def is_envelope(payload: Payload) -> bool:
    """Whether ``payload`` claims to be an envelope of the version that is written today."""
    return payload.metadata.get(NAME_ENCODING) == ENCODING
