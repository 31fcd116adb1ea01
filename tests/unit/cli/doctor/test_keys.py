"""``envelope-codec doctor``: what it finds in a configuration and at a KMS, and that it ends and keeps secrets."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig, NamespaceKeys
from envelope_codec.cli import main
from envelope_codec.cli.doctor.call import Calls, Deadline, quiet_logs
from envelope_codec.cli.doctor.diagnosis import Diagnosis, Request, diagnose
from envelope_codec.cli.doctor.finding import Code, Finding, Level
from envelope_codec.cli.doctor.hint import HINTS, hint
from envelope_codec.cli.doctor.settings import (
    NothingConfigured,
    Settings,
    load_settings,
    namespaces_of,
    opening_keys,
    sealing_keys,
)
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.envelope import Purpose, commit, record_head
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.keys.key_sets import KeySets
from envelope_codec.kms import Unwrapped, WrappedSecret
from envelope_codec.provider import UNEXPECTED
from envelope_codec.testing import FakeKms
from tests.support.missing_package import WITHOUT

SECONDS = 60.0
"""How long anything may take that must end. Reached only where it does not."""


async def examine(config: EnvelopeConfig, *namespaces: str) -> Diagnosis:
    request = Request(Settings(config, "a test"), namespaces or ("default",), True, None)
    with quiet_logs() as words:
        return await diagnose(request, Deadline(SECONDS), Calls(), words)


def problems(diagnosis: Diagnosis) -> list[Code]:
    return [finding.code for finding in diagnosis.findings if finding.level is Level.problem]


def advised(diagnosis: Diagnosis) -> list[Code]:
    return [finding.code for finding in diagnosis.findings if finding.level is Level.advice]


def found(diagnosis: Diagnosis, code: Code) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.code is code]
    return finding


class Recording(FakeKms):
    """Keeps what it is asked, and can refuse one operation alone."""

    def __init__(self, key_id: str | None = None, **refusals: EnvelopeError | Exception) -> None:
        super().__init__(key_id)
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []
        self.refusals = refusals

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self.asked.append(("wrap", dict(context), secret))
        if "wrap" in self.refusals:
            raise self.refusals["wrap"]
        return super().wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self.asked.append(("unwrap", dict(context), b""))
        if "unwrap" in self.refusals:
            raise self.refusals["unwrap"]
        return super().unwrap(wrapped, context)


def denied(reason: str = "the master key is disabled") -> KeyDenied:
    return KeyDenied(reason)


NOT_PERMITTED = "permission to use the key is missing"


# Master keys


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


async def test_one_bad_key_keeps_no_other_from_being_asked(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    good = FakeKms()
    config = EnvelopeConfig(
        key="localfile:///nonexistent", backup_keys=(good, key_uri(tmp_path / "key.json")), decrypt_keys=("what://k",)
    )
    diagnosis = await examine(config)
    assert problems(diagnosis) == [Code.provider_unusable, Code.provider_unusable]
    assert [finding.subject for finding in diagnosis.findings[:2]] == ["key", "decrypt_keys[0]"]
    assert "key file '/nonexistent' is missing: make it with envelope-codec keygen" in diagnosis.findings[0].text
    assert "no provider for key URI scheme 'what'" in diagnosis.findings[1].text
    ended = [bool(probe.unwrap and probe.unwrap.error is None) for probe in diagnosis.probes]
    assert ended == [False, True, True, False]


async def test_a_key_that_cannot_be_loaded_is_told_once() -> None:
    diagnosis = await examine(EnvelopeConfig(key="what://k"), "a", "b", "c")
    assert problems(diagnosis) == [Code.provider_unusable]


# Keys that are to open only


async def test_a_key_that_is_only_to_open_and_may_not_wrap_is_advice() -> None:
    old = Recording(wrap=denied(NOT_PERMITTED))
    diagnosis = await examine(EnvelopeConfig(key=FakeKms(), decrypt_keys=(old,)))
    assert diagnosis.status == 0
    finding = found(diagnosis, Code.opening_unproved)
    assert finding.subject == "decrypt_keys[0], namespace default"
    assert "--address" in finding.fix


@pytest.mark.parametrize("reason", ["the key is disabled", "permission to assume the role is missing"])
async def test_a_key_that_is_only_to_open_and_refuses_for_another_reason_is_a_problem(reason: str) -> None:
    old = Recording(wrap=denied(reason))
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


# What hangs


class OnceReached(Deadline):
    """Over as soon as an event is set."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(0)
        self._event = event

    @property
    def remaining(self) -> float:
        assert self._event.wait(SECONDS)
        return 0.0


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
async def test_it_ends_in_time_when_the_kms_hangs(operation: str) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hang(asked: str) -> None:
        if asked == operation:
            reached.set()
            go_on.wait(SECONDS)

    kms, calls = FakeKms(), Calls()
    kms.before_call = hang
    request = Request(Settings(EnvelopeConfig(key=kms), "a test"), ["default"], True, None)
    try:
        with quiet_logs() as words:
            diagnosis = await diagnose(request, OnceReached(reached), calls, words)
        assert calls.hang
    finally:
        go_on.set()
    assert problems(diagnosis) == [Code.no_answer_in_time]
    assert {"wrap": "it did not wrap", "unwrap": "did not unwrap"}[operation] in diagnosis.findings[0].text


