"""What the doctor says to do about an error of a KMS."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli.doctor.hint import HINTS, hint
from envelope_codec.errors import EnvelopeError, KeyDenied, KmsUnavailable
from envelope_codec.provider import UNEXPECTED
from tests.support.doctor_runs import NOT_PERMITTED


def reasons() -> list[tuple[str, EnvelopeError]]:
    """Every error that a provider of this project can raise for a call, by the provider's own tables."""
    from envelope_codec_aws import _errors as aws
    from envelope_codec_gcp import failure as gcp
    from envelope_codec_vault import _failure as vault

    found: dict[tuple[str, str], EnvelopeError] = {
        ("awskms", meaning.reason): meaning.kind(meaning.reason) for meaning in aws._NO_CREDENTIALS.values()
    }
    for scheme, module in (("awskms", aws), ("hashivault", vault)):
        for value in vars(module).values():
            if isinstance(value, tuple) and hasattr(value, "reason"):
                found[scheme, value.reason] = value.kind(value.reason)
    verdicts = [value for value in vars(gcp).values() if isinstance(value, tuple) and len(value) == 2]
    for kind, reason in [*verdicts, *gcp.BY_STATUS.values()]:
        if isinstance(kind, type) and issubclass(kind, EnvelopeError):
            found["gcpkms", reason] = kind(reason)
    return [(scheme, error) for (scheme, _), error in found.items() if error.reason != "this master key is closed"]


@pytest.mark.parametrize(("scheme", "error"), reasons(), ids=lambda value: str(value))
@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
def test_there_is_a_hint_for_every_error_of_every_provider(scheme: str, error: EnvelopeError, operation: str) -> None:
    assert error.reason in HINTS[scheme]
    told = hint(scheme, operation, error, namespace="n{}", purpose="p", key_id="hashivault://k?mount=a%20b&x=y")
    assert told
    assert not set("{}") & set(told.replace("n{}", "").replace('{ capabilities = ["update"] }', ""))


def test_the_hints_are_for_errors_that_there_are() -> None:
    known = {(scheme, error.reason) for scheme, error in reasons()}
    listed = {(scheme, reason) for scheme, hints in HINTS.items() for reason in hints if scheme != "localfile"}
    # Raised outside of the tables.
    others = {("gcpkms", "the recorded key version is not one of Google Cloud KMS")}
    assert listed - known == others
    source = (Path(__file__).parents[4] / "providers/envelope_codec_local/__init__.py").read_text()
    for reason in HINTS["localfile"]:
        assert f'"{reason}"' in source or reason == UNEXPECTED


@pytest.mark.parametrize(
    ("scheme", "operation", "reason", "key_id", "said"),
    [
        ("awskms", "wrap", NOT_PERMITTED, "arn:aws:kms:r:1:key/1", "allow kms:Encrypt to this role"),
        ("awskms", "unwrap", NOT_PERMITTED, "arn:aws:kms:r:1:key/1", "allow kms:Decrypt to this role"),
        ("awskms", "unwrap", NOT_PERMITTED, "arn:aws:kms:r:1:alias/a", "kms:Decrypt (and, for an alias, kms:Desc"),
        ("awskms", "wrap", NOT_PERMITTED, "", "temporal-namespace = prod and envelope-codec:purpose = data-key"),
        ("gcpkms", "unwrap", "the KMS refused: permission is missing", "", "cryptoKeyVersions.useToDecrypt on the key"),
        ("hashivault", "wrap", NOT_PERMITTED, "hashivault://k?mount=team/a", 'path "team/a/encrypt/k" { capab'),
        (
            "hashivault",
            "unwrap",
            NOT_PERMITTED,
            "hashivault://k?cluster=c&mount=t",
            'path "t/decrypt/k" { capabilities',
        ),
        ("", "wrap", NOT_PERMITTED, "mykms://", "these credentials may use it"),
        ("mykms", "unwrap", "whatever", "mykms://", "these credentials may use it"),
    ],
)
def test_a_hint_names_what_is_concerned(scheme: str, operation: str, reason: str, key_id: str, said: str) -> None:
    error = KeyDenied(reason)
    assert said in hint(scheme, operation, error, namespace="prod", purpose="data-key", key_id=key_id)


@pytest.mark.parametrize(
    "reason",
    [
        "the KMS refused the login",
        "the KMS refused the login, as it does while a role is locked",
        "the token is of another namespace than the key, and may not use it",
        "the KMS refused, though the token's policies name the key's path",
    ],
)
def test_no_policy_is_to_be_changed_where_it_is_right(reason: str) -> None:
    key_id = "hashivault://k?mount=transit&namespace=team/a"
    told = hint("hashivault", "wrap", KmsUnavailable(reason), namespace="n", purpose="p", key_id=key_id)
    assert "capabilities" not in told
    assert "add to the token's policies" not in told
    if "namespace" in reason:
        assert "team/a" in told
