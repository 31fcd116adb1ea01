"""Settings from code, TOML and the environment, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig, KeyNotConfigured, KmsUnavailable
from envelope_codec.config import NamespaceKeys
from envelope_codec.envelope import Purpose
from envelope_codec.keys.draft import Draft
from envelope_codec.keystore_change import publish
from envelope_codec.keystore_row import row_key
from envelope_codec.testing import FakeKeystore, FakeKms

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "arn:aws:kms:eu-west-1:111122223333:alias/envelope"


def test_a_file_holds_the_same_settings_as_code(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(
        f"""
        key = "{ARN}"
        decrypt_keys = ["{OTHER}"]
        context = {{ env = "prod" }}
        lease = "2m"
        max_age = 3600
        outage_grace = 0
        wrapping = "direct"
        headers = false

        [namespaces.billing]
        key = "{OTHER}"

        [namespace_aliases]
        old = "new"
        """
    )
    assert EnvelopeConfig.from_file(file) == EnvelopeConfig(
        key=ARN,
        decrypt_keys=[OTHER],
        context={"env": "prod"},
        lease=120,
        max_age="1h",
        outage_grace=0.0,
        wrapping="direct",
        headers=False,
        namespaces={"billing": NamespaceKeys(key=OTHER)},
        namespace_aliases={"old": "new"},
    )


def test_the_environment_holds_the_same_settings_as_code() -> None:
    variables = {
        "ENVELOPE_CODEC_KEY": ARN,
        "ENVELOPE_CODEC_DECRYPT_KEYS": f"{OTHER}, hashivault://k",
        "ENVELOPE_CODEC_CONTEXT": '{"env": "prod"}',
        "ENVELOPE_CODEC_MAX_PAYLOADS": "100",
        "ENVELOPE_CODEC_SEALING": "false",
        "ENVELOPE_CODEC_LEASE": "90s",
        "ENVELOPE_REQUIRE_SERVERS": "1",
        "PATH": "/bin",
    }
    assert EnvelopeConfig.from_env(variables) == EnvelopeConfig(
        key=ARN,
        decrypt_keys=[OTHER, "hashivault://k"],
        context={"env": "prod"},
        max_payloads=100,
        sealing=False,
        lease=90,
    )


def test_the_environment_overrides_a_file_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "{ARN}"\nlease = 60\ntimeout = 5\n[namespaces.a]\nkey = "{OTHER}"\n')
    config = EnvelopeConfig.from_env({"ENVELOPE_CODEC_FILE": str(file), "ENVELOPE_CODEC_LEASE": "10s"})
    assert (config.key, config.lease, config.timeout) == (ARN, 10, 5)
    assert config.namespaces["a"].key == OTHER


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("2d", 172_800), ("7", 7), (3, 3), (0.5, 0.5)]
)
def test_durations(text: Any, seconds: float) -> None:
    assert EnvelopeConfig(key=ARN, lease=text).lease == seconds


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "key: missing"),
    ({"key": ""}, "key URI"),
    ({"key": 7}, "key: give a key URI"),
    ({"key": ARN, "decript_keys": []}, "decript_keys: unknown setting; did you mean decrypt_keys?"),
    (
        {"key": ARN, "namespaces": {"a": {"key": ARN, "contxt": {}}}},
        "namespaces.a.contxt: unknown setting;",
    ),
    ({"key": ARN, "namespaces": {"a": {}}}, "namespaces.a.key"),
    ({"key": ARN, "zzz": 1}, "zzz: unknown setting (known: "),
    ({"key": ARN, "max_age": -1}, "max_age: "),
    ({"key": ARN, "max_age": 0}, "max_age: "),
    ({"key": ARN, "lease": "5 parsecs"}, "lease: "),
    ({"key": ARN, "lease": float("inf")}, "lease: "),
    ({"key": ARN, "lease": float("nan")}, "lease: "),
    ({"key": ARN, "outage_grace": -0.1}, "outage_grace: "),
    ({"key": ARN, "max_payloads": 0}, "max_payloads: "),
    ({"key": ARN, "cache_size": 0}, "cache_size: "),
    ({"key": ARN, "min_recipients": 0}, "min_recipients: "),
    ({"key": ARN, "min_recipients": 2}, "min_recipients: more than"),
    ({"key": ARN, "wrapping": "both"}, "wrapping: "),
    ({"key": ARN, "sealing": "perhaps"}, "sealing: "),
    ({"key": ARN, "sealing": False, "require_encryption": True}, "require_encryption: needs sealing"),
    ({"key": ARN, "decrypt_keys": [ARN]}, "decrypt_keys: "),
    ({"key": ARN, "backup_keys": [ARN]}, "lists a key twice"),
    ({"key": ARN, "backup_keys": [f"{ARN}?n={n}" for n in range(8)]}, "backup_keys: 7 at most"),
    ({"decrypt_keys": [ARN], "namespaces": {"a": {"key": ARN}}}, "decrypt_keys: goes with a default key"),
    ({"key": ARN, "context": {"": "x"}}, "context: "),
    ({"key": ARN, "context": {"x": ""}}, "context: "),
    ({"key": ARN, "context": {"aws:x": "y"}}, "context: a context name is reserved, or"),
    ({"key": ARN, "context": {"temporal-namespace": "y"}}, "context: 'temporal-namespace' is set by the codec"),
    ({"key": ARN, "context": {"x": "\ud800"}}, "context"),
    ({"key": ARN, "context": {"x" * 129: "y"}}, "context: "),
    ({"key": ARN, "namespaces": {"a": {"key": ARN, "context": {"aws:x": "y"}}}}, "namespaces.a.context: "),
    ({"key": ARN, "namespace_aliases": {"a": "a"}}, "namespace_aliases: "),
    ({"key": ARN, "namespace_aliases": {"a": "b", "b": "a"}}, "namespace_aliases: "),
]


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeConfig(**settings).keyring()
    assert said in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('key = "x', "not valid TOML"),
        (f'key = "{ARN}"\ndecrypt_key = []', "did you mean decrypt_keys?"),
        ("\xff", "not valid TOML"),
        (f"a = {'[' * 100_000}", "nested too deep"),
        (f"max_payloads = {'9' * 10_000}", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(text, "latin-1")
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeConfig.from_file(file)
    assert said in str(caught.value)
    assert "envelope.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        EnvelopeConfig.from_file(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ENVELOPE_CODEC_KEYS": "x"}, "ENVELOPE_CODEC_KEYS: unknown setting; did you mean key?"),
        (
            {"ENVELOPE_CODEC_KEY": ARN, "ENVELOPE_CODEC_CONTEXT": "env=prod"},
            "CONTEXT: give a JSON object",
        ),
        ({"ENVELOPE_CODEC_CONTEXT": "[" * 100_000}, "CONTEXT: give a JSON object"),
        ({"ENVELOPE_CODEC_FILE": "/nowhere/x.toml"}, "/nowhere/x.toml"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeConfig.from_env(variables)
    assert said in str(caught.value)


def test_settings_can_not_be_changed_afterwards() -> None:
    config = EnvelopeConfig(key=ARN)
    with pytest.raises(Exception, match="frozen"):
        config.key = OTHER


def test_a_master_key_named_twice_is_built_once_and_closed_with_the_keyring() -> None:
    built = FakeKms()
    keyring = EnvelopeConfig(key=built, namespaces={"a": {"key": built}}).keyring()
    keyring.close()  # a MasterKey handed in is the caller's to close
    assert built.wraps == 0


async def test_an_alias_lends_no_key_for_sealing_and_comes_before_the_default_for_opening() -> None:
    default, new = FakeKms(), FakeKms()
    aliases = {"old": "new"}
    keyring = EnvelopeConfig(key=default, namespaces={"new": {"key": new}}, namespace_aliases=aliases).keyring()
    with pytest.raises(KeyNotConfigured):
        await keyring.sealing_key("old")
    record = (await EnvelopeConfig(key=new).keyring().sealing_key("old")).record
    assert await keyring.opening_key(record)
    keyring.close()


def test_what_belongs_to_the_codec_server_is_left_to_it(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "localfile:///k"\n[server]\nanything = 1\n', "utf-8")
    assert EnvelopeConfig.from_file(file).key == "localfile:///k"
    variables = {"ENVELOPE_CODEC_FILE": str(file), "ENVELOPE_CODEC_SERVER_LISTEN": "127.0.0.1:1"}
    assert EnvelopeConfig.from_env(variables).key == "localfile:///k"


# --- keystore -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["postgresql", "", " redis://host", 7, object(), FakeKms()])
def test_a_keystore_is_a_url_or_an_object(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^keystore: give a URL"):
        EnvelopeConfig(key=FakeKms(), keystore=wrong)


def test_a_keystores_url_is_never_shown() -> None:
    config = EnvelopeConfig(key=FakeKms(), keystore="redis://user:password@host")
    assert "password" not in repr(config)
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeConfig(key=FakeKms(), keystore=" redis://user:password@host")
    assert "password" not in str(caught.value)


def test_a_mode_without_a_keystore_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match=r"^keystore_mode: goes with keystore"):
        EnvelopeConfig(key=FakeKms(), keystore_mode="best_effort")


def test_a_keystore_that_is_not_installed_is_told_where_the_keyring_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r"^keystore: no keystore for URL scheme 'carrier-pigeon'"):
        EnvelopeConfig(key=FakeKms(), keystore="carrier-pigeon://coop").keyring()


@pytest.mark.parametrize("mode", ["required", "best_effort"])
async def test_what_a_keyring_seals_is_in_its_keystore(mode: Literal["required", "best_effort"]) -> None:
    keystore = FakeKeystore()
    config = EnvelopeConfig(key=FakeKms(), keystore=keystore, keystore_mode=mode)
    keyring = config.keyring()
    key = await keyring.sealing_key("default")
    assert list(keystore.kept) == [row_key(key.record)]
    keyring.close()
    assert keystore.closed == 0  # whoever made it closes it


async def test_best_effort_seals_where_required_does_not() -> None:
    keystore = FakeKeystore()
    keystore.down = True
    required = EnvelopeConfig(key=FakeKms(), keystore=keystore).keyring()
    with pytest.raises(KmsUnavailable):
        await required.sealing_key("default", timeout=0.2)
    assert required.try_sealing_key("default") is None
    required.close()
    best_effort = EnvelopeConfig(key=FakeKms(), keystore=keystore, keystore_mode="best_effort").keyring()
    assert (await best_effort.sealing_key("default")).key
    best_effort.close()


# --- sharing ------------------------------------------------------------------------------------------------------

AUTH = "ab" * 32


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"share_wrapping_keys": True}, "share_wrapping_keys: goes with keystore"),
        ({"keystore_auth": AUTH}, "keystore_auth: goes with keystore"),
        ({"share_wrapping_keys": True, "keystore": FakeKeystore()}, "share_wrapping_keys: needs keystore_auth"),
        ({"keystore": FakeKeystore(), "keystore_auth": (AUTH, AUTH)}, "keystore_auth: lists an id twice"),
        ({"keystore": FakeKeystore(), "keystore_auth": "auth"}, "keystore_auth: give ids as"),
        ({"keystore": FakeKeystore(), "keystore_auth": AUTH.upper()}, "keystore_auth: give ids as"),
        (
            {
                "keystore": FakeKeystore(),
                "keystore_auth": AUTH,
                "share_wrapping_keys": True,
                "wrapping": "direct",
            },
            "share_wrapping_keys: direct mode",
        ),
    ],
)
def test_settings_of_sharing_that_do_not_fit_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EnvelopeConfig(key=FakeKms(), **settings)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("shares", [True, False])
async def test_wrapping_keys_are_shared_where_it_is_set(shares: bool) -> None:
    kms, keystore = FakeKms(), FakeKeystore()
    draft = Draft(Purpose.SHARED_WRAPPING_KEY, 0, {"temporal-namespace": "default"})
    row = publish(draft.wrap_by(kms))
    keystore.kept[row.key] = row.serialize(), "1"
    config = EnvelopeConfig(key=kms, keystore=keystore, keystore_auth=draft.id.hex(), share_wrapping_keys=shares)
    keyrings = [config.keyring(), config.keyring()]
    keys = [await keyring.sealing_key("default") for keyring in keyrings]
    assert (keys[0].record.id == keys[1].record.id) is shares
    for keyring in keyrings:
        keyring.close()


def test_lists_of_ids_are_read_from_the_environment() -> None:
    variables = {
        "ENVELOPE_CODEC_KEY": "localfile:///k",
        "ENVELOPE_CODEC_KEYSTORE": "file:///keystore",
        "ENVELOPE_CODEC_KEYSTORE_AUTH": f"{AUTH}, {'cd' * 32}",
        "ENVELOPE_CODEC_SHARE_WRAPPING_KEYS": "true",
    }
    config = EnvelopeConfig.from_env(variables)
    assert config.keystore_auth == (AUTH, "cd" * 32)
    assert config.share_wrapping_keys
