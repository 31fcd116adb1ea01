"""Envelopes as payloads of the SDK: how one is made, what comes out of one, and what is one."""

from __future__ import annotations

from collections.abc import MutableMapping

from temporalio.api.common.v1 import Payload

from envelope_codec.envelope import NAME_DATA_KEY, parse, seal
from envelope_codec.errors import MalformedEnvelope
from envelope_codec.keys.sealing_key import SealingKey
from envelope_codec.temporal.inner_payload import PADDING, InnerFormat
from envelope_codec.temporal.system_payloads import SYSTEM_MARK, is_exact_reference, is_reference

_DEFAULT = InnerFormat()


def seal_payload(
    payload: Payload, key: SealingKey, inner: InnerFormat = _DEFAULT, content: bytes | None = None
) -> Payload:
    """Return an envelope with ``payload`` in it, under ``key``.

    Args:
        payload: what is to be sealed.
        key: seals it.
        inner: how it is written.
        content: ``payload`` in bytes, where the caller has them.
    """
    wrapped_data_key, data = seal(inner.serialize(payload, content), key.record, key.key)
    template = key.template
    if template is None:
        template = key.template = Payload(metadata=key.record.metadata)
    sealed = Payload()
    sealed.CopyFrom(template)  # a quarter of the time that setting each entry takes
    if wrapped_data_key is not None:
        sealed.metadata[NAME_DATA_KEY] = wrapped_data_key
    sealed.data = data
    return sealed


def finish_inner_payload(payload: Payload, inner: InnerFormat = _DEFAULT) -> Payload:
    """Return the payload that an envelope held, without metadata that only writers or the SDK's core may set.

    Args:
        payload: what was in the envelope, perhaps compressed. It may be changed.
        inner: how it is read.

    Raises:
        InvalidCiphertext: it is compressed in a way that no reader accepts.
    """
    payload = inner.unpack(payload)
    strip(payload.metadata)
    return payload


def strip(metadata: MutableMapping[str, bytes]) -> None:
    """Take out of the metadata of an inner payload what only writers or the SDK's core may set."""
    if PADDING in metadata:
        del metadata[PADDING]
    if SYSTEM_MARK in metadata:  # the SDK would take a payload with this mark for one that nobody sealed
        del metadata[SYSTEM_MARK]


def is_sealed(payload: Payload, *, stored: bool = True) -> bool:
    """Whether ``payload`` is an envelope, or exactly a reference to where one is stored.

    Args:
        payload: anyone's. What it only claims to be does not count.
        stored: whether there is a store, without which a reference is not ours.
    """
    if is_reference(payload):
        return stored and is_exact_reference(payload)
    try:
        return parse(payload.metadata, payload.data) is not None
    except MalformedEnvelope:
        return False
