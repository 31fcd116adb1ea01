"""The settings that type checkers know are those of the model, with the same names and types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from temporalio.converter import PayloadCodec
from typing_extensions import Required, get_type_hints

from envelope_codec import EnvelopeConfig, MasterKey, NamespaceKeys, SealingContext, _settings
from envelope_codec._grammar import Bytes, OneOrMore, OneOrMoreOrBool, Seconds
from envelope_codec._settings import ConfigSettings, EnvelopeSettings, NamespaceSettings
from envelope_codec.config import AnyKeystore, Key, LegacyCodec, StorageUrl
from envelope_codec.keys.key_sets import ConfiguredKeys
from envelope_codec.keystore import Keystore
from envelope_codec.testing import FakeKeystore, FakeKms

Resolver = Callable[[SealingContext], ConfiguredKeys | MasterKey | str | None]
WRITTEN: dict[Any, set[Any]] = {
    Key: {MasterKey, str},
    Seconds: {float, str},
    Bytes: {int, str},
    StorageUrl: {str},
    AnyKeystore: {Keystore, str},
    LegacyCodec: {PayloadCodec, str},
    NamespaceKeys: {ConfiguredKeys, NamespaceSettings},
}
"""What users may write for a type of the model. Whatever is not here is written as it is."""


def known_to_checkers(settings: Any) -> dict[str, Any]:
    names = {**vars(_settings), "PayloadCodec": PayloadCodec}
    return get_type_hints(settings, names, names, include_extras=True)


def written(annotation: Any) -> set[Any]:
    """What users may write for ``annotation``, a type of the model: the members of a union."""
    for known, forms in WRITTEN.items():
        if annotation == known:
            return forms
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and OneOrMore in arguments:
        return listed(arguments[0])
    if origin is Annotated and OneOrMoreOrBool in arguments:
        return {bool}.union(*(listed(one) for one in get_args(arguments[0]) if get_origin(one) is tuple))
    if origin in (Union, UnionType):
        return set().union(*map(written, arguments))
    if origin is dict:
        values: Any = Union[tuple(written(arguments[1]))]  # noqa: UP007
        return {Mapping[arguments[0], values]}  # type: ignore[valid-type]
    return {annotation}


def listed(annotation: Any) -> set[Any]:
    """A single text, or a sequence of what the entries of a tuple may be."""
    return {str, Sequence[Union[tuple(written(get_args(annotation)[0]))]]}  # type: ignore[misc] # noqa: UP007


def members(annotation: Any) -> set[Any]:
    """The members of ``annotation``, a type that checkers know. ``Required`` says nothing of the type."""
    if get_origin(annotation) in (Required, Union, UnionType):
        return set().union(*map(members, get_args(annotation)))
    return {annotation}


def fields(model: Any) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(model, include_extras=True)
    for name in model.model_fields:
        yield name, {Resolver, NoneType} if name == "resolver" else written(hints[name])


@pytest.mark.parametrize(("settings", "model"), [(ConfigSettings, EnvelopeConfig), (NamespaceSettings, NamespaceKeys)])
def test_names_and_types_are_those_of_the_model(settings: Any, model: Any) -> None:
    known = {name: members(annotation) for name, annotation in known_to_checkers(settings).items()}
    assert known == dict(fields(model))


def test_the_key_is_given_apart_from_the_other_settings() -> None:
    assert known_to_checkers(ConfigSettings).keys() - known_to_checkers(EnvelopeSettings).keys() == {"key"}


@pytest.mark.parametrize(("settings", "model"), [(ConfigSettings, EnvelopeConfig), (NamespaceSettings, NamespaceKeys)])
def test_what_the_model_requires_checkers_require(settings: Any, model: Any) -> None:
    known = known_to_checkers(settings)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert {name for name in known if get_origin(known[name]) is Required} == required


SAMPLES: list[EnvelopeSettings] = [
    {"lease": 1, "max_age": 2.5, "timeout": "5m"},
    {"storage": "file:///tmp", "storage_threshold": "1MiB"},
    {"storage": "file:///tmp", "storage_query_threshold": "1MiB", "storage_replay_memory": 0},
    {"storage": "file:///tmp", "storage_threshold": 7, "former_storage": "file:///other"},
    {"storage": None, "former_storage": ["file:///a", "file:///b"]},
    {"backup_keys": [FakeKms("fakekms://2")], "decrypt_keys": ("fakekms://3", FakeKms("fakekms://4"))},
    {"decrypt_keys": "fakekms://5", "context": {"tenant": "a"}},
    {"namespaces": {"a": NamespaceKeys(key="fakekms://6"), "b": {"key": FakeKms("fakekms://7"), "lease": "1m"}}},
    {"required": False},
    {"required": "prod-*"},
    {"required": ["prod-*", "live"]},
    {"resolver": lambda context: None},
    {"legacy_codecs": "json:JSONDecoder"},
    {"wrapping": "direct", "headers": False},
    {"keystore": "sqlite+aiosqlite:///keystore.db", "keystore_mode": "best_effort"},
    {"keystore": FakeKeystore()},
    {"compression": "zstd", "compression_min_size": "1KiB", "max_payload": 2**20},
]


@pytest.mark.parametrize("settings", SAMPLES, ids=lambda settings: " ".join(settings))
def test_the_model_takes_what_checkers_let_pass(settings: EnvelopeSettings) -> None:
    EnvelopeConfig(key=FakeKms(), **settings)
