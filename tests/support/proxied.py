"""Payloads as Temporal's proxy seals them, over any master key that wraps for it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from envelope_codec.testing import FakeKms

NAME = "proxykms:///a/key?region=somewhere"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


class ThroughProxy(PayloadCodec):
    """Stands for a connection to the proxy, which works on payloads in each request and reply.

    It seals with one data key, as the proxy does for an hour, opens what it sealed, and lets everything else pass.

    Args:
        kms: of the proxy.
    """

    def __init__(self, kms: FakeKms) -> None:
        self._kms = kms
        self._data_key = os.urandom(32)
        self._wrapped = kms.wrap_for_proxy(self._data_key)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal whatever it is."""
        return [seal_as_proxy(lambda key: self._wrapped, each, data_key=self._data_key) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open what the proxy sealed."""
        return [self._open(payload) for payload in payloads]

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"binary/encrypted":
            return payload
        key = self._kms.proxy_unwrapper(NAME)(base64.b64decode(payload.metadata["encryption-dek"]))
        return Payload.FromString(AESGCM(key).decrypt(payload.data[:12], payload.data[12:], None))


def seal_as_proxy(
    wrap: FakeKms | Callable[[bytes], bytes],
    payload: Payload = PLAIN,
    *,
    name: str = NAME,
    data_key: bytes | None = None,
) -> Payload:
    """Seal as the proxy does.

    Args:
        wrap: the KMS, or what it does with a data key.
        payload: to be sealed.
        name: what the proxy calls its master key.
        data_key: 32 bytes; fresh ones if None.
    """
    data_key, nonce = data_key or os.urandom(32), os.urandom(12)
    wrapped = wrap.wrap_for_proxy(data_key) if isinstance(wrap, FakeKms) else wrap(data_key)
    metadata = {
        "encoding": b"binary/encrypted",
        "encryption-key-id": name.encode(),
        "encryption-dek": base64.b64encode(wrapped),
    }
    data = nonce + AESGCM(data_key).encrypt(nonce, payload.SerializeToString(), None)
    return Payload(metadata=metadata, data=data)
