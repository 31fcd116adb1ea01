"""What to do about an error of a keystore."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from envelope_codec.aws.meanings import CREDENTIALS
from envelope_codec.cli.keystore_hint import KEYSTORE_HINTS, Use, keystore_hint
from envelope_codec.datastore import dynamodb_error
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

SCHEMES = [*(entry.name for entry in entry_points(group="envelope_codec.keystores")), "theirs", ""]


def errors_of(scheme: str) -> list[EnvelopeError]:
    known = KEYSTORE_HINTS.get(scheme, {})
    return [StoreRefused("another"), StoreUnavailable("another"), *(StoreRefused(reason) for reason in known)]


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_there_is_a_hint_for_every_error_and_it_is_a_keystores(scheme: str, use: Use) -> None:
    for error in errors_of(scheme):
        hint = keystore_hint(scheme, error, use)
        assert hint
        assert not any(word in hint for word in ("storage ddl", "storage gc", "former_storage", "payloads", "{", "  "))
    assert scheme in ("theirs", "") or scheme in KEYSTORE_HINTS


def test_every_error_of_dynamodb_has_a_hint() -> None:
    texts = {getattr(dynamodb_error, name) for name in ("_NO_ANSWER", "_CREDENTIALS", "_TOO_MUCH", "_OTHER", "_NAME")}
    texts |= {*dynamodb_error._REASONS.values(), *(meaning.text for meaning in CREDENTIALS)}
    assert texts | {"what is there under the id is of another kind"} == set(KEYSTORE_HINTS["dynamodb"])


@pytest.mark.parametrize(
    ("scheme", "reason", "use", "said"),
    [
        ("postgresql", "permission on the table or the database is missing", Use.OPEN, "grant SELECT on the table"),
        ("postgresql", "permission on the table or the database is missing", Use.PUBLISH, "SELECT, INSERT and UPDATE"),
        ("postgresql", "permission on the table or the database is missing", Use.PUBLISH, "set sealing = false"),
        ("s3", "the bucket refused: permission is missing", Use.COMMAND, "s3:ListBucket"),
        ("redis", "permission is missing: for a command, or for keys with the prefix", Use.COMMAND, "SCAN"),
        ("dynamodb", "permission on the table is missing", Use.COMMAND, "dynamodb:Query"),
        ("sqlite", "the table does not exist, or its schema", Use.OPEN, "envelope-codec keystore ddl"),
        ("file", "the file system is read-only", Use.PUBLISH, "credentials may use it"),
    ],
)
def test_a_hint_names_what_the_role_needs(scheme: str, reason: str, use: Use, said: str) -> None:
    assert said in keystore_hint(scheme, StoreRefused(reason), use)


@pytest.mark.parametrize("use", [Use.OPEN, Use.COMMAND])
def test_who_need_not_publish_is_not_told_to_cease(use: Use) -> None:
    refused = StoreRefused("permission on the table or the database is missing")
    assert "sealing = false" not in keystore_hint("postgresql", refused, use)
