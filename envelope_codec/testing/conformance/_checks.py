"""What all tests of a provider share."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import MasterKey, WrappedSecret

SECRET = bytes(range(32))
_URL_SAFE = str.maketrans("+/", "-_")
CONTEXT = {
    "temporal-namespace": "default",
    "tenant": "t1",
    "envelope-codec:purpose": "wrapping-key",
    "envelope-codec:id": "00112233445566778899aabbccddeeff" * 2,
}


def refused(kind: type[EnvelopeError], call: Callable[[], object], *, operation: str, unsaid: tuple[str, ...]) -> None:
    """Check that ``call`` raises exactly ``kind``, which tells nothing that may not stand in a history in clear."""
    with pytest.raises(EnvelopeError) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    check_error(error, operation, unsaid)


def check_error(error: EnvelopeError, operation: str, unsaid: tuple[str, ...]) -> None:
    """Check what every error of a provider has to keep.

    Args:
        error: what a call raised.
        operation: ``wrap`` or ``unwrap``.
        unsaid: texts that must not be in it, nor the names in them.
    """
    assert error.retryable is isinstance(error, KmsUnavailable)
    assert error.operation == operation
    assert error.key_id
    # Raised outside of the handler: "from None" hides the SDK's error, and error reporters find it with its frames.
    assert error.__cause__ is None
    assert error.__context__ is None
    for text in (error.key_id, *unsaid):
        assert text not in str(error)
        assert all(name not in str(error) for name in _names_in(text))


def _names_in(text: str) -> list[str]:
    """The parts of a key id or URI that name something: those with a digit in them, such as ids, accounts and ports."""
    return [part for part in re.split(r"[^\w.-]+", text) if len(part) >= 4 and re.search(r"\d", part)]


def spellings(secret: bytes) -> tuple[str, ...]:
    """How a log may spell ``secret``."""
    encoded = base64.b64encode(secret).decode().rstrip("=")
    return repr(secret)[2:-1], secret.hex(), secret.hex().upper(), encoded, encoded.translate(_URL_SAFE)


def flip(wrapped: WrappedSecret, at: int) -> WrappedSecret:
    """Change one bit of the ciphertext."""
    changed = bytearray(wrapped.ciphertext)
    changed[at] ^= 1
    return replace(wrapped, ciphertext=bytes(changed))


def refuses_ciphertext(key: MasterKey, wrapped: WrappedSecret, uri: str) -> None:
    """Check that ``key`` takes this for a bad ciphertext."""
    refused(InvalidCiphertext, lambda: key.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=(uri, key.key_id))


def denies(key: MasterKey, wrapped: WrappedSecret, uri: str) -> None:
    """Check that ``key`` may neither wrap nor unwrap."""
    refused(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), operation="unwrap", unsaid=(uri, key.key_id))
    refused(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), operation="wrap", unsaid=(uri, key.key_id))
