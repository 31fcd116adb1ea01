"""Unwrapping rows, as readers do."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from envelope_codec.cli.keys.row_opening import accepts, readers_of, unwrap_row
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
from envelope_codec.testing import FakeKms
from tests.support.rewrapped_rows import Bench, row_by


def test_a_row_gives_the_secret_that_leads_to_its_id() -> None:
    bench, secret = Bench(), os.urandom(32)
    row = row_by(bench.new, secret=secret)
    assert unwrap_row(bench.new, row, row.verified[0]) == secret
    with pytest.raises(InvalidCiphertext) as wrong:
        unwrap_row(bench.new, replace(row, id=bytes(32)), row.verified[0])
    assert wrong.value.operation == "unwrap"
    bench.new.denied = True
    with pytest.raises(KeyDenied):
        unwrap_row(bench.new, row, row.verified[0])


def test_readers_are_those_of_the_rows_own_namespace() -> None:
    bench = Bench("prod")
    row, other = row_by(bench.old, bench.new), row_by(bench.old, namespace="dev")
    assert readers_of(bench.sets.get, row, row.verified[0]) == [bench.old]
    with pytest.raises(KeyNotConfigured):
        readers_of(bench.sets.get, other, other.verified[0])


def test_an_alias_that_is_not_told_is_an_error_of_ours() -> None:
    class Broken(FakeKms):
        def accepts(self, key_id: str) -> bool:
            raise RuntimeError("of some provider")

    with pytest.raises(KmsUnavailable):
        accepts(Broken(), "fakekms://any")
