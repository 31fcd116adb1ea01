"""A ciphertext opens as it was made, or not at all."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from envelope_codec.errors import InvalidCiphertext, KeyDenied
from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import (
    CONTEXT,
    SECRET,
    check_error,
    flip,
    refused,
    refuses_ciphertext,
)

GARBAGE = {
    "empty": b"",
    "one byte": b"\0",
    "zeros": bytes(200),
    "random": os.urandom(184),
    "text": b"not a ciphertext at all",
    "Transit text": b"vault:v1:" + b"A" * 80,
    "Transit text, not base64": b"vault:v1:****",
    "Transit text, no version": b"vault:v:AAAA",
    "Transit text, a later version": b"vault:v999:" + b"A" * 80,
    "line ends": b"\r\n" * 40,
    "the longest": b"\xff" * 4096,
}


class Ciphertexts:
    """A ciphertext opens as it was made, or not at all."""

    @pytest.mark.parametrize("place", [0, 1, 7, 0.25, 0.35, 0.5, 0.65, 0.75, 0.9, -2, -1])
    def test_a_flipped_bit_is_refused(self, uri: str, key: MasterKey, place: float) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        at = place if isinstance(place, int) else int(place * len(wrapped.ciphertext))
        refuses_ciphertext(key, flip(wrapped, at), uri)

    @pytest.mark.parametrize("length", [1, 12, 27, 28, 35, 36, 48, 0.5, 0.9, -16, -1])
    def test_a_truncated_ciphertext_is_refused(self, uri: str, key: MasterKey, length: float) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        end = length if isinstance(length, int) else int(length * len(wrapped.ciphertext))
        short = wrapped.ciphertext[:end]
        assert len(short) < len(wrapped.ciphertext)
        refuses_ciphertext(key, replace(wrapped, ciphertext=short), uri)

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_garbage_is_refused(self, uri: str, key: MasterKey, garbage: str) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        refuses_ciphertext(key, replace(wrapped, ciphertext=GARBAGE[garbage]), uri)

    def test_bytes_after_the_ciphertext_are_refused(self, uri: str, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        longer = replace(wrapped, ciphertext=wrapped.ciphertext + b"\0")
        refuses_ciphertext(key, longer, uri)

    def test_a_ciphertext_of_a_foreign_key_is_refused(self, uri: str, key: MasterKey, foreign: MasterKey) -> None:
        wrapped = foreign.wrap(SECRET, CONTEXT)
        with pytest.raises((InvalidCiphertext, KeyDenied)) as caught:
            key.unwrap(wrapped, CONTEXT)
        check_error(caught.value, "unwrap", (uri, key.key_id, foreign.key_id))

    def test_a_ciphertext_of_a_foreign_key_under_our_key_id_is_refused(
        self, uri: str, key: MasterKey, foreign: MasterKey
    ) -> None:
        forged = replace(foreign.wrap(SECRET, CONTEXT), key_id=key.key_id)
        refused(
            InvalidCiphertext,
            lambda: key.unwrap(forged, CONTEXT),
            operation="unwrap",
            unsaid=(uri, key.key_id, foreign.key_id),
        )

    @pytest.mark.parametrize("version", ["", "2", "999", "v1", "x" * 256, "../../1", "\U0001f511", "\n"])
    def test_a_forged_key_version_never_looks_like_an_outage(self, uri: str, key: MasterKey, version: str) -> None:
        """The version stands in the envelope in clear. Where the KMS needs it, a wrong one is refused, else ignored."""
        wrapped = key.wrap(SECRET, CONTEXT)
        forged = replace(wrapped, key_version=version)
        try:
            opened = key.unwrap(forged, CONTEXT)
        except (InvalidCiphertext, KeyDenied) as error:
            check_error(error, "unwrap", (uri, key.key_id))
        else:
            assert opened == key.unwrap(wrapped, CONTEXT), "nor does it change which version is proved"
