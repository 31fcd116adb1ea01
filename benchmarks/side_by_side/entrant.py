"""An entrant: one way to encrypt Temporal's payloads, as it is compared with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from benchmarks.side_by_side.kms import InProcessKms

NewCodec = Callable[[], PayloadCodec]
"""Makes a codec with nothing in its caches, which opens what others of the same maker sealed."""


@dataclass(frozen=True)
class Entrant:
    """One of those who are compared.

    Attributes:
        name: as in tables.
        setup: how it is set up, in a sentence.
        prepare: gives what makes its codecs, with this KMS.
        source: the address of the documentation that recommends this set-up, if it is not ours.
        ours: whether it is this library.
    """

    name: str
    setup: str
    prepare: Callable[[InProcessKms], NewCodec]
    source: str = ""
    ours: bool = False


class BytesCodec(PayloadCodec):
    """A codec of a library that encrypts bytes.

    Args:
        encrypt: gives the ciphertext, with all that is needed to decrypt it.
        decrypt: the reverse.
    """

    def __init__(self, encrypt: Callable[[bytes], bytes], decrypt: Callable[[bytes], bytes]) -> None:
        self._encrypt = encrypt
        self._decrypt = decrypt

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        return [
            Payload(metadata={"encoding": b"binary/encrypted"}, data=self._encrypt(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload that is encrypted."""
        return [
            Payload.FromString(self._decrypt(payload.data))
            if payload.metadata.get("encoding") == b"binary/encrypted"
            else payload
            for payload in payloads
        ]


def close(codec: PayloadCodec) -> None:
    """Close a codec that can be closed."""
    end = getattr(codec, "close", None)
    if end is not None:
        end()
