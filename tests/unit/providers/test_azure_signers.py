"""The public keys of signing keys: how long one is used, and how many are kept."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from envelope_codec.errors import KeyDenied
from envelope_codec.provider import Failed
from envelope_codec_azure._signed import Signer
from envelope_codec_azure._signers import Clock, Signers
from envelope_codec_azure._vault import KeyReply, encode

VERSION = "0" * 32


class Versions:
    """A vault that counts how often a key is read."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.enabled = True
        numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
        self.jwk = {"crv": "P-256", **{name: encode(getattr(numbers, name).to_bytes(32, "big")) for name in "xy"}}

    def read_key(self, name: str, version: str = "", *, signing: bool = False) -> KeyReply:
        self.reads.append(f"{name}/{version}")
        fields: dict[str, Any] = {"not_before": None, "expires": None, "jwk": self.jwk, "signing": signing}
        return KeyReply(version or VERSION, "EC", ("sign", "verify"), self.enabled, **fields)


class Hands:
    """Two clocks, moved by hand."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1_000_000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic, lambda: self.wall)


@pytest.fixture
def vault() -> Versions:
    return Versions()


@pytest.fixture
def hands() -> Hands:
    return Hands()


def make(vault: Versions, hands: Hands, *names: str) -> Signers:
    found: Any = vault
    return Signers(found, names or ("signer",), refresh=300.0, clock=hands.clock())


def test_a_public_key_is_read_once_a_lease(vault: Versions, hands: Hands) -> None:
    signers = make(vault, hands)
    for seconds in (0.0, 299.0, 0.9):
        hands.monotonic += seconds
        hands.wall += seconds
        signers.find_public_key(Signer("signer", VERSION))
    assert len(vault.reads) == 1
    hands.monotonic += 0.1
    signers.find_public_key(Signer("signer", VERSION))
    assert vault.reads == [f"signer/{VERSION}"] * 2


@pytest.mark.parametrize("hand", ["monotonic", "wall"])
def test_either_clock_ends_it(vault: Versions, hands: Hands, hand: str) -> None:
    """The monotonic clock stands still while a machine sleeps."""
    signers = make(vault, hands)
    signers.find_current()
    setattr(hands, hand, getattr(hands, hand) + 300.0)
    signers.find_current()
    assert vault.reads == ["signer/", "signer/"]


def test_the_current_version_can_be_read_anew(vault: Versions, hands: Hands) -> None:
    signers = make(vault, hands)
    assert signers.find_current()[0] == Signer("signer", VERSION)
    signers.find_current(anew=True)
    assert len(vault.reads) == 2


def test_a_disabled_version_is_not_kept_as_good(vault: Versions, hands: Hands) -> None:
    signers = make(vault, hands)
    signers.find_public_key(Signer("signer", VERSION))
    vault.enabled = False
    hands.monotonic += 300.0
    for _ in range(2):
        with pytest.raises(Failed) as caught:
            signers.find_public_key(Signer("signer", VERSION))
        assert caught.value.meaning.code == "sign-key-disabled"
        assert caught.value.meaning.error is KeyDenied


def test_made_up_versions_do_not_fill_the_memory(vault: Versions, hands: Hands) -> None:
    signers = make(vault, hands)
    for number in range(1000):
        signers.find_public_key(Signer("signer", f"{number:032x}"))
    assert len(signers._known) == 64
    signers.find_public_key(Signer("signer", f"{999:032x}"))
    assert len(vault.reads) == 1000


def test_only_configured_names_are_in_it(vault: Versions, hands: Hands) -> None:
    signers = make(vault, hands, "first", "second")
    assert Signer("second", VERSION) in signers
    assert Signer("Second", VERSION) not in signers
    assert Signer("third", VERSION) not in signers
    assert signers.find_current()[0].name == "first"
