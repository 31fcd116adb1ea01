"""The master keys of a namespace, and the namespaces to examine."""

from __future__ import annotations

import pytest

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.doctor.finding import Code
from envelope_codec.cli.keys.configured_keys import NothingToExamine, namespaces_of, opening_keys, sealing_keys
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import examine, problems


def configurations() -> list[EnvelopeConfig]:
    one, two, three, four = (FakeKms(f"fakekms://{number}") for number in range(4))
    own = NamespaceKeys(key=one, backup_keys=(two,), decrypt_keys=(three,))
    return [
        EnvelopeConfig(key=four),
        EnvelopeConfig(namespaces={"prod": own}),
        EnvelopeConfig(key=four, namespaces={"prod": own, "prod-*": NamespaceKeys(key=two)}),
        EnvelopeConfig(key=four, namespaces={"prod-*": own, "prod-eu": NamespaceKeys(key=two)}),
        EnvelopeConfig(key=four, namespaces={"prod": own}, required=("prod-*", "Prod")),
        EnvelopeConfig(namespaces={"prod-?": own}, required=True),
        EnvelopeConfig(namespaces={"prod": own}, namespace_aliases={"old": "prod", "prod-eu": "prod"}),
        EnvelopeConfig(key=four, namespaces={"prod": own}, namespace_aliases={"old": "prod"}, required=("old",)),
        EnvelopeConfig(key=four, namespaces={"prod": own}, namespace_aliases={"old": "prod", "prod-eu": "prod"}),
        EnvelopeConfig(namespaces={"*": own}, namespace_aliases={"old": "prod"}),
    ]


@pytest.mark.parametrize("config", configurations(), ids=lambda config: ",".join(config.namespaces) or "default")
def test_the_keys_of_a_namespace_are_those_that_workers_use(config: EnvelopeConfig) -> None:
    key_sets = KeySets(config)
    for namespace in ("prod", "Prod", "prod-eu", "prod-1", "prod-*", "old", "default", "other", ""):
        for ours, theirs in ((sealing_keys, key_sets.sealing), (opening_keys, key_sets.opening)):
            key_set, listed = theirs(namespace), ours(config, namespace)
            masters = [] if key_set is None else [*key_set.sealing, *key_set.decrypt_keys]
            assert [key.given for key in listed] == masters
            assert [key.seals for key in listed] == [
                master in (key_set.sealing if key_set else ()) for master in masters
            ]


async def test_keys_by_pattern_are_named_as_they_are_configured() -> None:
    config = EnvelopeConfig(namespaces={"prod-*": NamespaceKeys(key=FakeKms())})
    diagnosis = await examine(config, "prod-eu", "dev")
    assert [(probe.key.namespace, probe.key.setting) for probe in diagnosis.probes] == [
        ("prod-eu", "namespaces.prod-*.key")
    ]
    assert problems(diagnosis) == [Code.namespace_without_key]


def test_which_namespaces_are_examined_where_none_is_named() -> None:
    listed = {"b": NamespaceKeys(key=FakeKms()), "a": NamespaceKeys(key=FakeKms())}
    assert namespaces_of(EnvelopeConfig(key=FakeKms()), None) == ["default"]
    assert namespaces_of(EnvelopeConfig(key=FakeKms(), namespaces=listed), None) == ["default", "b", "a"]
    assert namespaces_of(EnvelopeConfig(namespaces=listed), None) == ["b", "a"]
    assert namespaces_of(EnvelopeConfig(namespaces=listed), "a") == ["a", "b"]
    assert namespaces_of(EnvelopeConfig(key=FakeKms(), namespaces=listed, required=("def*",)), None) == ["b", "a"]
    patterns = {"b-*": NamespaceKeys(key=FakeKms())}
    assert namespaces_of(EnvelopeConfig(namespaces={**listed, **patterns}), None) == ["b", "a"]
    assert namespaces_of(EnvelopeConfig(namespaces=patterns), "b-1") == ["b-1"]
    with pytest.raises(NothingToExamine, match="--namespace"):
        namespaces_of(EnvelopeConfig(namespaces=patterns), None)
    assert namespaces_of(EnvelopeConfig(key=FakeKms()), "mine") == ["mine"]
