"""The public names of the keys."""

from __future__ import annotations

import inspect
import typing

import pytest

import envelope_codec.keys
from envelope_codec import EnvelopeConfig, Keyring, Observer
from envelope_codec.keys import KeySet, Limits
from envelope_codec.kms import MasterKey
from envelope_codec.testing import FakeKms, ManualClock


@pytest.mark.parametrize("name", envelope_codec.keys.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(envelope_codec.keys, name) is not None


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = envelope_codec.keys.Nothing


def test_the_keyring_takes_nothing_that_is_not_exported() -> None:
    public = {getattr(envelope_codec.keys, name) for name in envelope_codec.keys.__all__} | {Observer, MasterKey}
    hints = typing.get_type_hints(Keyring.__init__)
    assert set(hints) - {"return"} == set(inspect.signature(Keyring).parameters)
    named = {part for hint in hints.values() for part in parts(hint) if part.__module__.startswith("envelope_codec")}
    assert named
    assert named <= public


def parts(hint: object) -> typing.Iterator[type]:
    """The classes that a type hint is made of."""
    if isinstance(hint, list):
        for part in hint:
            yield from parts(part)
    elif typing.get_args(hint):
        for part in typing.get_args(hint):
            yield from parts(part)
    elif isinstance(hint, type):
        yield hint


def test_a_keyring_can_be_made_of_public_names_alone() -> None:
    keyring = Keyring(lambda namespace: KeySet(FakeKms()), limits=Limits(lease=60.0), clock=ManualClock())
    assert keyring.seals("default")
    keyring.close()


def test_the_editor_finds_every_method() -> None:
    keyring = EnvelopeConfig(key=FakeKms()).keyring()
    assert [name for name, value in vars(keyring).items() if callable(value) and not name.startswith("_")] == []
    keyring.close()
