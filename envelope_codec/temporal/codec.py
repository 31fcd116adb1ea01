"""The payload codec for Temporal's SDK."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec._frames import frameless
from envelope_codec.config import EnvelopeConfig
from envelope_codec.envelope import (
    ENCODING,
    ENCODING_FAMILY,
    NAME_ENCODING,
    NAMESPACE,
    Envelope,
    Purpose,
    Record,
    open_envelope,
    parse,
    record_head,
)
from envelope_codec.errors import (
    ConfigurationError,
    ContextMismatch,
    EncryptionRequired,
    EnvelopeError,
    MalformedEnvelope,
)
from envelope_codec.keys.foreign_keys import ForeignWrap
from envelope_codec.keys.keyring import Keyring
from envelope_codec.keys.keyset import SealingContext
from envelope_codec.keys.sealing_key import Scope, SealingKey
from envelope_codec.kms import MasterKey
from envelope_codec.observe import Observer
from envelope_codec.temporal.codec_events import CodecEvents
from envelope_codec.temporal.inner_payload import COMPRESSED, InnerFormat, foresee_unpacking, scanning_work
from envelope_codec.temporal.large_payloads import EACH, LARGE, SHARE, must_wait, work_in_thread
from envelope_codec.temporal.legacy import LegacyCodecs, load_legacy_codecs
from envelope_codec.temporal.proxied_payloads import ProxiedPayloads
from envelope_codec.temporal.replay_errors import note_error
from envelope_codec.temporal.sealed_payload import finish_inner_payload, seal_payload, strip
from envelope_codec.temporal.system_payloads import admit
from envelope_codec.temporal.untouched import any_untouched, is_untouched
from envelope_codec.temporal.zstd_frame import Take

_NAMING_CONTEXTS = (ActivitySerializationContext, WorkflowSerializationContext)
AHEAD = 8  # records: hostile ones cost a KMS no more calls than these before the first has failed
_REPLAYER_NAMESPACE = "ReplayNamespace"  # what the SDK's Replayer calls every namespace


class EnvelopeCodec(PayloadCodec, WithSerializationContext):
    """Seals every payload on the way to Temporal, and opens it on the way back.

    `encode` and `decode` raise `EnvelopeError` and nothing else. They return plaintext only whole and authentic, and
    never change their input.

    Args:
        config: a key (AWS KMS ARN, GCP CryptoKey name, key URI, `MasterKey`), or a whole configuration.
        namespace: the Temporal namespace of the client. It is bound to what is sealed where the SDK gives no context.
        keyring: where the keys come from, for sharing one among several codecs. This codec then does not close it.
        observer: receives events. Without one, what happens is logged. A ``keyring`` that is given has its own.

    Raises:
        ConfigurationError: a setting is wrong.
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
        self._config = load_legacy_codecs(config if isinstance(config, EnvelopeConfig) else EnvelopeConfig(key=config))
        try:
            record_head(Purpose.WRAPPING_KEY, 0, {NAMESPACE: namespace})
        except MalformedEnvelope as error:
            raise ConfigurationError(f"namespace {namespace!r} can't be bound to payloads: {error}") from None
        self._inner = InnerFormat.of(self._config)
        self._owns_keyring = keyring is None
        self._keyring = keyring or self._config.keyring(observer=observer)
        self._namespace = namespace
        self._expected: str | None = None
        self._context: SealingContext | None = None
        self._resolves = self._keyring.resolves
        self._legacy = LegacyCodecs(self._config.legacy_codecs) if self._config.legacy_codecs else None
        self._proxied = ProxiedPayloads(self._keyring) if self._config.opens_proxied else None
        own = type(self).with_context is EnvelopeCodec.with_context  # a subclass may have another
        self._lasting = own and not self._resolves and (self._legacy is None or not self._legacy.takes_context)
        self._open_timeout = self._keyring.limits.timeout
        self._events = CodecEvents(self._keyring.observer, namespace)
        self._variants: dict[tuple[str | None, bool], EnvelopeCodec] = {(None, False): self}

    @property
    def config(self) -> EnvelopeConfig:
        """The configuration of this codec, with legacy codecs as objects."""
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
        """Return the codec for this context.

        It is always the same object for the same namespace and kind of context. There are two exceptions: a resolver,
        and a legacy codec that distinguishes more contexts than these.

        Workflow and Activity contexts name a namespace, and what is opened there must have been sealed for it. Other
        contexts (Nexus, the Replayer's made-up namespace, none at all) name none, and nothing is compared.
        """
        place = _named_namespace(context), isinstance(context, ActivitySerializationContext)
        variant = self._variants.get(place) or self._add_variant(*place)
        if variant._inner is not self._inner:
            variant = variant._with_inner(self._inner)
        if self._resolves and (sealing := _sealing_context(context, variant._namespace)) is not None:
            variant = copy.copy(variant)
            variant._context = sealing
        return variant if self._legacy is None else variant._with_legacy(self._legacy.with_context(context))

    @property
    def opens_others(self) -> bool:
        """Whether payloads that are no envelopes may be opened: a legacy codec's, or those of Temporal's proxy."""
        return self._legacy is not None or self._proxied is not None

    def find_foreign_key(self, payload: Payload) -> ForeignWrap | None:
        """Return the data key that Temporal's proxy sealed ``payload`` with, if it is one to be opened here.

        Raises:
            MalformedEnvelope: it is, but is not whole.
        """
        proxied = None if self._proxied is None else self._proxied.read(payload, self._namespace)
        return None if proxied is None else proxied.wrap

    @property
    def has_lasting_variants(self) -> bool:
        """Whether `with_context` returns the same object for the same namespace and kind of context."""
        return self._lasting

    def with_budget(self, take: Take) -> EnvelopeCodec:
        """Return this codec with a bound on what comes out of payloads that take more memory than their envelopes.

        Args:
            take: called with the size of what a compressed payload yields, before it is decompressed, and with what
                many fields take, before they are parsed; in any thread. It raises an `EnvelopeError` to refuse. The
                codecs that `with_context` returns have the same bound. An envelope in what Temporal's proxy sealed
                stays as it is then: its key may cost a call of the KMS, and the caller opens it by a call of its own.
        """
        return self._with_inner(replace(self._inner, take=take))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each payload. One payload in, one out."""
        if not self._config.sealing:
            return list(payloads)
        begun = time.perf_counter()
        try:
            sealed, size = await self._seal(payloads)
        except BaseException as error:
            failure = self._events.prepare_failure("seal", len(payloads), begun, error)
        else:
            self._events.report_success("seal", len(sealed), begun, size)
            if self._inner.compresses:
                self._events.report_compression(payloads, sealed, size)
            return sealed
        del self, payloads  # the error keeps this frame, and no other
        try:
            raise failure
        finally:
            del failure  # or the error and this frame would keep each other

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open each envelope, one layer of it. A payload that is neither an envelope, nor opened by a legacy codec or
        as Temporal's proxy sealed it, passes untouched, unless encryption is required.
        """
        begun = time.perf_counter()
        try:
            return await self._open(payloads, begun)
        except BaseException as error:
            failure = self._events.prepare_failure("open", len(payloads), begun, error)
        if isinstance(failure, EnvelopeError):
            note_error(failure)
        del self, payloads  # payloads that are no envelopes may be in clear
        try:
            raise failure
        finally:
            del failure

    def look_ahead(self, payloads: Iterable[Payload], at_most: int = AHEAD) -> int:
        """Begin to fetch the keys that these payloads need and that are not at hand, some at a time.

        `decode` opens one payload after another, and so would ask the KMS for one record after another. Nothing is
        raised: whatever is wrong with a payload is told by `decode`, at its turn, and none after it is looked at.

        Args:
            payloads: in the order in which they will be opened.
            at_most: for so many records.

        Returns:
            For how many more records it would be of use.
        """
        missing: set[bytes] = set()
        for payload in payloads:
            try:
                envelope = parse(payload.metadata, payload.data)
                if envelope is None or self._keyring.try_opening_key(envelope.record) is not None:
                    continue
                if self._expected is not None and envelope.record.namespace != self._expected:
                    self._check_alias(envelope.record)
            except EnvelopeError:
                return 0
            missing.add(envelope.record.id)
            if not self._keyring.fetch_ahead(envelope.record) or len(missing) >= at_most:
                return 0
        return at_most - len(missing)

    def close(self) -> None:
        """Close the keyring, if this codec made it."""
        if self._owns_keyring:
            self._keyring.close()

    async def _seal(self, payloads: Sequence[Payload]) -> tuple[list[Payload], int]:
        """Return what becomes of ``payloads``, and how many bytes those that were sealed have."""
        keyring = self._keyring
        scope: Scope = self._namespace
        sealed: list[Payload] = []
        if self._resolves:
            scope = keyring.find_scope(self._context or SealingContext(self._namespace))
        marked = any_untouched(payloads)
        done = total = 0
        for payload in payloads:
            if marked and is_untouched(payload):
                sealed.append(payload)
                continue
            if done > SHARE:
                done = 0
                await asyncio.sleep(0)
            key = keyring.try_sealing_key(scope)
            if key is None:
                key = await keyring.sealing_key(scope)
            content = payload.SerializeToString()  # there is no quicker way to tell the size
            size = len(content)
            total += size
            work = self._inner.sealing_work(payload, size)
            if work > LARGE:
                del content  # others may have to wait for their turn, and only the payload is to be in memory meanwhile
                sealed.append(await self._seal_large(payload, key, scope))
            else:
                sealed.append(seal_payload(payload, key, self._inner, content))
                done += work + EACH
        return sealed, total

    async def _seal_large(self, payload: Payload, key: SealingKey, scope: Scope) -> Payload:
        keyring = self._keyring
        # In direct mode a key is for one payload alone: there is no other that may be at hand.
        find = (lambda: key) if keyring.direct else partial(keyring.try_sealing_key, scope)
        work = partial(_seal_with, payload, self._inner)
        return await work_in_thread(work, key, find, partial(keyring.sealing_key, scope))

    async def _open(self, payloads: Sequence[Payload], begun: float) -> list[Payload]:
        keyring, expected = self._keyring, self._expected
        opened: list[Payload] = []
        others = {"pass": 0, "legacy": 0}
        observed = self._events.wants_successes
        done = size = fetched = 0
        for payload in payloads:
            if done > SHARE:
                done = 0
                await asyncio.sleep(0)
            envelope = parse(payload.metadata, payload.data)
            if envelope is None:
                operation, plain = await self._open_other(payload, begun)
                opened.append(plain)
                others[operation] += 1
                done += 0 if plain is payload else len(payload.data) + EACH
                continue
            record = envelope.record
            if expected is not None and record.namespace != expected:
                self._check_alias(record)
            key = keyring.try_opening_key(record)
            if key is None:
                fetched += 1
                self.look_ahead(islice(payloads, len(opened) + 1, None))
                key = await keyring.opening_key(record, timeout=self._open_timeout)
            work = len(envelope.data)
            if observed:
                size += work
            if work > LARGE:
                held = [envelope]
                del envelope
                opened.append(await self._open_large(payload, held, key, record))
            else:
                content = open_envelope(envelope, key)
                del envelope  # or its data would be in memory while the payload is made
                plain = self._inner.parse(content)
                metadata = plain.metadata  # asked for once: each time it is another object
                if self._inner.take is None and metadata.get(NAME_ENCODING) != COMPRESSED:
                    strip(metadata)
                    opened.append(plain)
                    done += work + EACH
                else:
                    length, inner = len(content), [plain]
                    del content, plain, metadata
                    plain, work = await self._unpack(payload, inner, length, key, record)
                    opened.append(plain)
                    done += work
            keyring.note_opened(record)
        if observed:
            self._events.report_opened(others, len(opened), begun, size, fetched)
        return opened

    async def _unpack(
        self, payload: Payload, inner: list[Payload], length: int, key: bytes, record: Record
    ) -> tuple[Payload, int]:
        """Return what was in ``payload``, and how much work of this thread it took: in bytes that the cipher does.

        Args:
            payload: an envelope.
            inner: what was in it, ``length`` bytes, perhaps compressed. It is taken out.
            length: in bytes.
            key: opens it.
            record: of the envelope.
        """
        packed = inner.pop()
        size, work = foresee_unpacking(packed)
        work += length
        if work > LARGE:  # a small envelope may yield much
            del packed
            return await self._open_large(payload, [], key, record), 0
        plain = finish_inner_payload(packed, self._inner)
        looked_at = size or (0 if self._inner.take is None else length)
        return plain, work + EACH + scanning_work(looked_at, plain)

    async def _open_large(self, payload: Payload, held: list[Envelope], key: bytes, record: Record) -> Payload:
        keyring = self._keyring
        find = (lambda: key) if record.purpose is Purpose.DATA_KEY else partial(keyring.try_opening_key, record)
        get = partial(keyring.opening_key, record, timeout=self._open_timeout)
        if must_wait():
            held.clear()  # only the payload is to be in memory meanwhile
        return await work_in_thread(partial(_open_with, payload, held, self._inner), key, find, get)

    async def _open_other(self, payload: Payload, begun: float) -> tuple[str, Payload]:
        """Return what becomes of a payload that is no envelope, and the operation that events call it."""
        plain = await self._open_proxied(payload, begun)
        if plain is None and self._legacy is not None:
            plain = await self._legacy.open(payload)
        if plain is not None:
            strip(plain.metadata)
            return "legacy", plain
        if self._proxied is not None:
            self._proxied.refuse(payload, self._namespace)
        passing = admit(payload) if self._config.require_encryption else payload
        if passing is None:
            raise EncryptionRequired("the payload is not encrypted, and encryption is required", operation="open")
        return "pass", passing

    async def _open_proxied(self, payload: Payload, begun: float) -> Payload | None:
        """Return what Temporal's proxy sealed, and what our own envelope in that holds. None if it is none of its own.

        Where a process sealed and still went through the proxy, the proxy sealed the envelope once more.
        """
        if self._proxied is None:
            return None
        proxied = self._proxied.read(payload, self._namespace)
        if proxied is None:
            return None
        plain = await self._proxied.open(proxied, self._namespace, self._inner, self._open_timeout)
        if plain.metadata.get(NAME_ENCODING, b"").startswith(ENCODING_FAMILY) and self._inner.take is None:
            [plain] = await self._open([plain], begun)
        return plain

    def _check_alias(self, record: Record) -> None:
        if self._config.namespace_aliases.get(record.namespace) != self._expected:
            raise ContextMismatch("the envelope was sealed for another namespace", operation="open")

    def _add_variant(self, namespace: str | None, activity: bool) -> EnvelopeCodec:
        root = self._variants[(None, False)]
        variant = copy.copy(root)
        if namespace is not None:
            variant._namespace = variant._expected = namespace
            variant._events = root._events.for_namespace(namespace)
        if activity:
            variant._open_timeout = root._config.activity_timeout
        return self._variants.setdefault((namespace, activity), variant)

    def _with_inner(self, inner: InnerFormat) -> EnvelopeCodec:
        variant = copy.copy(self)
        variant._inner = inner
        variant._lasting = False  # its variants are made for each call of `with_context`
        return variant

    def _with_legacy(self, legacy: LegacyCodecs) -> EnvelopeCodec:
        if legacy is self._legacy:
            return self
        variant = copy.copy(self)
        variant._legacy = legacy
        return variant


