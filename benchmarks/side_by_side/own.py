"""Entrants that need no other library: this one, a static key, and a KMS call for each payload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from benchmarks.side_by_side.entrant import Entrant, NewCodec
from benchmarks.side_by_side.floor import FloorCodec
from benchmarks.side_by_side.kms import ARN, OTHER_ARN, InProcessKms
from benchmarks.static_key import StaticKeyCodec
from envelope_codec import EnvelopeCodec, EnvelopeConfig
from envelope_codec_aws import AwsKms

STATIC = "static key"
FLOOR = "cryptography alone"
OURS = "this library"
DIRECT = "this library, direct"
TWO = "this library, two recipients"
COMPRESSED = "this library, compressed"
PER_PAYLOAD = "a KMS call a payload"


class KmsPerPayloadCodec(PayloadCodec):
    """A data key of the KMS for each payload, without a cache: the KMS is asked at each encode and each decode.

    Calls run in a thread, so that the event loop goes on meanwhile.
    """

    def __init__(self, kms: InProcessKms) -> None:
        self._client: Any = kms.client

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt one payload after another."""
        return [await asyncio.to_thread(self._encrypt, payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt one payload after another."""
        return [await asyncio.to_thread(self._decrypt, payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        key = self._client.generate_data_key(KeyId=ARN, KeySpec="AES_256", EncryptionContext=CONTEXT)
        nonce = os.urandom(12)
        data = nonce + AESGCM(key["Plaintext"]).encrypt(nonce, payload.SerializeToString(), None)
        metadata = {
            "encoding": b"binary/encrypted",
            "encryption-key-id": ARN.encode(),
            "encryption-wrapped-key": key["CiphertextBlob"],
        }
        return Payload(metadata=metadata, data=data)

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"binary/encrypted":
            return payload
        wrapped = payload.metadata["encryption-wrapped-key"]
        reply = self._client.decrypt(KeyId=ARN, CiphertextBlob=wrapped, EncryptionContext=CONTEXT)
        opened = AESGCM(reply["Plaintext"]).decrypt(payload.data[:12], payload.data[12:], None)
        return Payload.FromString(opened)


CONTEXT = {"temporal-namespace": "default"}
"""What all who can bind a context bind."""


def _static(kms: InProcessKms) -> NewCodec:
    key = os.urandom(32)
    return lambda: StaticKeyCodec(key)


def _floor(kms: InProcessKms) -> NewCodec:
    key = os.urandom(32)
    return lambda: FloorCodec(key)


def _per_payload(kms: InProcessKms) -> NewCodec:
    return lambda: KmsPerPayloadCodec(kms)


def _envelope(kms: InProcessKms, *, recipients: int = 1, **settings: Any) -> NewCodec:
    keys = [AwsKms(arn, client=kms.client) for arn in (ARN, OTHER_ARN)[:recipients]]  # type: ignore[arg-type]
    return lambda: EnvelopeCodec(EnvelopeConfig(key=keys[0], backup_keys=keys[1:], **settings))


def entrants() -> list[Entrant]:
    """Return them in the order of the tables."""
    found = [
        Entrant(
            STATIC,
            "One AES-256-GCM key for everything, in memory: no KMS, no rotation, no revocation.",
            _static,
            "https://github.com/temporalio/samples-python/tree/main/encryption",
        ),
        Entrant(
            FLOOR,
            "What an envelope needs of AES key wrap, HKDF and AES-GCM, with one wrapping key and nothing around it.",
            _floor,
        ),
        Entrant(OURS, "`EnvelopeCodec(key)`, all settings as they come.", _envelope, ours=True),
        Entrant(
            TWO,
            "The same with a second master key in `backup_keys`.",
            lambda kms: _envelope(kms, recipients=2),
            ours=True,
        ),
        Entrant(
            DIRECT,
            '`wrapping = "direct"`: the KMS wraps each data key itself.',
            lambda kms: _envelope(kms, wrapping="direct"),
            ours=True,
        ),
        Entrant(
            PER_PAYLOAD,
            "`GenerateDataKey` at each encode, `Decrypt` at each decode, AES-256-GCM, no cache.",
            _per_payload,
            "https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html",
        ),
    ]
    if "compression" in EnvelopeConfig.model_fields:
        setup = '`compression = "zstd"`: each payload is compressed before it is sealed.'
        compressed = Entrant(COMPRESSED, setup, lambda kms: _envelope(kms, compression="zstd"), ours=True)
        found.insert(3, compressed)
    return found
