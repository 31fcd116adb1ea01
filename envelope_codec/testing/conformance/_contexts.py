"""The KMS binds the context, every byte of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from envelope_codec.errors import InvalidCiphertext
from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance._checks import CONTEXT, SECRET, refused


def without(name: str) -> dict[str, str]:
    return {found: value for found, value in CONTEXT.items() if found != name}


WRONG_CONTEXTS = {
    "another value": {**CONTEXT, "temporal-namespace": "prod"},
    "a value in capitals": {**CONTEXT, "temporal-namespace": "Default"},
    "a longer value": {**CONTEXT, "temporal-namespace": "default "},
    "a missing entry": without("tenant"),
    "no entry": {},
    "an extra entry": {**CONTEXT, "another": "entry"},
    "a renamed entry": {**without("tenant"), "client": "t1"},
    "a renamed entry that sorts alike": {**without("tenant"), "tenants": "t1"},
    "a name in capitals": {**without("tenant"), "Tenant": "t1"},
    "exchanged values": {**CONTEXT, "temporal-namespace": "t1", "tenant": "default"},
    "another purpose": {**CONTEXT, "envelope-codec:purpose": "data-key"},
}


UNICODE_CONTEXT = {"namespace": "schlüssel", "ключ": "значение", "\U0001f511": "鍵", "space and = & ?": "\"'\\\t\u2028"}


LARGEST_CONTEXTS = {
    "one long value": {"n" * 128: "v" * 4000, "m" * 128: "w" * 1744},
    "long names": {f"{number:0>128}": "v" for number in range(46)} | {"rest": "v" * 62},
    "three-byte characters": {"n" * 3: "鍵" * 1333, "m" * 3: "鍵" * 665},
    "many entries": {f"{number:0>30}": f"{number:0>30}" for number in range(100)},
}


class Contexts:
    """The KMS binds the context, every byte of it."""

    @pytest.mark.parametrize("wrong", WRONG_CONTEXTS)
    def test_another_context_is_refused(self, uri: str, key: MasterKey, wrong: str) -> None:
        wrapped = key.wrap(SECRET, CONTEXT)
        refused(
            InvalidCiphertext,
            lambda: key.unwrap(wrapped, WRONG_CONTEXTS[wrong]),
            operation="unwrap",
            unsaid=(uri, key.key_id),
        )

    @pytest.mark.parametrize(
        ("sealed", "opened"),
        [
            ({"tenant": "t1"}, {"tenantt": "1"}),
            ({"tenantt": "1"}, {"tenant": "t1"}),
            ({"a": "b", "c": "d"}, {"a": "bcd"}),
            ({"a": "bcd"}, {"a": "b", "c": "d"}),
        ],
        ids=["one byte on", "one byte back", "two entries as one", "one entry as two"],
    )
    def test_a_shifted_context_is_refused(
        self,
        uri: str,
        key: MasterKey,
        sealed: Mapping[str, str],
        opened: Mapping[str, str],
    ) -> None:
        wrapped = key.wrap(SECRET, sealed)
        refused(InvalidCiphertext, lambda: key.unwrap(wrapped, opened), operation="unwrap", unsaid=(uri, key.key_id))

    def test_names_and_values_in_any_script_come_back(self, key: MasterKey) -> None:
        assert key.unwrap(key.wrap(SECRET, UNICODE_CONTEXT), UNICODE_CONTEXT).secret == SECRET

    def test_unicode_is_not_normalized(self, uri: str, key: MasterKey) -> None:
        wrapped = key.wrap(SECRET, {"namespace": "caf\u00e9"})
        refused(
            InvalidCiphertext,
            lambda: key.unwrap(wrapped, {"namespace": "cafe\u0301"}),
            operation="unwrap",
            unsaid=(uri, key.key_id),
        )

    @pytest.mark.parametrize("shape", LARGEST_CONTEXTS)
    def test_a_context_of_6000_bytes_comes_back(self, key: MasterKey, shape: str) -> None:
        context = LARGEST_CONTEXTS[shape]
        assert sum(len(text.encode()) for pair in context.items() for text in pair) == 6000
        wrapped = key.wrap(SECRET, context)
        assert len(wrapped.ciphertext) <= 4096
        assert key.unwrap(wrapped, context).secret == SECRET
