"""What the codec promises to those who call it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    WorkflowSerializationContext,
)

from envelope_codec import (
    ConfigurationError,
    ContextMismatch,
    EncryptionRequired,
    EnvelopeCodec,
    EnvelopeConfig,
    EnvelopeError,
    Event,
    InvalidCiphertext,
    KeyDenied,
    KeyNotConfigured,
    Keyring,
    KmsUnavailable,
    MalformedEnvelope,
)
from envelope_codec.envelope import (
    Purpose,
    Recipient,
    Record,
    build_record,
    commit,
    kms_context,
    parse_record,
    record_head,
    seal,
)
from envelope_codec.keys.keyset import KeySet, SealingContext
from envelope_codec.keys.limits import Limits
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms, ManualClock

PLAIN = Payload(metadata={"encoding": b"json/plain", "messageType": b"x.Y"}, data=b'{"iban": "DE02 1203"}')


def activity_context(namespace: str) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace=namespace,
        activity_id="1",
        activity_type=None,
        activity_task_queue=None,
        workflow_id="w",
        workflow_type=None,
        is_local=False,
    )


class Events:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.seen.append(event)


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


def make(kms: FakeKms, namespace: str = "default", **settings: Any) -> EnvelopeCodec:
    return EnvelopeCodec(EnvelopeConfig(key=kms, **settings), namespace=namespace)


def sealed_by_hand(inner: bytes, record: Record, key: bytes) -> Payload:
    wrapped, data = seal(inner, record, key)
    assert wrapped is not None
    return Payload(metadata={**record.metadata, "encryption-data-key": wrapped}, data=data)


async def one(codec: EnvelopeCodec, payload: Payload) -> Payload:
    [sealed] = await codec.encode([payload])
    return sealed


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 7, os.urandom(3 << 20)], ids=["empty", "binary", "3 MiB"])
async def test_what_is_sealed_opens_elsewhere(kms: FakeKms, wrapping: str, data: bytes) -> None:
    plain = Payload(metadata={"encoding": b"binary/plain"}, data=data)
    sealed = await one(make(kms, wrapping=wrapping), plain)
    assert sealed.metadata["encoding"] == b"binary/envelope-v1"
    assert len(data) == 0 or data not in sealed.SerializeToString()
    assert await make(kms, wrapping=wrapping).decode([sealed]) == [plain]


async def test_an_empty_payload_and_no_payload(kms: FakeKms) -> None:
    codec = make(kms)
    assert await codec.decode(await codec.encode([Payload()])) == [Payload()]
    assert await codec.encode([]) == []
    assert await codec.decode([]) == []


@pytest.mark.slow
async def test_ten_thousand_payloads_cost_one_wrap_and_two_unwraps(kms: FakeKms) -> None:
    writer, reader = make(kms), make(kms)
    payloads = [Payload(metadata={"encoding": b"json/plain"}, data=b"%d" % number) for number in range(10_000)]
    sealed = [await one(writer, payload) for payload in payloads]
    assert (kms.wraps, kms.unwraps) == (1, 1)  # the writer's own check before first use
    assert [plain for envelope in sealed for plain in await reader.decode([envelope])] == payloads
    assert (kms.wraps, kms.unwraps) == (1, 2)


async def test_a_thousand_concurrent_opens_of_one_unknown_wrapping_key_are_one_unwrap(kms: FakeKms) -> None:
    sealed = await one(make(kms), PLAIN)
    reader, before = make(kms), kms.unwraps
    waiting = threading.Event()
    kms.before_call = lambda operation: waiting.wait(30)  # type: ignore[assignment]
    opens = [asyncio.create_task(reader.decode([sealed])) for _ in range(1_000)]
    await asyncio.sleep(0)  # each runs to where it waits
    waiting.set()
    assert await asyncio.gather(*opens) == [[PLAIN]] * 1_000
    assert kms.unwraps - before == 1


async def test_direct_mode_is_one_wrap_for_each_payload(kms: FakeKms) -> None:
    codec = make(kms, wrapping="direct")
    sealed = await codec.encode([PLAIN] * 7)
    assert (kms.wraps, kms.unwraps) == (7, 0)
    assert len({payload.metadata["encryption-wrapped-key"] for payload in sealed}) == 7
    assert await codec.decode(sealed) == [PLAIN] * 7
    assert (kms.wraps, kms.unwraps) == (7, 7)


async def test_each_payload_has_a_data_key_and_a_nonce_of_its_own(kms: FakeKms) -> None:
    sealed = await make(kms).encode([PLAIN] * 50)
    assert len({payload.metadata["encryption-data-key"] for payload in sealed}) == 50
    assert len({payload.data[32:44] for payload in sealed}) == 50


class Watched(FakeKms):
    """Writes down whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: list[bytes] = []
        self.contexts: list[dict[str, str]] = []
        self.ciphertexts: list[bytes] = []

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self.secrets.append(secret)
        self.contexts.append(dict(context))
        return super().wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self.ciphertexts.append(wrapped.ciphertext)
        self.contexts.append(dict(context))
        return super().unwrap(wrapped, context)


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_the_kms_is_given_secrets_and_names_and_nothing_of_a_payload(wrapping: str) -> None:
    kms = Watched()
    writer = make(kms, wrapping=wrapping)
    sealed = await writer.encode([PLAIN] * 3)
    assert await make(kms, wrapping=wrapping).decode(sealed) == [PLAIN] * 3
    records = [parse_record(one.metadata["encryption-wrapped-key"], kms.key_id.encode()) for one in sealed]
    assert {len(secret) for secret in kms.secrets} == {32}
    assert set(kms.ciphertexts) == {record.recipients[0].ciphertext for record in records}
    purpose = "data-key" if wrapping == "direct" else "wrapping-key"
    names = {"temporal-namespace": "default", "envelope-codec:purpose": purpose}
    assert {record.id.hex() for record in records} == {context.pop("envelope-codec:id") for context in kms.contexts}
    assert all(context == names for context in kms.contexts)


