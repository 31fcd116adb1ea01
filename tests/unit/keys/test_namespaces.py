"""Namespaces: which entry of the configuration has the keys of a namespace."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from envelope_codec import (
    ConfigurationError,
    EnvelopeConfig,
    KeyNotConfigured,
)
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.keys.namespaces import overlap
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')


def config(**settings: Any) -> EnvelopeConfig:
    return EnvelopeConfig(**settings)


def key_of(sets: KeySets, namespace: str, kind: str = "sealing") -> Any:
    found = getattr(sets, kind)(namespace)
    return found and found.key


# --- names and patterns -----------------------------------------------------------------------------------------------


def test_a_name_comes_before_a_pattern_and_a_pattern_before_the_default() -> None:
    default, exact, some, one = (FakeKms() for _ in range(4))
    namespaces = {"prod-eu": {"key": exact}, "prod-*": {"key": some}, "test-?": {"key": one}}
    sets = KeySets(config(key=default, namespaces=namespaces))
    expected = {
        **{"prod-eu": exact, "prod-eu2": some, "prod-": some, "prod": default, "xprod-eu": default},
        **{"test-1": one, "test-": default, "test-12": default, "PROD-us": default, "": default},
    }
    assert {name: key_of(sets, name) for name in expected} == expected


def test_without_a_default_other_namespaces_have_no_key() -> None:
    sets = KeySets(config(namespaces={"prod-*": {"key": FakeKms()}}, required=True))
    assert key_of(sets, "prod-1") is not None
    assert sets.sealing("dev") is None
    assert sets.opening("dev") is None


def test_required_namespaces_never_get_the_default_key() -> None:
    default, own = FakeKms(), FakeKms()
    sets = KeySets(config(key=default, namespaces={"prod-eu": {"key": own}}, required=["prod-*", "audit"]))
    assert key_of(sets, "prod-eu") is own
    assert key_of(sets, "dev") is default
    for kind in ("sealing", "opening"):
        assert key_of(sets, "prod-us", kind) is None
        assert key_of(sets, "audit", kind) is None


def test_an_alias_may_lead_to_a_pattern() -> None:
    own = FakeKms()
    sets = KeySets(config(namespaces={"new-*": {"key": own}}, namespace_aliases={"old": "new-1"}))
    assert key_of(sets, "old", "opening") is own
    assert sets.sealing("old") is None


@pytest.mark.parametrize(
    ("listed", "opens"),
    [
        ({"new": "new"}, "new"),
        ({"new": "new", "old": "old"}, "old"),
        ({"new": "new", "ol?": "old"}, "old"),
        ({"new": "new", "*": "all"}, "new"),
        ({"new": "new", "???": "all"}, "new"),
        ({"*": "all"}, "all"),
        ({}, "default"),
    ],
)
def test_an_old_name_is_opened_with_its_own_entry_or_the_new_names_keys_and_never_by_default_first(
    listed: dict[str, str], opens: str
) -> None:
    keys = {name: FakeKms() for name in ("default", "all", "new", "old")}
    namespaces = {name: {"key": keys[key]} for name, key in listed.items()}
    sets = KeySets(config(key=keys["default"], namespaces=namespaces, namespace_aliases={"old": "new"}))
    assert key_of(sets, "old", "opening") is keys[opens]


def test_an_old_name_seals_only_with_keys_that_open_it() -> None:
    default, own = FakeKms(), FakeKms()
    sets = KeySets(config(key=default, namespaces={"new": {"key": own}}, namespace_aliases={"old": "new", "was": "is"}))
    assert sets.sealing("old") is None
    assert key_of(sets, "was") is default


async def test_who_has_the_default_key_forges_nothing_for_a_renamed_namespace_with_keys_of_its_own() -> None:
    default, billing = FakeKms(), FakeKms()
    settings = config(
        key=default, namespaces={"billing": {"key": billing}}, namespace_aliases={"billing-old": "billing"}
    )
    context = WorkflowSerializationContext(namespace="billing", workflow_id="w")
    reader = EnvelopeCodec(settings, namespace="billing").with_context(context)
    [forged] = await EnvelopeCodec(config(key=default), namespace="billing-old").encode([PLAIN])
    with pytest.raises(KeyNotConfigured):
        await reader.decode([forged])
    [genuine] = await EnvelopeCodec(config(key=billing), namespace="billing-old").encode([PLAIN])
    assert await reader.decode([genuine]) == [PLAIN]


async def test_who_has_the_default_key_forges_for_every_namespace_that_is_not_listed_and_for_no_other() -> None:
    default, own = FakeKms(), FakeKms()
    settings = config(key=default, namespaces={"prod-eu": {"key": own}}, required=["audit"])

    async def opened(namespace: str) -> list[Payload]:
        [forged] = await EnvelopeCodec(config(key=default), namespace=namespace).encode([PLAIN])
        context = WorkflowSerializationContext(namespace=namespace, workflow_id="w")
        return await EnvelopeCodec(settings, namespace=namespace).with_context(context).decode([forged])

    for namespace in ("dev", "prod-us"):
        assert await opened(namespace) == [PLAIN]
    for namespace in ("prod-eu", "audit"):
        with pytest.raises(KeyNotConfigured):
            await opened(namespace)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"namespaces": {"prod-*": {"key": "K"}, "*-eu": {"key": "K"}}},
            r"'prod-\*' and '\*-eu' may fit one namespace",
        ),
        ({"namespaces": {"a*": {"key": "K"}, "a?": {"key": "K"}}}, "may fit one namespace"),
        ({"namespaces": {"a[bc]*": {"key": "K"}}}, r"'a\[bc\]\*' is no pattern"),
        ({"namespaces": {"a" * 256 + "*": {"key": "K"}}}, "is no pattern: give up to 256"),
        ({"namespaces": {"": {"key": "K"}}}, "a namespace has a name"),
        ({"key": "K", "required": ["[a]"]}, r"required: '\[a\]' is no pattern"),
        ({"key": "K", "required": [""]}, "required: '' is no pattern"),
        ({"key": "K", "required": True}, "leaves nothing for the default key"),
        ({"key": "K", "required": 7}, "required"),
        ({"key": "K", "resolver": "my_app:resolve"}, "resolver: give a function"),
    ],
)
def test_what_can_not_be_meant_is_told_at_construction(settings: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        config(**settings)


def test_required_in_the_environment() -> None:
    def of(text: str) -> object:
        maps = {"ENVELOPE_CODEC_NAMESPACES": '{"a": {"key": "localfile:///k"}}'}
        return EnvelopeConfig.from_env({**maps, "ENVELOPE_CODEC_REQUIRED": text}).required

    assert of("true") is True
    assert of("False") is False
    assert of("prod-*, audit") == ("prod-*", "audit")


def _names(pattern: str) -> Callable[[str], bool]:
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return lambda name: expression.fullmatch(name) is not None


def test_patterns_overlap_if_and_only_if_some_name_fits_both() -> None:
    """Every pair of short patterns over two letters, against every name that could tell them apart."""
    names = ["".join(signs) for length in range(7) for signs in itertools.product("ab", repeat=length)]
    patterns = ["".join(signs) for length in range(4) for signs in itertools.product("ab*?", repeat=length)]
    fitting = {pattern: {name for name in names if _names(pattern)(name)} for pattern in patterns}
    for one, other in itertools.combinations_with_replacement(patterns, 2):
        assert overlap(one, other) is overlap(other, one) is bool(fitting[one] & fitting[other]), (one, other)
