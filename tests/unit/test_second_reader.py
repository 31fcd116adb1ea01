"""The second reader and the test vectors hold each other to SPEC.md; `envelope_codec` has no part in it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from temporalio.api.common.v1 import Payload

from tests.support import second_reader
from tests.support.second_vector_reader import opened
from tests.vectors.vector_files import load

VECTORS = {vector.name: vector for vector in load()}
ELSEWHERE = ("ContextMismatch", "KeyNotConfigured")  # good envelopes; their reader is the wrong one
NOTHING_TO_OPEN = re.compile(
    r"wrapped-key-missing|key-id-missing|data-key-(39|41|empty)|data-(59|empty)$|recipients-none|"
    r"record-truncated|record-length|not-utf8|surrogate|overlong|empty-record|order-malformed-before-not-configured"
)


def expecting(*expect: str) -> list[str]:
    return [name for name, vector in VECTORS.items() if vector.expect in expect]


@pytest.mark.parametrize("name", expecting("ok"))
def test_a_good_vector_opens(name: str) -> None:
    vector = VECTORS[name]
    found = opened(vector)
    payload = Payload.FromString(found)
    assert vector.payload is not None
    assert dict(payload.metadata) == vector.payload.metadata
    assert payload.data == vector.payload.data
    if not name.startswith(("payload-padding", "compressed-")):
        assert found == vector.inner


@pytest.mark.parametrize("name", expecting("MalformedEnvelope", "InvalidCiphertext", "KeyNotConfigured"))
def test_a_bad_vector_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the second reader has one error
        opened(VECTORS[name])


@pytest.mark.parametrize("name", [name for name in expecting(*ELSEWHERE) if not name.startswith("order-")])
def test_an_envelope_in_the_wrong_hands_is_good_itself(name: str) -> None:
    assert opened(VECTORS[name], any_configuration=True)


@pytest.mark.parametrize("name", expecting("untouched"))
def test_an_untouched_payload_is_no_envelope(name: str) -> None:
    metadata = VECTORS[name].metadata
    assert not metadata.get("encoding", b"").startswith(b"binary/envelope-")
    assert "encryption-wrapped-key" not in metadata


@pytest.mark.parametrize("name", expecting("MalformedEnvelope"))
def test_a_malformed_vector_breaks_one_rule_and_opens_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[str] = []
    monkeypatch.setattr(second_reader, "_require", lambda holds, rule: None if holds else broken.append(rule))
    vector = VECTORS[name]
    if NOTHING_TO_OPEN.search(name):
        with pytest.raises((ValueError, LookupError)):
            opened(vector, any_configuration=True)
        assert broken
    else:
        assert opened(vector, any_configuration=True)
        assert len(set(broken)) == 1


def test_every_rule_of_the_second_reader_is_broken_by_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    rules: set[str] = set()
    broken: set[str] = set()

    def require(holds: bool, rule: str) -> None:
        rules.add(rule)
        if not holds:
            broken.add(rule)
            raise ValueError(rule)

    monkeypatch.setattr(second_reader, "_require", require)
    for name in expecting("ok", "MalformedEnvelope"):
        try:
            opened(VECTORS[name])
        except ValueError:
            continue
    assert {rule for rule in rules - broken if not rule.startswith("row")} == set()  # rows have vectors of their own


DAMAGED = ("block-type", "checksum-wrong", "no-payload", "name-not-utf8")
NO_CONTENT = ("no-data", "size-cut", "no-frame", "header-cut", "magic", "dictionary", "reserved-bit", "skippable")


@pytest.mark.parametrize("name", [name for name in expecting("InvalidCiphertext") if name.startswith("compressed-")])
def test_a_bad_compressed_vector_breaks_one_rule_and_opens_without_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose frame can't be read at all without the rule are refused all the same."""
    broken: list[str] = []
    monkeypatch.setattr(
        second_reader, "_require_compressed", lambda holds, rule: None if holds else broken.append(rule)
    )
    kind = name.removeprefix("compressed-")
    if kind in DAMAGED:
        with pytest.raises(ValueError, match=r"damaged|no Payload"):
            opened(VECTORS[name])
        assert broken == []
        return
    try:
        opened(VECTORS[name])
    except ValueError:
        assert kind.startswith((*NO_CONTENT, "other-content-size")) or len(broken) > 1
    assert broken
    if not kind.startswith((*NO_CONTENT, "frame-after", "frame-cut", "bomb-of-less")):
        assert len(set(broken)) == 1


def test_every_rule_for_compressed_payloads_is_broken_by_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    rules: set[str] = set()
    broken: set[str] = set()

    def require(holds: bool, rule: str) -> None:
        rules.add(rule)
        if not holds:
            broken.add(rule)
            raise ValueError(rule)

    monkeypatch.setattr(second_reader, "_require_compressed", require)
    for name in [name for name in VECTORS if name.startswith("compressed-")]:
        with suppress(ValueError):
            opened(VECTORS[name])
    assert broken == rules
    assert len(rules) > 10


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("id-")])
def test_a_forged_record_is_refused_for_its_id_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.second_reader.hmac.compare_digest", lambda one, other: True)
    assert opened(VECTORS[name]) == VECTORS["wrapping-key"].inner


@pytest.mark.parametrize("name", [name for name, vector in VECTORS.items() if vector.base])
def test_a_changed_vector_differs_from_its_good_base_in_one_value(name: str) -> None:
    vector = VECTORS[name]
    base = VECTORS[vector.base or ""]
    assert base.expect == "ok"
    names = {*base.metadata, *vector.metadata}
    changed = [key for key in names if vector.metadata.get(key) != base.metadata.get(key)]
    changed += ["data"] * (vector.data != base.data)
    if vector.expect in ELSEWHERE:
        assert not changed
        assert (vector.namespace, vector.configured) != (base.namespace, base.configured)
    else:
        assert len(changed) == 1
        mended = replace(vector, metadata=base.metadata, data=base.data)
        assert opened(mended) == base.inner


@pytest.mark.parametrize("name", ["worked-example", "direct"])
def test_any_changed_byte_is_refused(name: str) -> None:
    vector = VECTORS[name]
    for key, value in [*vector.metadata.items(), ("data", vector.data)]:
        for at in range(len(value)):
            flipped = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            if key == "data":
                changed = replace(vector, data=flipped)
            else:
                changed = replace(vector, metadata={**vector.metadata, key: flipped})
            with pytest.raises(ValueError):  # noqa: PT011 - the second reader has one error
                opened(changed, any_configuration=True)


def test_names_of_vectors_are_unique_and_every_vector_says_its_property() -> None:
    assert len(VECTORS) == len(load())
    assert all(vector.comment for vector in VECTORS.values())
    assert len(expecting("ok")) >= 12
    assert {vector.expect for vector in VECTORS.values()} == {
        "ok",
        "untouched",
        "MalformedEnvelope",
        "InvalidCiphertext",
        *ELSEWHERE,
    }