async def test_what_has_ended_does_not_hang() -> None:
    calls = Calls()
    for number in range(100):
        assert await calls.result(lambda number=number: number, Deadline(SECONDS)) == number  # type: ignore[misc]
        assert not calls.hang, "or the process would be ended by force"


HANGS = """
import threading
from envelope_codec.cli import main
from envelope_codec.cli.doctor import keys as doctor_keys
from envelope_codec.testing import FakeKms

class Hanging(FakeKms):
    def wrap(self, secret, context):
        threading.Event().wait()

doctor_keys.master_key = lambda uri: Hanging()
main(["doctor", "hanging://", "--timeout", "0.5"])
"""


@pytest.mark.slow
def test_the_process_ends_too() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (1, "")
    assert "no-answer-in-time" in done.stdout
    assert done.stdout.endswith("2 pieces of advice.\n")


# Secrets


async def test_no_secret_is_in_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Talkative(Recording):
        def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
            wrapped = super().wrap(secret, context)
            if context["temporal-namespace"] == "odd":
                raise RuntimeError(f"can't send {secret!r} {secret.hex()} {base64.b64encode(secret)!r}")
            return wrapped

    from envelope_codec.cli.doctor.report import diagnosis_document, print_diagnosis
    from envelope_codec.cli.output import Page

    kms = Talkative()
    config = EnvelopeConfig(key=kms)
    request = Request(Settings(config, "a test"), ("good", "odd"), True, None)
    with quiet_logs() as words:
        diagnosis = await diagnose(request, Deadline(SECONDS), Calls(), words)
    assert problems(diagnosis) == [Code.wrap_unavailable]
    print_diagnosis(request, diagnosis, Page())
    print(json.dumps(diagnosis_document(request, diagnosis)))
    out, err = capsys.readouterr()
    secrets = [secret for what, _, secret in kms.asked if what == "wrap"]
    assert len(secrets) == 2
    for secret in secrets:
        for spelling in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert spelling not in out + err
    assert "failed unexpectedly" in out


# Hints


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
            if isinstance(value, (aws._Meaning, vault.Meaning)):
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


# The configuration


@pytest.mark.parametrize(
    ("settings", "namespaces", "expected_problems", "expected_advice"),
    [
        ({}, [], [], ["default-key-for-all", "require-encryption-off"]),
        ({"require_encryption": True}, [], [], ["default-key-for-all"]),
        ({"sealing": False}, [], [], ["sealing-off", "default-key-for-all"]),
        ({"wrapping": "direct", "require_encryption": True}, [], [], ["default-key-for-all", "direct-mode"]),
        ({"backups": 2, "require_encryption": True}, [], [], ["default-key-for-all", "one-recipient-suffices"]),
        ({"backups": 2, "min_recipients": 2, "require_encryption": True}, [], [], ["default-key-for-all"]),
        ({"only": "prod", "require_encryption": True}, ["prod"], [], []),
        ({"only": "prod", "require_encryption": True}, ["prod", "Prod"], ["namespace-without-key"], []),
        ({"require_encryption": True}, ["n" * 5_000], ["namespace-unusable"], ["default-key-for-all"]),
        ({"require_encryption": True}, ["a\udcffb"], ["namespace-unusable"], ["default-key-for-all"]),
        ({"require_encryption": True}, [""], ["namespace-unusable"], ["default-key-for-all"]),
    ],
)
async def test_what_is_said_of_a_configuration(
    settings: dict[str, Any], namespaces: list[str], expected_problems: list[str], expected_advice: list[str]
) -> None:
    settings = dict(settings)
    if name := settings.pop("only", None):
        settings["namespaces"] = {name: NamespaceKeys(key=FakeKms())}
    else:
        settings["key"] = FakeKms()
    settings["backup_keys"] = tuple(FakeKms() for _ in range(settings.pop("backups", 0)))
    diagnosis = await examine(EnvelopeConfig(**settings), *namespaces)
    assert problems(diagnosis) == expected_problems
    assert advised(diagnosis) == expected_advice


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


