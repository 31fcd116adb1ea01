"""A key is rotated, disabled, enabled and deleted."""

from __future__ import annotations

from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET, denies, flip, refuses_ciphertext
from envelope_codec.testing.conformance._harness import Harness


class Life:
    """A key is rotated, disabled, enabled and deleted."""

    def test_an_old_version_opens_after_rotation(self, harness: Harness, uri: str, key: MasterKey) -> None:
        old = key.wrap(SECRET, CONTEXT)
        harness.rotate(uri)
        new = key.wrap(SECRET, CONTEXT)
        fresh = harness.open(uri)
        try:
            for reader in (key, fresh):
                assert reader.unwrap(old, CONTEXT).secret == SECRET
                assert reader.unwrap(new, CONTEXT).secret == SECRET
        finally:
            fresh.close()
        assert new.key_id == old.key_id == key.key_id
        assert (new.key_version != old.key_version) is harness.tells_versions

    def test_a_ciphertext_of_an_old_version_is_still_authenticated(
        self, harness: Harness, uri: str, key: MasterKey
    ) -> None:
        old = key.wrap(SECRET, CONTEXT)
        harness.rotate(uri)
        refuses_ciphertext(key, flip(old, -1), uri)

    def test_a_disabled_key_denies_until_it_is_enabled(self, harness: Harness, uri: str, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        harness.disable(uri)
        denies(key, wrapped, uri)
        harness.enable(uri)
        assert key.unwrap(wrapped, CONTEXT).secret == SECRET
        assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET

    def test_a_disabled_key_denies_what_an_old_version_wrapped(
        self, harness: Harness, uri: str, key: MasterKey
    ) -> None:
        old = key.wrap(SECRET, CONTEXT)
        harness.rotate(uri)
        harness.disable(uri)
        denies(key, old, uri)

    def test_a_key_scheduled_for_deletion_denies(self, harness: Harness, uri: str, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        harness.schedule_deletion(uri)
        denies(key, wrapped, uri)

    def test_disabling_one_key_leaves_another_alone(self, harness: Harness, uri: str, foreign: MasterKey) -> None:
        wrapped = foreign.wrap(SECRET, CONTEXT)
        harness.disable(uri)
        assert foreign.unwrap(wrapped, CONTEXT).secret == SECRET