def _seal_with(payload: Payload, inner: InnerFormat, key: SealingKey) -> Payload:
    return seal_payload(payload, key, inner)


def _open_with(payload: Payload, held: list[Envelope], inner: InnerFormat, key: bytes) -> Payload:
    """Open ``payload``. If its envelope is in ``held``, it is taken out: or it would be in memory to the end."""
    envelope = held.pop() if held else parse(payload.metadata, payload.data)
    if envelope is None:
        raise MalformedEnvelope("the envelope changed while it was opened")
    content = open_envelope(envelope, key)
    del envelope
    plain = inner.parse(content)
    del content
    return finish_inner_payload(plain, inner)


def _named_namespace(context: SerializationContext) -> str | None:
    """Return the namespace that ``context`` names. None where it names none that is real."""
    if not isinstance(context, _NAMING_CONTEXTS) or context.namespace == _REPLAYER_NAMESPACE:
        return None
    return context.namespace or None


def _sealing_context(context: SerializationContext, namespace: str) -> SealingContext | None:
    """Return what a resolver is told of a payload that is sealed in ``context``. None where it names nothing."""
    if isinstance(context, _NAMING_CONTEXTS):
        return SealingContext(namespace, context.workflow_id or "")
    if isinstance(context, NexusSerializationContext):
        return SealingContext(namespace, "", context.endpoint, context.service, context.operation)
    return None


def is_envelope(payload: Payload) -> bool:
    """Whether ``payload`` claims to be an envelope of the version that is written today."""
    return payload.metadata.get(NAME_ENCODING) == ENCODING
