"""What is wrapped comes back."""

from __future__ import annotations

import logging
import os

import pytest

from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET, spellings
from envelope_codec.testing.conformance._harness import Harness


class RoundTrips:
    """What is wrapped comes back."""

    def test_it_is_a_master_key(self, key: MasterKey) -> None:
        assert isinstance(key, MasterKey)

    def test_a_secret_comes_back(self, key: MasterKey) -> None:
        assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET

    @pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\n" * 32], ids=["zeros", "ones", "line ends"])
    def test_every_byte_value_comes_back(self, key: MasterKey, secret: bytes) -> None:
        assert key.unwrap(key.wrap(secret, CONTEXT), CONTEXT).secret == secret

    def test_another_object_for_the_same_key_unwraps(self, harness: Harness, uri: str, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        other = harness.open(uri)
        try:
            assert other.key_id == key.key_id
            assert other.accepts(wrapped.key_id)
            assert other.unwrap(wrapped, CONTEXT).secret == SECRET
        finally:
            other.close()

    def test_the_order_of_the_context_does_not_matter(self, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        assert key.unwrap(wrapped, dict(reversed(CONTEXT.items()))).secret == SECRET

    def test_wrapping_changes_nothing_in_the_context(self, key: MasterKey) -> None:
        context = dict(CONTEXT)
        key.unwrap(key.wrap(SECRET, context), context)
        assert context == CONTEXT

    def test_two_wraps_of_one_secret_differ(self, key: MasterKey) -> None:
        first, second = key.wrap(SECRET, CONTEXT), key.wrap(SECRET, CONTEXT)
        assert first.ciphertext != second.ciphertext
        assert (first.key_id, first.key_version) == (second.key_id, second.key_version)

    def test_the_ciphertext_does_not_hold_the_secret(self, key: MasterKey) -> None:
        assert SECRET not in key.wrap(SECRET, CONTEXT).ciphertext

    def test_no_log_holds_the_secret(
        self, harness: Harness, uri: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever logs everything must not log the secret: many an SDK logs what it sends."""
        monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
        secret = os.urandom(32)
        with caplog.at_level(logging.DEBUG):
            key = harness.open(uri)
            key.unwrap(key.wrap(secret, CONTEXT), CONTEXT)
            key.close()
        logged = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
        assert not [text for text in spellings(secret) if text in logged]

    def test_what_is_recorded_is_within_bounds(self, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        assert 1 <= len(wrapped.key_id.encode()) <= 512
        assert len(wrapped.key_version.encode()) <= 256
        assert 32 < len(wrapped.ciphertext) <= 4096
        assert type(wrapped.ciphertext) is bytes

    def test_a_version_is_recorded_where_the_kms_tells_it(self, harness: Harness, key: MasterKey) -> None:
        assert bool(key.wrap(SECRET, CONTEXT).key_version) is harness.tells_versions