async def test_equal_payloads_look_different_and_their_size_shows_to_the_byte(kms: FakeKms) -> None:
    codec = make(kms)
    first, second, longer = await codec.encode([PLAIN, PLAIN, Payload(metadata=PLAIN.metadata, data=PLAIN.data + b" ")])
    assert first.data[:32] != second.data[:32]
    assert first.data[44:] != second.data[44:]
    assert len(longer.data) - 1 == len(first.data) == len(second.data) == 60 + len(PLAIN.SerializeToString())


async def test_the_overhead_with_one_aws_recipient_is_under_600_bytes() -> None:
    context = {"temporal-namespace": "default"}
    head = record_head(Purpose.WRAPPING_KEY, 1, context)
    key, record_id = commit(bytes(32), head)
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    record = build_record(head, record_id, [Recipient(arn, "", os.urandom(184))])
    sealed = sealed_by_hand(PLAIN.SerializeToString(), record, key)
    assert len(sealed.SerializeToString()) - len(PLAIN.SerializeToString()) < 600


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_any_changed_byte_of_any_field_is_an_envelope_error(wrapping: str) -> None:
    codec = make(FakeKms("fakekms://a-key-whose-name-has-a-length-of-its-own"), wrapping=wrapping)
    sealed = await one(codec, PLAIN)
    changes = 0
    for name, value in [*sealed.metadata.items(), ("", sealed.data)]:
        for position in range(len(value)):
            for bit in (0x01, 0x80):
                changed = Payload()
                changed.CopyFrom(sealed)
                broken = value[:position] + bytes([value[position] ^ bit]) + value[position + 1 :]
                if name:
                    changed.metadata[name] = broken
                else:
                    changed.data = broken
                with pytest.raises(EnvelopeError):
                    await codec.decode([changed])
                changes += 1
    assert changes > 600
    assert await codec.decode([sealed]) == [PLAIN]


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_any_changed_byte_of_a_metadata_name_is_an_envelope_error(kms: FakeKms, wrapping: str) -> None:
    codec = make(kms, wrapping=wrapping)
    sealed = await one(codec, PLAIN)
    for name in list(sealed.metadata):
        for position in range(len(name)):
            changed = Payload()
            changed.CopyFrom(sealed)
            value = changed.metadata.pop(name)
            changed.metadata[name[:position] + chr(ord(name[position]) ^ 1) + name[position + 1 :]] = value
            with pytest.raises(EnvelopeError):
                await codec.decode([changed])


