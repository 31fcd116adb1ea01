"""What to do about an error of a keystore."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from envelope_codec.aws.meanings import CREDENTIALS
from envelope_codec.cli.keystore_hint import KEYSTORE_HINTS, keystore_hint
from envelope_codec.datastore import dynamodb_error
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable
from envelope_codec.keystore_role import Role

SCHEMES = [*(entry.name for entry in entry_points(group="envelope_codec.keystores")), "theirs", ""]


def errors_of(scheme: str) -> list[EnvelopeError]:
    known = KEYSTORE_HINTS.get(scheme, {})
    return [StoreRefused("another"), StoreUnavailable("another"), *(StoreRefused(reason) for reason in known)]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_there_is_a_hint_for_every_error_and_it_is_a_keystores(scheme: str, role: Role) -> None:
    for error in errors_of(scheme):
        hint = keystore_hint(scheme, error, role)
        assert hint
        assert not any(word in hint for word in ("storage ddl", "storage gc", "former_storage", "payloads", "{", "  "))
    assert scheme in ("theirs", "") or scheme in KEYSTORE_HINTS


def test_every_error_of_dynamodb_has_a_hint() -> None:
    texts = {getattr(dynamodb_error, name) for name in ("_NO_ANSWER", "_CREDENTIALS", "_TOO_MUCH", "_OTHER", "_NAME")}
    texts |= {*dynamodb_error._REASONS.values(), *(meaning.text for meaning in CREDENTIALS)}
    assert texts | {"what is there under the id is of another kind"} == set(KEYSTORE_HINTS["dynamodb"])


@pytest.mark.parametrize(
    ("scheme", "reason", "role", "said"),
    [
        ("postgresql", "permission on the table or the database is missing", Role.open, "grant SELECT on the table"),
        ("postgresql", "permission on the table or the database is missing", Role.rewrap, "SELECT, INSERT and UPDATE"),
        ("postgresql", "permission on the table or the database is missing", Role.seal, "set sealing = false"),
        ("s3", "the bucket refused: permission is missing", Role.rewrap, "s3:ListBucket"),
        ("s3", "the bucket refused: permission is missing", Role.open, "s3:ListBucket"),
        ("redis", "permission is missing: for a command, or for keys with the prefix", Role.rewrap, "SCAN"),
        ("dynamodb", "permission on the table is missing", Role.rewrap, "dynamodb:Query"),
        ("sqlite", "the table does not exist, or its schema", Role.open, "envelope-codec keystore ddl"),
        ("file", "the file system is read-only", Role.seal, "credentials may use it"),
    ],
)
def test_a_hint_names_what_the_role_needs(scheme: str, reason: str, role: Role, said: str) -> None:
    assert said in keystore_hint(scheme, StoreRefused(reason), role)


@pytest.mark.parametrize("role", [Role.open, Role.rewrap])
def test_who_need_not_publish_is_not_told_to_cease(role: Role) -> None:
    refused = StoreRefused("permission on the table or the database is missing")
    assert "sealing = false" not in keystore_hint("postgresql", refused, role)
