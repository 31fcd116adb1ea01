"""What is read is written again to the byte: records, the metadata of envelopes, claims. Rows: `test_keystore_row`.

So nobody can make a second envelope, or a second entry of a cache, out of one that a reader takes for the same.
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from envelope_codec.envelope import (
    NAME_DATA_KEY,
    Envelope,
    Purpose,
    Recipient,
    Record,
    build_record,
    commit,
    open_envelope,
    parse,
    parse_head,
    parse_record,
    record_head,
    seal,
)
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, MalformedEnvelope
from envelope_codec.storage.claim import Claim
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAMES = TEXT.filter(lambda name: not name.lower().startswith(("aws:", "envelope-codec:")))
CONTEXTS = st.dictionaries(NAMES, TEXT, max_size=4).filter(
    lambda context: len({name.encode().lower() for name in context}) == len(context)
)
RECIPIENTS = st.lists(
    st.builds(Recipient, TEXT, st.text(st.characters(codec="utf-8"), max_size=5), st.binary(min_size=1, max_size=40)),
    min_size=1,
    max_size=4,
    unique_by=lambda recipient: recipient.key_id,
)
SECRET = bytes(range(32))
FEWER = settings(max_examples=60)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record, with an id that `SECRET` leads to."""
    context = {**draw(CONTEXTS), "temporal-namespace": draw(TEXT)}
    head = record_head(draw(st.sampled_from(Purpose)), draw(st.integers(0, 2**64 - 1)), context)
    return build_record(head, commit(SECRET, head)[1], draw(RECIPIENTS))


CHANGES = st.tuples(st.integers(0, 2_000), st.integers(0, 3), st.binary(max_size=3))
"""Where bytes are taken out, how many, and what is put there. They do not depend on the bytes, which are random."""


def changed_by(change: tuple[int, int, bytes], data: bytes) -> bytes:
    """``data`` after a change."""
    at = change[0] % len(data)
    return data[:at] + change[2] + data[at + change[1] :]


@FEWER
@given(records())
def test_a_record_that_is_written_is_read_as_it_was(record: Record) -> None:
    again = parse_record(record.wire, record.key_id_bytes)
    assert (again.purpose, again.created, again.context) == tuple(parse_head(record.head))
    assert (again.id, again.recipients, again.wire) == (record.id, record.recipients, record.wire)


@FEWER
@given(records(), CHANGES)
def test_a_record_has_one_encoding(record: Record, change: tuple[int, int, bytes]) -> None:
    """Whatever is changed in the bytes of a record, it is none, or one that is written in exactly these bytes."""
    changed = changed_by(change, record.wire)
    try:
        read = parse_record(changed, record.key_id_bytes)
    except MalformedEnvelope:
        return
    head = record_head(read.purpose, read.created, dict(read.context))
    assert build_record(head, read.id, read.recipients).wire == changed
    assert (read.wire == record.wire) is (changed == record.wire)


def sealed(record: Record, content: bytes) -> tuple[dict[str, bytes], bytes]:
    """The metadata and the data of an envelope."""
    key, _ = commit(SECRET, record.head)
    wrapped, data = seal(content, record, key)
    more = {} if wrapped is None else {NAME_DATA_KEY: wrapped}
    return {**record.metadata, **more}, data


def metadata_of(envelope: Envelope) -> dict[str, bytes]:
    """The metadata from which an envelope was read."""
    wrapped = envelope.wrapped_data_key
    return {**envelope.record.metadata, **({} if wrapped is None else {NAME_DATA_KEY: wrapped})}


@FEWER
@given(records(), st.binary(max_size=50))
def test_an_envelope_is_read_from_the_metadata_that_it_has(record: Record, content: bytes) -> None:
    metadata, data = sealed(record, content)
    envelope = parse(metadata, data)
    assert envelope is not None
    assert (metadata_of(envelope), envelope.data) == (metadata, data)
    assert open_envelope(envelope, commit(SECRET, record.head)[0]) == content


@FEWER
@given(records(), st.sampled_from([0, 1, 2, 3, 4]), CHANGES)
def test_no_change_of_an_envelope_opens(record: Record, part: int, change: tuple[int, int, bytes]) -> None:
    """Of what is well-formed after a change, every byte is one that its writer would have written, and none opens."""
    metadata, data = sealed(record, b"content")
    parts = {**metadata, "data": data}
    name = sorted(parts)[part % len(parts)]
    changed = changed_by(change, parts[name])
    if changed == parts[name]:
        return
    parts[name] = changed
    body = parts.pop("data")
    try:
        envelope = parse(parts, body)
        assert envelope is not None
        assert metadata_of(envelope) == parts
        opened = open_envelope(envelope, commit(SECRET, envelope.record.head)[0])
    except (MalformedEnvelope, InvalidCiphertext):
        return
    raise AssertionError(f"it opened: {opened!r}")


@FEWER
@given(CHANGES, st.integers(0, 2**31 - 1))
async def test_a_claim_is_what_was_sealed_or_refused(change: tuple[int, int, bytes], size: int) -> None:
    """A change may be one that protobuf skips. Then it is the same claim, for everything that counts is sealed."""
    codec = EnvelopeCodec(FakeKms())
    try:
        claim = Claim(os.urandom(16).hex(), os.urandom(32).hex(), size)
        claim_data = await claim.seal(codec)
        assert await Claim.open(claim_data, codec) == claim
        [text] = claim_data.values()
        changed = base64.b64encode(changed_by(change, base64.b64decode(text))).decode()
        with suppress(EnvelopeError):
            assert await Claim.open({"envelope": changed}, codec) == claim
    finally:
        codec.close()