async def test_a_namespace_that_is_kept_off_the_default_key_is_told() -> None:
    diagnosis = await examine(EnvelopeConfig(key=FakeKms(), required=("prod-*",)), "prod-eu")
    assert problems(diagnosis) == [Code.namespace_without_key]
    assert "required keeps it off the default key" in diagnosis.findings[0].text


async def test_one_master_key_under_two_names_is_told(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "key.json")
    config = EnvelopeConfig(key=key_uri(tmp_path / "key.json"), decrypt_keys=(key_uri(tmp_path / "link.json"),))
    with pytest.raises(ConfigurationError):
        KeySets(config)
    diagnosis = await examine(config)
    assert problems(diagnosis) == [Code.configuration_invalid]
    assert diagnosis.findings[0].text.startswith("key and decrypt_keys[0] name one master key, localfile://")


async def test_what_is_said_of_backups_names_the_namespace() -> None:
    keys = NamespaceKeys(key=FakeKms(), backup_keys=(FakeKms(),))
    diagnosis = await examine(EnvelopeConfig(namespaces={"prod": keys}), "prod")
    finding = found(diagnosis, Code.one_recipient_suffices)
    assert (finding.subject, finding.fix.partition(" if")[0]) == (
        "namespaces.prod.min_recipients",
        "set min_recipients = 2",
    )


def test_the_configuration_comes_from_the_key_the_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('key = "localfile:///file"\nlease = "1m"\n')
    file, environment = str(tmp_path / "e.toml"), {"ENVELOPE_CODEC_KEY": "localfile:///environment"}
    assert load_settings("localfile:///key", file, environment).config.key == "localfile:///key"
    assert load_settings(None, file, environment).config.key == "localfile:///file"
    assert load_settings(None, None, environment).config.key == "localfile:///environment"
    assert load_settings(None, None, {"ENVELOPE_CODEC_FILE": file}).config.lease == 60.0
    for others in ({"PATH": "/bin"}, {"ENVELOPE_CODEC_SERVER_PORT": "8081"}):
        with pytest.raises(NothingConfigured):
            load_settings(None, None, others)
    with pytest.raises(ConfigurationError, match="ENVELOPE_CODEC_LEASES: unknown setting; did you mean lease"):
        load_settings(None, None, {"ENVELOPE_CODEC_LEASES": "1"})


def test_legacy_codecs_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('key = "localfile:///file"\nlegacy_codecs = ["no_such_module:codec"]\n')
    with pytest.raises(ConfigurationError, match="no_such_module"):
        load_settings(None, str(tmp_path / "e.toml"), {})


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
    with pytest.raises(NothingConfigured, match="--namespace"):
        namespaces_of(EnvelopeConfig(namespaces=patterns), None)
    assert namespaces_of(EnvelopeConfig(key=FakeKms()), "mine") == ["mine"]


# The command


