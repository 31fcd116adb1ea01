"""Payloads as Temporal's proxy seals them, over any master key that wraps for it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload

from envelope_codec.testing import FakeKms

NAME = "proxykms:///a/key?region=somewhere"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


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
