"""What the doctor says to do about an error of a KMS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from envelope_codec._facts import facts_of, installed_facts
from envelope_codec.cli.doctor.hint import hint
from envelope_codec.errors import KeyDenied
from envelope_codec.provider import Meaning, ProviderFacts, meanings
from tests.support.doctor_runs import NOT_PERMITTED

MEANINGS = [(scheme, meaning) for scheme, facts in installed_facts().items() for meaning in facts.meanings]


@pytest.mark.parametrize(("scheme", "meaning"), MEANINGS, ids=lambda value: getattr(value, "code", value))
@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
def test_there_is_a_hint_for_every_error_of_every_provider(scheme: str, meaning: Meaning, operation: str) -> None:
    error = meaning.make_error(operation=operation, key_id="k")
    told = hint(
        facts_of(scheme), operation, error, namespace="n{}", purpose="p", key_id="hashivault://k?mount=a%20b&x=y"
    )
    assert told
    assert not set("{}") & set(told.replace("n{}", "").replace('{ capabilities = ["update"] }', ""))


@pytest.mark.parametrize("scheme", installed_facts())
def test_every_meaning_that_a_provider_uses_is_among_its_facts(scheme: str) -> None:
    """Whatever its modules name, by a constant of their own or of the library's, has a hint there."""
    facts = facts_of(scheme)
    assert facts is not None
    package = Path(import_module(facts.class_name.partition(".")[0]).__file__ or "").parent
    hints = vars(import_module(f"{package.name}._hints"))
    used: set[Meaning] = {meaning for meaning in hints.values() if isinstance(meaning, Meaning)}
    for module in package.glob("*.py"):
        for name in re.findall(r"\bmeanings\.([A-Z_]+)\b", module.read_text()) if module.stem != "_hints" else ():
            used.add(getattr(meanings, name))
    assert used - {meaning for meaning in used if meaning.text in {one.text for one in facts.meanings}} == set()


HINTED = [
    ("awskms", "wrap", NOT_PERMITTED, "arn:aws:kms:r:1:key/1", "allow kms:Encrypt to this role"),
    ("awskms", "unwrap", NOT_PERMITTED, "arn:aws:kms:r:1:key/1", "allow kms:Decrypt to this role"),
    ("awskms", "unwrap", NOT_PERMITTED, "arn:aws:kms:r:1:alias/a", "kms:Decrypt (and, for an alias, kms:Desc"),
    ("awskms", "wrap", NOT_PERMITTED, "", "temporal-namespace = prod and envelope-codec:purpose = data-key"),
    ("gcpkms", "unwrap", NOT_PERMITTED, "", "cryptoKeyVersions.useToDecrypt on the key"),
    ("hashivault", "wrap", NOT_PERMITTED, "hashivault://k?mount=team/a", 'path "team/a/encrypt/k" { capab'),
    ("hashivault", "unwrap", NOT_PERMITTED, "hashivault://k?cluster=c&mount=t", 'path "t/decrypt/k" { capabilities'),
    ("mykms", "unwrap", NOT_PERMITTED, "mykms://", "grant permission to unwrap on the key"),
]


@pytest.mark.parametrize(("scheme", "operation", "meaning", "key_id", "said"), HINTED)
def test_a_hint_names_what_is_concerned(scheme: str, operation: str, meaning: Meaning, key_id: str, said: str) -> None:
    error = meaning.make_error(operation=operation, key_id=key_id)
    assert said in hint(facts_of(scheme), operation, error, namespace="prod", purpose="data-key", key_id=key_id)


@pytest.mark.parametrize("scheme", ["mykms", "awskms"])
def test_an_error_without_a_known_code_has_the_hint_of_its_class(scheme: str) -> None:
    for error in (KeyDenied("whatever"), KeyDenied("permission to use the key is missing")):
        told = hint(facts_of(scheme), "wrap", error, namespace="n", purpose="p", key_id="")
        assert "these credentials may use it" in told


def test_a_hint_of_a_third_party_whose_braces_are_none_of_ours_is_told_as_it_is() -> None:
    strange = Meaning(KeyDenied, "strange", "strange", "set {what} to {}")

    def fail(operation: str, key_id: str) -> Mapping[str, str]:
        raise RuntimeError

    facts = ProviderFacts("mykms", "My KMS", "my.Kms", "mykms://", "mykms://", meanings=(strange,), details=fail)
    error = strange.make_error(operation="wrap", key_id="")
    assert hint(facts, "wrap", error, namespace="n", purpose="p", key_id="") == "set {what} to {}"


@pytest.mark.parametrize("code", ["login-refused", "login-locked", "other-namespace", "policy-allows"])
def test_no_policy_is_to_be_changed_where_it_is_right(code: str) -> None:
    key_id = "hashivault://k?mount=transit&namespace=team/a"
    facts = facts_of("hashivault")
    assert facts is not None
    (meaning,) = [meaning for meaning in facts.meanings if meaning.code == code]
    error = meaning.make_error(operation="wrap", key_id=key_id)
    told = hint(facts, "wrap", error, namespace="n", purpose="p", key_id=key_id)
    assert "capabilities" not in told
    assert "add to the token's policies" not in told
    if code == "other-namespace":
        assert "team/a" in told
