"""Payloads that Temporal's proxy sealed (github.com/temporalio/temporal-proxy): they are opened, and never made.

The proxy has a data key wrapped by its KMS, and seals the payloads of one namespace with it for an hour or so:

- metadata: ``encoding`` is ``binary/encrypted``; ``encryption-key-id`` is the URI of the master key, as the proxy's
  configuration spells it; ``encryption-dek`` is the wrapped data key in base64;
- data: a nonce of 12 bytes, then AES-256-GCM of the whole payload in protobuf, without additional data.

Nothing binds a payload to its namespace, its workflow or its metadata.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload

from envelope_codec._frames import frameless
from envelope_codec.errors import InvalidCiphertext, KeyNotConfigured, MalformedEnvelope
from envelope_codec.keys.foreign_keys import MAX_FOREIGN_ID, ForeignWrap
from envelope_codec.keys.keyring import Keyring
from envelope_codec.observe import logger
from envelope_codec.temporal.inner_payload import InnerFormat
from envelope_codec.temporal.large_payloads import LARGE, work_in_thread

ENCODING = b"binary/encrypted"
"""Codecs with a static key, as in Temporal's samples, have the same encoding. They have no wrapped data key."""

NAME_KEY_ID = "encryption-key-id"
NAME_DATA_KEY = "encryption-dek"

_NONCE, _TAG = 12, 16
_MAX_WRAPPED = 4_096  # bytes, as in envelopes


class ProxiedPayload(NamedTuple):
    """A payload of the proxy's.

    Attributes:
        wrap: its data key.
        data: nonce and ciphertext.
    """

    wrap: ForeignWrap
    data: bytes


class ProxiedPayloads:
    """Opens what Temporal's proxy sealed under master keys that the configuration lists, and nothing else.

    Args:
        keyring: has the proxy's data keys unwrapped.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def read(self, payload: Payload, namespace: str) -> ProxiedPayload | None:
        """Return ``payload`` in its parts, if ``namespace`` opens what was sealed under its master key.

        Raises:
            MalformedEnvelope: it does, but the payload is not whole.
        """
        key_id = proxied_key_id(payload)
        if key_id is None or not self._keyring.opens_foreign(namespace, key_id):
            return None
        data = payload.data
        if len(data) < _NONCE + _TAG:
            raise _not_whole()
        return ProxiedPayload(ForeignWrap(key_id, read_wrapped_key(payload)), data)

    async def open(self, proxied: ProxiedPayload, namespace: str, inner: InnerFormat, timeout: float) -> Payload:
        """Return the payload that the proxy was given.

        Args:
            proxied: as `read` returned it.
            namespace: in which it is opened.
            inner: reads what was sealed.
            timeout: seconds to wait for the KMS.

        Raises:
            KeyDenied, InvalidCiphertext, KmsUnavailable: as `Keyring.foreign_key`; `InvalidCiphertext` as well if it is
                not what was sealed.
        """
        find = partial(self._keyring.try_foreign_key, namespace, proxied.wrap)
        get = partial(self._keyring.foreign_key, namespace, proxied.wrap, timeout=timeout)
        key = find()
        if key is None:
            key = await get()
        work = partial(_decrypt, proxied.data, inner)
        return work(key) if len(proxied.data) <= LARGE else await work_in_thread(work, key, find, get)

    def refuse(self, payload: Payload, namespace: str) -> None:
        """Refuse a payload of the proxy's that was not opened. Any other passes.

        Raises:
            KeyNotConfigured: its master key is not among those of ``namespace``.
        """
        key_id = proxied_key_id(payload)
        if key_id is None:
            return
        text = "Temporal's proxy sealed a payload of namespace %.200r under %.600r, which is not configured: add it to "
        text += "temporal_proxy_keys there, letter by letter, if it is a key of yours"
        logger.warning(text, namespace, key_id)
        raise KeyNotConfigured("the proxy's master key is not among temporal_proxy_keys", operation="open")


def proxied_key_id(payload: Payload) -> str | None:
    """Return what Temporal's proxy calls the master key of ``payload``. None if the proxy has not sealed it.

    As to the proxy itself, a payload is its own only with all three entries of metadata.
    """
    metadata = payload.metadata
    if metadata.get("encoding") != ENCODING or not metadata.get(NAME_DATA_KEY):
        return None
    key_id = metadata.get(NAME_KEY_ID, b"")
    if not 0 < len(key_id) <= MAX_FOREIGN_ID:
        return None
    try:
        return key_id.decode()
    except UnicodeDecodeError:
        return None


def read_wrapped_key(payload: Payload) -> bytes:
    """Return the data key of a payload of Temporal's proxy, as its KMS wrapped it.

    Raises:
        MalformedEnvelope: it is none, or too long.
    """
    text = payload.metadata[NAME_DATA_KEY]
    if len(text) > 4 * (_MAX_WRAPPED // 3 + 1):
        raise MalformedEnvelope("the data key of Temporal's proxy is too long", operation="open")
    try:
        wrapped = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        wrapped = b""
    if not wrapped:
        raise _not_whole()
    return wrapped


def _not_whole() -> MalformedEnvelope:
    return MalformedEnvelope("a payload of Temporal's proxy is not whole", operation="open")


@frameless
def _decrypt(data: bytes, inner: InnerFormat, key: bytes) -> Payload:
    try:
        content = AESGCM(key).decrypt(data[:_NONCE], memoryview(data)[_NONCE:], None)
    except InvalidTag:
        content = None
    if content is None:
        raise InvalidCiphertext("a payload of Temporal's proxy does not authenticate", operation="open")
    return inner.parse(content)