async def test_truncated_and_extended_fields_are_envelope_errors(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    for name, value in [*sealed.metadata.items(), ("", sealed.data)]:
        for broken in (b"", value[:-1], value[1:], value + b"\x00", value * 2):
            changed = Payload()
            changed.CopyFrom(sealed)
            if name:
                changed.metadata[name] = broken
            else:
                changed.data = broken
            with pytest.raises(EnvelopeError):
                await codec.decode([changed])


async def test_a_malformed_envelope_costs_no_kms_call(kms: FakeKms) -> None:
    sealed = await one(make(kms), PLAIN)
    reader, before = make(kms), kms.unwraps
    sealed.metadata["encryption-surprise"] = b"1"
    with pytest.raises(MalformedEnvelope):
        await reader.decode([sealed])
    assert kms.unwraps == before


async def test_decode_changes_nothing_it_was_given(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    before = sealed.SerializeToString(deterministic=True)
    [opened] = await codec.decode([sealed])
    assert opened is not sealed
    assert sealed.SerializeToString(deterministic=True) == before
    given = Payload()
    given.CopyFrom(PLAIN)
    await codec.encode([given])
    assert given == PLAIN


async def test_decode_removes_one_layer(kms: FakeKms) -> None:
    codec = make(kms)
    inner = await one(codec, PLAIN)
    assert await codec.decode([await one(codec, inner)]) == [inner]


async def test_an_inner_padding_entry_is_dropped(kms: FakeKms) -> None:
    codec = make(kms)
    padded = Payload(metadata={"encoding": b"json/plain", "encryption-padding": bytes(40)}, data=b"1")
    assert await codec.decode([await one(codec, padded)]) == [Payload(metadata={"encoding": b"json/plain"}, data=b"1")]


async def test_metadata_of_others_on_an_envelope_is_dropped(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    sealed.metadata["__temporal_reference"] = b"true"
    assert await codec.decode([sealed]) == [PLAIN]


async def test_an_authentic_envelope_of_no_payload_is_an_invalid_ciphertext(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    record = parse_record(sealed.metadata["encryption-wrapped-key"], sealed.metadata["encryption-key-id"])
    key = await codec.keyring.opening_key(record)
    sealed = sealed_by_hand(b"\xff\xff no payload", record, key)
    with pytest.raises(InvalidCiphertext):
        await codec.decode([sealed])


async def test_other_payloads_pass_untouched_and_are_counted(kms: FakeKms) -> None:
    events = Events()
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), keyring=EnvelopeConfig(key=kms).keyring(observer=events))
    sealed = await one(codec, PLAIN)
    first = await codec.decode([PLAIN, sealed, PLAIN])
    assert first == [PLAIN, PLAIN, PLAIN]
    assert first[0] is PLAIN
    counts = {event.operation: event.payloads for event in events.seen if event.payloads}
    assert counts == {"seal": 1, "pass": 2, "open": 1}


async def test_plaintext_is_refused_where_encryption_is_required(kms: FakeKms) -> None:
    codec = make(kms, require_encryption=True)
    with pytest.raises(EncryptionRequired):
        await codec.decode([PLAIN])
    assert await codec.decode([await one(codec, PLAIN)]) == [PLAIN]


async def test_without_sealing_it_writes_as_before_and_opens(kms: FakeKms) -> None:
    sealed = await one(make(kms), PLAIN)
    codec = make(kms, sealing=False)
    wraps = kms.wraps
    assert await codec.encode([PLAIN]) == [PLAIN]
    assert kms.wraps == wraps
    assert await codec.decode([sealed]) == [PLAIN]


# --- contexts -----------------------------------------------------------------------------------------------------


def test_with_context_is_the_same_object_where_nothing_changes(kms: FakeKms) -> None:
    codec = make(kms)
    context = WorkflowSerializationContext("default", "w")
    bound = codec.with_context(context)
    assert bound.with_context(context) is bound
    assert codec.with_context(context) is bound
    assert codec.with_context(NexusSerializationContext("e", "s", "o")) is codec
    assert bound.with_context(NexusSerializationContext("e", "s", "o")) is codec
    assert codec.with_context(WorkflowSerializationContext("ReplayNamespace", "w")) is codec


async def test_the_namespace_of_the_context_is_bound_else_the_clients(kms: FakeKms) -> None:
    codec = make(kms, "client-namespace")
    bound = codec.with_context(WorkflowSerializationContext("other", "w"))
    for sealing, namespace in ((codec, "client-namespace"), (bound, "other")):
        sealed = await one(sealing, PLAIN)
        record = parse_record(sealed.metadata["encryption-wrapped-key"], sealed.metadata["encryption-key-id"])
        assert record.context == (("temporal-namespace", namespace),)


@pytest.mark.parametrize("context", [WorkflowSerializationContext("prod", "w"), activity_context("prod")])
async def test_an_envelope_of_another_namespace_is_refused_where_the_sdk_knows(
    kms: FakeKms, context: WorkflowSerializationContext | ActivitySerializationContext
) -> None:
    sealed = await one(make(kms, "dev"), PLAIN)
    reader = make(kms, "prod")
    with pytest.raises(ContextMismatch):
        await reader.with_context(context).decode([sealed])
    for silent in (reader, reader.with_context(NexusSerializationContext("e", "s", "o"))):
        assert await silent.decode([sealed]) == [PLAIN]
    replayer = reader.with_context(WorkflowSerializationContext("ReplayNamespace", "w"))
    assert await replayer.decode([sealed]) == [PLAIN]


@pytest.mark.parametrize("namespace", ["", "n" * 4_001, "\ud800"])
def test_a_namespace_that_can_not_be_bound_is_refused_at_once(kms: FakeKms, namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        make(kms, namespace)


async def test_what_a_record_says_does_not_forge_lines_of_the_log(
    kms: FakeKms, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = await one(make(kms, "evil\nWARNING all is well"), PLAIN)
    kms.denied = True
    with pytest.raises(KeyDenied):
        await make(kms).decode([sealed])
    assert "evil" in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


class Replica(FakeKms):
    """A replica in another region: the same key, under a key id of its own."""

    def __init__(self, of: FakeKms) -> None:
        super().__init__()
        self._versions = of._versions
        self._other = of.key_id

    def accepts(self, key_id: str) -> bool:
        return key_id in (self.key_id, self._other)


async def test_every_master_key_that_opens_a_key_id_is_asked(kms: FakeKms) -> None:
    sealed = await one(make(kms), PLAIN)
    kms.down = True
    replica = Replica(kms)
    assert await make(kms, decrypt_keys=[replica]).decode([sealed]) == [PLAIN]
    assert await make(replica, decrypt_keys=[kms]).decode([sealed]) == [PLAIN]
    assert replica.unwraps == 2


async def test_another_workflow_id_opens_it(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec.with_context(WorkflowSerializationContext("default", "a")), PLAIN)
    assert await codec.with_context(WorkflowSerializationContext("default", "b")).decode([sealed]) == [PLAIN]


async def test_a_namespace_alias_works_one_way_and_for_reading_only(kms: FakeKms) -> None:
    old, new = make(kms, "old"), make(kms, "new", namespace_aliases={"old": "new"})
    in_new, in_old = WorkflowSerializationContext("new", "w"), WorkflowSerializationContext("old", "w")
    assert await new.with_context(in_new).decode([await one(old, PLAIN)]) == [PLAIN]
    with pytest.raises(ContextMismatch):
        await old.with_context(in_old).decode([await one(new, PLAIN)])
    with pytest.raises(ContextMismatch):
        await new.with_context(in_old).decode([await one(new, PLAIN)])


async def test_a_master_key_of_one_namespace_forges_for_no_other() -> None:
    dev, prod = FakeKms(), FakeKms()
    config = EnvelopeConfig(namespaces={"dev": {"key": dev}, "prod": {"key": prod}})
    reader = EnvelopeCodec(config, namespace="prod")
    forger = EnvelopeCodec(EnvelopeConfig(key=dev), namespace="prod")  # may encrypt under dev's key alone
    forged = await one(forger, PLAIN)
    with pytest.raises(KeyNotConfigured):
        await reader.decode([forged])
    assert (dev.unwraps, prod.unwraps) == (1, 0)  # the forger's own check
    assert await reader.decode([await one(EnvelopeCodec(config, namespace="dev"), PLAIN)]) == [PLAIN]


async def test_an_activity_context_waits_longer(kms: FakeKms) -> None:
    sealed = await one(make(kms), PLAIN)
    clock = ManualClock()
    keyring = Keyring(
        lambda namespace: KeySet(kms),
        limits=Limits(timeout=30, activity_timeout=600),
        clock=clock,
        spawn=lambda work: work(),
        observer=Events(),
    )
    codec = EnvelopeCodec(EnvelopeConfig(key=kms), keyring=keyring)
    kms.down = True
    in_workflow = codec.with_context(WorkflowSerializationContext("default", "w"))
    outside = asyncio.create_task(in_workflow.decode([sealed]))
    inside = asyncio.create_task(codec.with_context(activity_context("default")).decode([sealed]))
    await asyncio.sleep(0)
    clock.advance(31)
    with pytest.raises(KmsUnavailable):
        await outside
    assert not inside.done()
    kms.down = False
    clock.advance(10)
    assert await inside == [PLAIN]
    keyring.close()


async def test_two_records_of_one_id_do_not_share_a_key(kms: FakeKms) -> None:
    """The cache is keyed by id, which an attacker can copy; the head that goes with it is compared."""
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    assert await codec.decode([sealed]) == [PLAIN]
    record = parse_record(sealed.metadata["encryption-wrapped-key"], sealed.metadata["encryption-key-id"])
    older = record_head(Purpose.WRAPPING_KEY, record.created - 1, dict(record.context))
    forged = build_record(older, record.id, record.recipients)
    key = await codec.keyring.opening_key(record)
    sealed = sealed_by_hand(b"", forged, key)
    with pytest.raises(InvalidCiphertext):
        await codec.decode([sealed])


async def test_a_key_served_by_a_foreign_kms_context_is_refused(kms: FakeKms) -> None:
    """A recipient copied into a record with another context does not unwrap."""
    head = record_head(Purpose.WRAPPING_KEY, 1, {"temporal-namespace": "default", "tenant": "t1"})
    secret = os.urandom(32)
    key, record_id = commit(secret, head)
    wrapped = kms.wrap(secret, kms_context(Purpose.WRAPPING_KEY, [("temporal-namespace", "default")], record_id))
    record = build_record(head, record_id, [Recipient(wrapped.key_id, wrapped.key_version, wrapped.ciphertext)])
    sealed = sealed_by_hand(b"", record, key)
    with pytest.raises(InvalidCiphertext):
        await make(kms).decode([sealed])


async def test_errors_hold_no_key_ids(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    kms.denied = True
    for attempt in (make(kms).encode([PLAIN]), make(kms).decode([sealed]), make(FakeKms()).decode([sealed])):
        with pytest.raises(EnvelopeError) as caught:
            await attempt
        assert kms.key_id not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_after_close_everything_is_refused(kms: FakeKms) -> None:
    codec = make(kms)
    sealed = await one(codec, PLAIN)
    codec.close()
    codec.close()
    for attempt in (codec.encode([PLAIN]), codec.decode([sealed])):
        with pytest.raises(EnvelopeError, match="closed"):
            await attempt


async def test_one_codec_serves_many_loops_and_threads(kms: FakeKms) -> None:
    codec = make(kms)
    results: list[bool] = []

    def run() -> None:
        async def loop() -> None:
            for _ in range(50):
                results.append(await codec.decode(await codec.encode([PLAIN])) == [PLAIN])

        asyncio.run(loop())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert results == [True] * 200
    assert kms.wraps == 1


# --- several payloads of one call -------------------------------------------------------------------------------------


async def of_writers(kms: FakeKms, count: int, namespace: str = "default") -> list[Payload]:
    """A payload of each of so many processes."""
    payloads = []
    for _ in range(count):
        writer = EnvelopeCodec(kms, namespace=namespace)
        payloads += await writer.encode([PLAIN])
        writer.close()
    return payloads


async def test_keys_that_one_call_needs_are_fetched_at_once() -> None:
    kms = FakeKms()
    payloads = await of_writers(kms, 4)
    together = threading.Barrier(4)  # none of the calls is answered before all have come

    def meet(operation: str) -> None:
        together.wait(20.0)

    kms.before_call = meet
    codec = EnvelopeCodec(kms)
    assert await codec.decode([*payloads, *payloads]) == [PLAIN] * 8
    assert kms.unwraps == 8  # four checked the new records
    codec.close()


async def test_a_call_of_many_records_opens_them_all_and_asks_once_for_each() -> None:
    kms = FakeKms()
    payloads = await of_writers(kms, 40)
    codec = EnvelopeCodec(kms)
    assert await codec.decode(payloads) == [PLAIN] * 40
    assert kms.unwraps == 80
    codec.close()


async def test_the_error_of_the_first_payload_is_the_one_that_is_raised() -> None:
    kms = FakeKms()
    first, second = FakeKms(), FakeKms()
    [good], [denied], [unknown] = [await of_writers(each, 1) for each in (kms, first, second)]
    first.denied = True
    codec = EnvelopeCodec(EnvelopeConfig(key=kms, decrypt_keys=[first]))
    for payloads, error in (([good, denied, unknown], KeyDenied), ([good, unknown, denied], KeyNotConfigured)):
        with pytest.raises(error):
            await codec.decode(payloads)
    codec.close()


async def test_no_more_than_eight_records_of_a_hostile_call_are_asked_for_beside_the_first() -> None:
    kms = FakeKms()
    payloads = []
    for payload in await of_writers(kms, 60):
        record = parse_record(payload.metadata["encryption-wrapped-key"], payload.metadata["encryption-key-id"])
        hostile = build_record(record.head, record.id, [Recipient(kms.key_id, "1", bytes(60))])
        payloads.append(Payload(metadata={**payload.metadata, **hostile.metadata}, data=payload.data))
    before = kms.unwraps
    codec = EnvelopeCodec(kms)
    with pytest.raises(InvalidCiphertext):
        await codec.decode(payloads)
    codec.close()
    assert kms.unwraps - before <= 1 + 8


async def test_what_comes_after_a_payload_that_can_not_be_opened_is_not_asked_for() -> None:
    kms = FakeKms()
    first, second, third = await of_writers(kms, 3)
    [foreign] = await of_writers(kms, 1, "other")
    broken = Payload(metadata={**second.metadata}, data=b"short")
    bound = EnvelopeCodec(kms).with_context(activity_context("default"))
    for stop, error in ((broken, MalformedEnvelope), (foreign, ContextMismatch)):
        before = kms.unwraps
        with pytest.raises(error):
            await bound.decode([first, stop, third])
        assert kms.unwraps - before <= 1
    bound.keyring.close()


async def test_a_resolver_is_told_the_names_of_a_nexus_operation_and_opening_needs_none() -> None:
    usual, partner = FakeKms(), FakeKms()
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"Marigold"')
    asked: list[SealingContext] = []

    def resolve(context: SealingContext) -> FakeKms | None:
        asked.append(context)
        return partner if context.endpoint == "partner" else None

    codec = EnvelopeCodec(EnvelopeConfig(key=usual, decrypt_keys=[partner], resolver=resolve), namespace="here")
    [sealed] = await codec.with_context(NexusSerializationContext("partner", "Shop", "buy")).encode([plain])
    await codec.with_context(WorkflowSerializationContext("here", "w")).encode([plain])
    await codec.encode([plain])
    assert asked == [
        SealingContext("here", "", "partner", "Shop", "buy"),
        SealingContext("here", "w"),
        SealingContext("here"),
    ]
    codec.close()

    reader = EnvelopeCodec(EnvelopeConfig(key=partner), namespace="elsewhere")
    for one in (reader, reader.with_context(NexusSerializationContext("other", "Other", "other"))):
        assert await one.decode([sealed]) == [plain]
    reader.close()