class Outcome(NamedTuple):
    status: object
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in [name for name in os.environ if name.startswith(("ENVELOPE_CODEC_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main(["doctor", *arguments])
        return Outcome(left.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def uri(tmp_path: Path) -> str:
    create_key_file(tmp_path / "key.json")
    return key_uri(tmp_path / "key.json")


def test_people_are_told_what_was_found(run: Run, uri: str) -> None:
    outcome = run(uri, "--namespace", "prod")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:8] == [
        "Configuration",
        "  from                the key that was named",
        "  sealing             on",
        "  require_encryption  off",
        "  wrapping            wrapping-key",
        "",
        "Master keys",
        lines[7],
    ]
    assert lines[7].startswith("  prod                key: localfile://")
    assert lines[8].startswith("                      wrap ok in ")
    assert ", unwrap ok in " in lines[8]
    assert "  advice    default-key-for-all: key" in lines
    assert lines[-1] == "  No problem, 2 pieces of advice."
    assert max(map(len, lines)) <= 100


def test_programs_are_told_the_same(run: Run, uri: str) -> None:
    outcome = run(uri, "--namespace", "prod", "--json")
    document = json.loads(outcome.out)
    assert document["format"] == "envelope-codec/doctor-1"
    assert (document["status"], document["server"], document["histories"]) == (0, None, [])
    assert document["configuration"] == {
        "sealing": True,
        "require_encryption": False,
        "wrapping": "wrapping-key",
        "namespaces": ["prod"],
    }
    (key,) = document["keys"]
    for operation in ("wrap", "unwrap"):
        assert key[operation].pop("milliseconds") > 0
    assert key == {
        "namespace": "prod",
        "setting": "key",
        "key_id": key["key_id"],
        "wrap": {"outcome": "ok", "reason": ""},
        "unwrap": {"outcome": "ok", "reason": ""},
        "unwrapped_record_of_history": False,
    }
    assert [set(finding) for finding in document["findings"]] == [
        {"level", "code", "subject", "text", "fix", "words"}
    ] * 2


def test_problems_come_first_and_are_status_1(run: Run, tmp_path: Path) -> None:
    outcome = run(f"localfile://{tmp_path}/none")
    assert (outcome.status, outcome.err) == (1, "")
    findings = outcome.out.partition("\nFindings\n")[2]
    assert findings.startswith("  problem   provider-unusable: key\n")
    assert findings.endswith("  1 problem, 2 pieces of advice.\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--config", "{folder}/none.toml"], {}, "can't read '{folder}/none.toml': No such file or directory"),
        ([], {"ENVELOPE_CODEC_SEALING": "maybe"}, "sealing"),
        ([], {"ENVELOPE_CODEC_KYE": "x"}, "ENVELOPE_CODEC_KYE: unknown setting; did you mean key?"),
        ([], {"ENVELOPE_CODEC_LEASE": "1m"}, "key: missing; give a key"),
    ],
)
def test_a_wrong_configuration_is_a_problem_that_names_the_setting(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = run(*(text.format(folder=tmp_path) for text in arguments), "--json")
    assert (outcome.status, outcome.err) == (1, "")
    document = json.loads(outcome.out)
    (finding,) = document["findings"]
    assert finding["code"] == "configuration-invalid"
    assert said.format(folder=tmp_path) in finding["text"]
    assert (document["status"], document["configuration"], document["keys"]) == (1, None, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "envelope-codec: nothing to examine: name a key, or a file with --config"),
        (["localfile:///k", "--profile", "no\x1bne"], "envelope-codec: the connection profile can't be loaded: "),
        (["localfile:///k", "--config", "f"], "KEY or --config, not both"),
        (["localfile:///k", "--timeout", "0"], "--timeout"),
        (["localfile:///k", "--nothing"], "No such option"),
    ],
)
def test_what_cannot_be_examined_is_status_2(run: Run, arguments: list[str], said: str) -> None:
    outcome = run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert "\x1b" not in outcome.err


def test_a_profile_that_cannot_be_read_is_not_quoted(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[profile.default]\napi_key = "marigold\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "t.toml"))
    outcome = run("localfile:///k", "--profile", "default")
    assert outcome.status == 2
    assert "marigold" not in outcome.out + outcome.err
    assert outcome.err.count("\n") == 1


def test_nothing_from_elsewhere_reaches_the_terminal_as_it_is(run: Run, uri: str) -> None:
    hostile = "n\x1b[31m\x07\u202e[bold]\n"
    for options in ([], ["--json"]):
        outcome = run(uri, "--namespace", hostile, *options)
        assert (outcome.status, outcome.err) == (0, "")
        assert not [char for char in outcome.out if not char.isprintable() and char != "\n"]
    assert json.loads(outcome.out)["keys"][0]["namespace"] == hostile


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "key", "extra"),
    [
        ("boto3", "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "aws"),
        ("hvac", "hashivault://k?address=http://127.0.0.1:1", "vault"),
    ],
)
def test_a_missing_extra_is_told_with_its_pip_line(missing: str, key: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing), "doctor", key, "--json"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    finding = json.loads(done.stdout)["findings"][0]
    assert finding["code"] == "provider-unusable"
    assert finding["fix"] == f'pip install "temporal-envelope-codec[{extra}]"'


def test_every_finding_is_explained_on_the_page_of_commands() -> None:
    page = (Path(__file__).parents[4] / "docs" / "command-line.md").read_text("utf-8")
    for code in Code:
        assert f"| `{code.value}` |" in page
    explained: Sequence[str] = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {one for one in explained if "-" in one and not one.startswith("-")} >= {code.value for code in Code}


# What a provider foresees


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


async def test_a_provider_whose_notices_fail_is_not_blamed() -> None:
    class Odd(FakeKms):
        notices = property(lambda self: 1 / 0)

    class Failing(FakeKms):
        def notices(self) -> list[tuple[str, str]]:
            raise RuntimeError

    for kms in (Odd("fakekms://odd"), Failing("fakekms://failing")):
        assert (await examine(EnvelopeConfig(key=kms))).status == 0


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
