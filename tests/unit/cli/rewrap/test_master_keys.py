"""The two master keys, and what readers must be able to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.rewrap.master_keys import MasterKeys, load_master_keys
from envelope_codec.envelope import Recipient
from envelope_codec.errors import (
    ConfigurationError,
    EnvelopeError,
    InvalidCiphertext,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
)
from envelope_codec.keys.keyset import KeySet
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.frame_walker import Sentinels, leaks
from tests.support.rewrapped_rows import Bench, row_by


def test_what_was_moved_is_proved_by_a_reader() -> None:
    bench = Bench()
    row = row_by(bench.old)
    made = bench.masters.move(row, row.verified[0])
    assert made.key_id == bench.new.key_id
    bench.masters.prove(row, made)


def test_a_recipient_that_leads_elsewhere_proves_nothing() -> None:
    bench = Bench()
    row, other = row_by(bench.old), row_by(bench.new)
    with pytest.raises(InvalidCiphertext):
        bench.masters.prove(row, other.verified[0])


def test_rows_of_a_namespace_without_the_old_key_are_not_wrapped_for_it() -> None:
    """Who may encrypt under the old key of `dev` must not get forged rows of `prod` wrapped by the new key."""
    bench = Bench("prod", "dev")
    bench.sets["prod"] = KeySet(bench.new)
    forged = row_by(bench.old, namespace="prod")
    with pytest.raises(KeyNotConfigured):
        bench.masters.move(forged, forged.verified[0])
    assert (bench.old.unwraps, bench.new.wraps) == (0, 0)


def test_readers_without_the_new_key_prove_nothing() -> None:
    bench = Bench()
    row = row_by(bench.new)
    bench.sets["prod"] = KeySet(bench.old)
    with pytest.raises(KeyNotConfigured):
        bench.masters.prove(row, row.verified[0])
    del bench.sets["prod"]
    with pytest.raises(KeyNotConfigured):
        bench.masters.prove(row, row.verified[0])


def test_an_error_says_which_call_failed() -> None:
    bench = Bench()
    row = row_by(bench.old)
    bench.old.fail_next(KeyDenied("disabled"))
    with pytest.raises(KeyDenied) as denied:
        bench.masters.move(row, row.verified[0])
    assert denied.value.operation == "unwrap"
    bench.new.fail_next(KeyDenied("disabled"))
    with pytest.raises(KeyDenied) as denied:
        bench.masters.move(row, row.verified[0])
    assert denied.value.operation == "wrap"
    bench.new.fail_next(RuntimeError("of some provider"))
    with pytest.raises(KmsUnavailable) as failed:
        bench.masters.move(row, row.verified[0])
    assert failed.value.operation == "wrap"


def test_no_error_holds_the_secret() -> None:
    bench = Bench()
    secret = os.urandom(32)
    row = row_by(bench.old, secret=secret)
    bench.new.fail_next(RuntimeError("of some provider"))
    with pytest.raises(KmsUnavailable) as failed:
        bench.masters.move(row, row.verified[0])
    assert leaks(failed.value, Sentinels(secret)) == []
    other = row_by(bench.old)
    with pytest.raises(EnvelopeError) as wrong:
        bench.masters.prove(replace(row, id=other.id), row.verified[0])
    assert leaks(wrong.value, Sentinels(secret)) == []
    with pytest.raises(EnvelopeError) as wrong:
        bench.masters.move(replace(row, id=other.id), row.verified[0])
    assert leaks(wrong.value, Sentinels(secret)) == []


def test_a_new_key_is_tried_before_anything_is_changed() -> None:
    bench = Bench()
    row = row_by(bench.old)
    bench.masters.try_new(row)
    assert (bench.new.wraps, bench.new.unwraps, bench.old.unwraps) == (1, 1, 0)
    bench.new.denied = True
    with pytest.raises(KeyDenied) as denied:
        bench.masters.try_new(row)
    assert denied.value.operation == "wrap"
    bench.new.denied = False
    bench.sets["prod"] = KeySet(bench.old)
    with pytest.raises(KeyNotConfigured) as unconfigured:
        bench.masters.try_new(row)
    assert unconfigured.value.operation == "unwrap"


class Replica(FakeKms):
    """A key that takes another key id for its own too."""

    def accepts(self, key_id: str) -> bool:
        return key_id in (self.key_id, "fakekms://old")


def test_a_replica_is_the_same_master_key() -> None:
    masters = MasterKeys(FakeKms("fakekms://old"), Replica("fakekms://replica"), Bench().sets.get)
    with pytest.raises(ConfigurationError, match="same master key"):
        masters.check()


def test_key_ids_are_learnt_once() -> None:
    old, new = Replica("fakekms://alias"), FakeKms("fakekms://new")
    masters = MasterKeys(old, new, Bench().sets.get)
    masters.learn(["fakekms://old", "fakekms://other", "fakekms://new"])
    assert masters.ids.old == {"fakekms://alias", "fakekms://old"}
    assert masters.ids.new == {"fakekms://new"}


class ReEncrypting(FakeKms):
    """A KMS that wraps anew, and shows the secret to nobody."""

    def rewrap_to(self, other: FakeKms, wrapped: WrappedSecret, context: Mapping[str, str]) -> WrappedSecret:
        if other.key_id.startswith("elsewhere"):
            raise ConfigurationError("within one region alone")
        self.before_call("rewrap")
        return other.wrap(FakeKms.unwrap(self, wrapped, context).secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        raise KeyDenied("no permission to decrypt", operation="unwrap")


def re_encrypting(new: str = "fakekms://new") -> tuple[ReEncrypting, FakeKms, MasterKeys]:
    old, new_key = ReEncrypting("fakekms://old"), FakeKms(new)
    keys = KeySet(new_key, decrypt_keys=(old,))
    return old, new_key, MasterKeys(old, new_key, lambda _: keys, re_encrypts=True)


def test_a_kms_wraps_anew_without_the_permission_to_unwrap() -> None:
    old, new, masters = re_encrypting()
    row = row_by(old)
    masters.check()
    made = masters.move(row, row.verified[0])
    assert (masters.calls_to_move, made.key_id, new.unwraps) == (2, "fakekms://new", 1)
    masters.prove(row, made)
    masters.try_new(row)


def test_what_led_elsewhere_shows_when_it_is_proved() -> None:
    old, _, masters = re_encrypting()
    row, other = row_by(old), row_by(old)
    with pytest.raises(InvalidCiphertext) as wrong:
        masters.move(replace(row, id=other.id), row.verified[0])
    assert wrong.value.operation == "unwrap", "another recipient of the old master key may do"


def test_a_kms_that_does_not_wrap_anew_says_so_before_anything() -> None:
    bench = Bench()
    masters = MasterKeys(bench.old, bench.new, bench.sets.get, re_encrypts=True)
    with pytest.raises(ConfigurationError, match="--re-encrypt"):
        masters.check()
    old, _, masters = re_encrypting("elsewhere://new")
    row = row_by(old)
    with pytest.raises(ConfigurationError, match="one region") as error:
        masters.try_new(row)
    assert error.value.operation == "re-encrypt"
    old, _, masters = re_encrypting()
    row = row_by(old)
    old.denied = True
    with pytest.raises(KeyDenied) as denied:
        masters.try_new(row)
    assert denied.value.operation == "re-encrypt"


# --- of a configuration


@pytest.fixture
def uris(tmp_path: Path) -> list[str]:
    for name in ("old", "new", "other"):
        create_key_file(tmp_path / f"{name}.json")
    return [key_uri(tmp_path / f"{name}.json") for name in ("old", "new", "other")]


def test_keys_are_named_by_uri_or_key_id(uris: list[str]) -> None:
    old, new, _ = uris
    config = EnvelopeConfig(key=new, decrypt_keys=(old,))
    by_uri = load_master_keys(config, old, new)
    by_id = load_master_keys(config, *(next(iter(ids)) for ids in by_uri.ids))
    assert by_id.ids == by_uri.ids
    by_id.check()
    assert by_uri.sealing == ()
    row = row_by(FakeKms(), namespace="any")
    by_id.try_new(row)
    by_id.close()
    by_uri.close()


def test_settings_by_which_the_old_key_seals_are_known(uris: list[str]) -> None:
    old, new, _ = uris
    config = EnvelopeConfig(key=new, backup_keys=(old,))
    assert load_master_keys(config, old, new).sealing == ("backup_keys[0]",)


def test_a_key_that_nobody_has_configured_opens_nothing(uris: list[str]) -> None:
    old, new, other = uris
    masters = load_master_keys(EnvelopeConfig(key=new, decrypt_keys=(old,)), old, other)
    with pytest.raises(KeyNotConfigured):
        masters.try_new(row_by(FakeKms()))


@pytest.mark.parametrize(("old", "new", "option"), [("what://k", None, "--from"), (None, "astray", "--to")])
def test_a_name_that_is_none_is_told(uris: list[str], old: str | None, new: str | None, option: str) -> None:
    config = EnvelopeConfig(key=uris[1], decrypt_keys=(uris[0],))
    with pytest.raises(ConfigurationError, match=option):
        load_master_keys(config, old or uris[0], new or uris[1])


def test_one_key_for_both_is_refused(uris: list[str]) -> None:
    config = EnvelopeConfig(key=uris[1], decrypt_keys=(uris[0],))
    with pytest.raises(ConfigurationError, match="same master key"):
        load_master_keys(config, uris[0], uris[0]).check()


def test_a_recipient_of_another_key_version_is_none() -> None:
    bench = Bench()
    row = row_by(bench.old)
    with pytest.raises(KeyDenied):
        bench.masters.move(row, replace(row.verified[0], key_version="9"))
    assert isinstance(row.verified[0], Recipient)
