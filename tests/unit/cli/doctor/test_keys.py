"""Whether the master keys wrap and unwrap, as the doctor tries them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig, NamespaceKeys
from envelope_codec.cli.doctor.finding import Code, Level
from envelope_codec.cli.doctor.key_findings import key_findings
from envelope_codec.cli.doctor.keys import KeyCheck
from envelope_codec.cli.doctor.survey_findings import unconfigured_finding
from envelope_codec.cli.keys.call import Calls, Deadline
from envelope_codec.cli.keys.configured_keys import purpose_of, sealing_keys
from envelope_codec.cli.keys.master_keys import MasterKeys
from envelope_codec.cli.logs import quiet_logs
from envelope_codec.envelope import Purpose, commit, record_head
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms
from tests.support.doctor_runs import NOT_PERMITTED, SECONDS, Recording, examine, problems
from tests.support.doctor_surveys import Sealer, started, surveyed


async def test_a_good_key_has_no_problem() -> None:
    kms = FakeKms("fakekms://good")
    diagnosis = await examine(EnvelopeConfig(key=kms))
    assert (problems(diagnosis), diagnosis.status) == ([], 0)
    (probe,) = diagnosis.probes
    assert (probe.key.namespace, probe.key.setting, probe.key_id) == ("default", "key", "fakekms://good")
    assert probe.wrap is not None
    assert probe.unwrap is not None
    assert (probe.wrap.error, probe.unwrap.error) == (None, None)
    assert min(probe.wrap.seconds, probe.unwrap.seconds) > 0
    assert (kms.wraps, kms.unwraps) == (1, 1)


@pytest.mark.parametrize("wrapping", ["wrapping-key", "direct"])
async def test_the_kms_is_told_what_it_is_told_of_a_real_record(wrapping: Any) -> None:
    kms = Recording()
    config = EnvelopeConfig(
        namespaces={"prod": NamespaceKeys(key=kms, context={"tenant": "t-1"})}, wrapping=wrapping, verify_wraps=False
    )
    await examine(config, "prod")
    (_, bound, secret), (_, bound_again, _) = kms.asked
    assert bound == bound_again
    purpose = "data-key" if wrapping == "direct" else "wrapping-key"
    assert {**bound, "envelope-codec:id": ""} == {
        "temporal-namespace": "prod",
        "tenant": "t-1",
        "envelope-codec:purpose": purpose,
        "envelope-codec:id": "",
    }
    number = Purpose.DATA_KEY if wrapping == "direct" else Purpose.WRAPPING_KEY
    assert id_that_commits_to(number, secret, bound) == bound["envelope-codec:id"]


def id_that_commits_to(purpose: Purpose, secret: bytes, bound: Mapping[str, str]) -> str | None:
    """The id that commits to the secret and to the context, at any second of the last minutes."""
    context = {name: value for name, value in bound.items() if not name.startswith("envelope-codec:")}
    for seconds in range(600):
        record_id = commit(secret, record_head(purpose, int(time.time()) - seconds, context))[1].hex()
        if record_id == bound["envelope-codec:id"]:
            return record_id
    return None


async def test_every_key_is_asked_for_every_namespace() -> None:
    default, backup, old, own = (Recording(f"fakekms://{name}") for name in ("default", "backup", "old", "own"))
    config = EnvelopeConfig(
        key=default, backup_keys=(backup,), decrypt_keys=(old,), namespaces={"prod": NamespaceKeys(key=own)}
    )
    diagnosis = await examine(config, "a", "prod", "b")
    assert [(probe.key.namespace, probe.key.setting, probe.key_id) for probe in diagnosis.probes] == [
        ("a", "key", "fakekms://default"),
        ("a", "backup_keys[0]", "fakekms://backup"),
        ("a", "decrypt_keys[0]", "fakekms://old"),
        ("prod", "namespaces.prod.key", "fakekms://own"),
        ("b", "key", "fakekms://default"),
        ("b", "backup_keys[0]", "fakekms://backup"),
        ("b", "decrypt_keys[0]", "fakekms://old"),
    ]
    asked = [bound["temporal-namespace"] for kms in (default, own) for what, bound, _ in kms.asked if what == "wrap"]
    assert asked == ["a", "b", "prod"]
    assert diagnosis.status == 0


async def test_a_key_that_gives_another_secret_back_is_found() -> None:
    class Broken(FakeKms):
        def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
            return Unwrapped(bytes(32), "1")

    assert problems(await examine(EnvelopeConfig(key=Broken()))) == [Code.unwrap_invalid]


async def test_a_key_that_does_not_know_its_own_ciphertext_is_found() -> None:
    class Forgetful(FakeKms):
        def accepts(self, key_id: str) -> bool:
            return False

    kms = Forgetful()
    assert problems(await examine(EnvelopeConfig(key=kms))) == [Code.unwrap_invalid]
    assert kms.unwraps == 0


async def test_what_a_provider_may_not_return_is_found() -> None:
    class Odd(FakeKms):
        def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
            return WrappedSecret(self.key_id, "v" * 300, b"")

    assert problems(await examine(EnvelopeConfig(key=Odd()))) == [Code.wrap_invalid]


async def test_a_provider_whose_notices_fail_is_not_blamed() -> None:
    class Odd(FakeKms):
        notices = property(lambda self: 1 / 0)

    class Failing(FakeKms):
        def notices(self) -> list[tuple[str, str]]:
            raise RuntimeError

    for kms in (Odd("fakekms://odd"), Failing("fakekms://failing")):
        assert (await examine(EnvelopeConfig(key=kms))).status == 0


async def check_of(config: EnvelopeConfig, records: Any) -> Any:
    with quiet_logs() as words:
        check = KeyCheck(Calls(), MasterKeys(), words)
        return await check.without_key(list(records), config, Deadline(SECONDS))


async def test_envelopes_whose_keys_are_not_configured_are_told(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    stranger = FakeKms("fakekms://stranger")
    survey = surveyed(config, started(await seal(kms), *[await seal(stranger)] * 2))
    without = await check_of(config, survey.records)
    assert [record.recipients[0].key_id for record in without] == ["fakekms://stranger"]
    finding = unconfigured_finding(survey, without)
    assert (finding.code, finding.level) == (Code.key_not_configured, Level.problem)
    assert finding.text.startswith("2 envelopes in")
    assert finding.text.endswith("that sealed them: fakekms://stranger")


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"key": "other"}, True),
        ({"key": "main"}, False),
        ({"key": "other", "decrypt_keys": ("main",)}, False),
        ({"key": "other", "backup_keys": ("main",)}, False),
        ({"key": "main", "namespaces": {"default": "other"}}, True),
        ({"key": "other", "namespaces": {"default": "main"}}, False),
        ({"namespaces": {"new": "main"}, "namespace_aliases": {"default": "new"}}, False),
        ({"namespaces": {"new": "main"}}, True),
        # Being configured for another namespace is not enough.
        ({"key": "other", "namespaces": {"new": "main"}}, True),
    ],
)
async def test_a_key_counts_only_for_its_own_namespace(seal: Sealer, settings: dict[str, Any], missing: bool) -> None:
    keys = {"main": FakeKms(), "other": FakeKms()}
    with_keys: dict[str, Any] = {
        name: {key: NamespaceKeys(key=keys[value]) for key, value in given.items()}
        if name == "namespaces"
        else tuple(keys[one] for one in given)
        if isinstance(given, tuple)
        else keys.get(given, given)
        if isinstance(given, str)
        else given
        for name, given in settings.items()
    }
    config = EnvelopeConfig(**with_keys)
    survey = surveyed(config, started(await seal(keys["main"])))
    assert bool(await check_of(config, survey.records)) is missing


async def test_a_key_of_the_namespace_that_met_the_envelope_does_not_count(seal: Sealer) -> None:
    own, other = FakeKms(), FakeKms()
    config = EnvelopeConfig(namespaces={"default": NamespaceKeys(key=own), "other": NamespaceKeys(key=other)})
    copied = surveyed(config, started(await seal(own, "other"), await seal(other, "other")))
    without = await check_of(config, copied.records)
    assert [record.recipients[0].key_id for record in without] == [own.key_id]


async def test_of_several_recipients_one_is_enough(seal: Sealer, kms: FakeKms) -> None:
    config = EnvelopeConfig(key=kms)
    sealed = await seal(FakeKms(), backup_keys=(kms,))
    assert await check_of(config, surveyed(config, started(sealed)).records) == []


async def test_a_key_that_cannot_tell_gives_no_false_alarm(seal: Sealer, kms: FakeKms) -> None:
    class Alias(FakeKms):
        def accepts(self, key_id: str) -> bool:
            raise NOT_PERMITTED.make_error(operation="wrap", key_id=self.key_id)

    sealed = await seal(kms)
    for config in (EnvelopeConfig(key=Alias()), EnvelopeConfig(key=FakeKms(), decrypt_keys=("what://k",))):
        assert await check_of(config, surveyed(config, started(sealed)).records) is None
    config = EnvelopeConfig(key=Alias(), decrypt_keys=(kms,))
    assert await check_of(config, surveyed(config, started(sealed)).records) == []


class DecryptOnly(FakeKms):
    """May not wrap, as the one who configured it for opening wants it."""

    may_wrap = True

    def wrap(self, secret: bytes, context: Any) -> Any:
        if not self.may_wrap:
            raise NOT_PERMITTED.make_error(operation="wrap", key_id=self.key_id)
        return super().wrap(secret, context)


@pytest.mark.parametrize(
    ("namespace", "denied", "expected"),
    [
        ("default", False, []),
        ("default", True, [Code.unwrap_denied]),
        ("another", False, [Code.opening_unproved]),
    ],
)
async def test_a_history_proves_that_a_key_opens_which_may_not_wrap(
    seal: Sealer, kms: FakeKms, namespace: str, denied: bool, expected: list[Code]
) -> None:
    old = DecryptOnly("fakekms://old")
    config = EnvelopeConfig(key=kms, decrypt_keys=(old,))
    survey = surveyed(config, started(await seal(kms, namespace), await seal(old, namespace)))
    old.may_wrap, old.denied = False, denied
    with quiet_logs() as words:
        check = KeyCheck(Calls(), MasterKeys(), words)
        probes = await check.run(sealing_keys(config, "default"), purpose_of(config), Deadline(SECONDS))
        await check.prove(probes[1], list(survey.records), Deadline(SECONDS))
    assert probes[1].proved is (namespace == "default")
    assert [finding.code for finding in key_findings(probes, config, purpose_of(config))] == expected
