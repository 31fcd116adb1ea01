"""What the doctor says of master keys that do not wrap or unwrap, or that could not be tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.cli.doctor.finding import Code
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import NOT_PERMITTED, Recording, denied, examine, found, problems


@pytest.mark.parametrize(
    ("operation", "error", "code"),
    [
        ("wrap", denied(), Code.wrap_denied),
        ("wrap", denied(NOT_PERMITTED), Code.wrap_denied),
        ("wrap", KmsUnavailable("the KMS did not answer"), Code.wrap_unavailable),
        ("wrap", InvalidCiphertext("odd"), Code.wrap_invalid),
        ("wrap", RuntimeError("a provider with a bug"), Code.wrap_unavailable),
        ("unwrap", denied(), Code.unwrap_denied),
        ("unwrap", denied(NOT_PERMITTED), Code.unwrap_denied),
        ("unwrap", KmsUnavailable("the KMS did not answer"), Code.unwrap_unavailable),
        ("unwrap", InvalidCiphertext("the KMS refused the wrapped key"), Code.unwrap_invalid),
        ("unwrap", RuntimeError("a provider with a bug"), Code.unwrap_unavailable),
    ],
)
async def test_wrap_and_unwrap_failures_are_told_apart(operation: str, error: Exception, code: Code) -> None:
    kms = Recording(None, **{operation: error})
    diagnosis = await examine(EnvelopeConfig(key=kms))
    assert (problems(diagnosis), diagnosis.status) == ([code], 1)
    finding = found(diagnosis, code)
    assert finding.subject == "key, namespace default"
    assert finding.fix
    if isinstance(error, EnvelopeError):
        assert error.reason in finding.text
    (probe,) = diagnosis.probes
    assert (probe.unwrap is None) is (operation == "wrap")


async def test_a_key_that_cannot_be_loaded_is_told_once() -> None:
    diagnosis = await examine(EnvelopeConfig(key="what://k"), "a", "b", "c")
    assert problems(diagnosis) == [Code.provider_unusable]


async def test_a_key_that_is_only_to_open_and_may_not_wrap_is_advice() -> None:
    old = Recording(wrap=denied(NOT_PERMITTED))
    diagnosis = await examine(EnvelopeConfig(key=FakeKms(), decrypt_keys=(old,)))
    assert diagnosis.status == 0
    finding = found(diagnosis, Code.opening_unproved)
    assert finding.subject == "decrypt_keys[0], namespace default"
    assert "--address" in finding.fix


@pytest.mark.parametrize("error", [denied(), KeyDenied("permission to use the key is missing")])
async def test_a_key_that_is_only_to_open_and_refuses_for_another_reason_is_a_problem(error: EnvelopeError) -> None:
    """The reason code counts, and not the text."""
    old = Recording(wrap=error)
    diagnosis = await examine(EnvelopeConfig(key=FakeKms(), decrypt_keys=(old,)))
    assert problems(diagnosis) == [Code.wrap_denied]


@pytest.mark.parametrize(("sealing", "status"), [(True, 1), (False, 0)])
async def test_without_sealing_nothing_needs_to_wrap(sealing: bool, status: int) -> None:
    kms = Recording(wrap=denied(NOT_PERMITTED))
    assert (await examine(EnvelopeConfig(key=kms, sealing=sealing))).status == status


@pytest.mark.parametrize(("verify_wraps", "status"), [(True, 1), (False, 0)])
async def test_a_role_that_only_seals_needs_no_unwrap(verify_wraps: bool, status: int) -> None:
    kms = Recording(unwrap=denied(NOT_PERMITTED))
    diagnosis = await examine(EnvelopeConfig(key=kms, verify_wraps=verify_wraps))
    assert diagnosis.status == status
    assert found(diagnosis, Code.unwrap_denied)


async def test_one_master_key_under_two_names_is_told(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "key.json")
    config = EnvelopeConfig(key=key_uri(tmp_path / "key.json"), decrypt_keys=(key_uri(tmp_path / "link.json"),))
    with pytest.raises(ConfigurationError):
        KeySets(config)
    diagnosis = await examine(config)
    assert problems(diagnosis) == [Code.configuration_invalid]
    assert diagnosis.findings[0].text.startswith("key and decrypt_keys[0] name one master key, localfile://")


async def test_what_a_provider_foresees_is_advice_once_a_key() -> None:
    class Foreseeing(FakeKms):
        def notices(self) -> list[tuple[str, str]]:
            return [("the token ends in 60 min", "use another")]

    kms = Foreseeing("fakekms://foreseeing")
    diagnosis = await examine(EnvelopeConfig(namespaces={"a": {"key": kms}, "b": {"key": kms}}), "a", "b")
    told = [finding for finding in diagnosis.findings if finding.code is Code.provider_notice]
    assert [(finding.text, finding.fix, finding.level.value) for finding in told] == [
        ("the token ends in 60 min", "use another", "advice")
    ]
    assert diagnosis.status == 0
