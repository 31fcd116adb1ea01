"""Key URIs, key ids and settings of Vault Transit keys. Nothing here asks a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import hvac
import pytest
from hvac.adapters import RawAdapter

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key
from envelope_codec.provider import Failed
from envelope_codec_vault import VaultTransit
from envelope_codec_vault._secret_file import SecretFile

ADDRESS = "https://vault.invalid:8200"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("VAULT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VAULT_ADDR", ADDRESS)
    monkeypatch.setenv("VAULT_TOKEN", "from-the-environment")
    monkeypatch.setenv("HOME", str(tmp_path))


def credential(folder: Path, text: str = "a-credential\n") -> str:
    path = folder / "credential"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("uri", "key_id"),
    [
        ("hashivault://orders", "hashivault://orders?mount=transit"),
        ("hashivault://Orders_2.a-b", "hashivault://Orders_2.a-b?mount=transit"),
        ("hashivault://k?mount=transit", "hashivault://k?mount=transit"),
        ("hashivault://k?mount=team/transit", "hashivault://k?mount=team/transit"),
        ("hashivault://k?mount=team%2Ftransit", "hashivault://k?mount=team/transit"),
        ("hashivault://k?mount=%74ransit", "hashivault://k?mount=transit"),
        ("hashivault://%6B", "hashivault://k?mount=transit"),
        (
            "hashivault://k?namespace=team/a&mount=m&cluster=eu",
            "hashivault://k?cluster=eu&mount=m&namespace=team/a",
        ),
        ("hashivault://k?cluster=a%26mount%3Dx%25", "hashivault://k?cluster=a%26mount%3Dx%25&mount=transit"),
        ("hashivault://k?cluster=-._~", "hashivault://k?cluster=-._~&mount=transit"),
        ("hashivault://k?mount=a%2Bb", "hashivault://k?mount=a%2Bb"),
        (
            "hashivault://k?address=https://u.invalid:1&connect_timeout=1&read_timeout=0.5&auth=token",
            "hashivault://k?mount=transit",
        ),
    ],
)
def test_a_key_id_has_one_canonical_spelling(uri: str, key_id: str) -> None:
    key = master_key(uri)
    assert isinstance(key, VaultTransit)
    assert isinstance(key, MasterKey)
    assert key.key_id == key_id
    assert VaultTransit.from_uri(key_id).key_id == key_id


def test_accepts_its_own_key_id_and_no_other_spelling() -> None:
    key = VaultTransit("k", cluster="eu", namespace="a")
    assert key.accepts("hashivault://k?cluster=eu&mount=transit&namespace=a")
    for other in (
        "hashivault://k?mount=transit&cluster=eu&namespace=a",
        "hashivault://k?cluster=eu&mount=transit",
        "hashivault://k?cluster=eu&mount=transit&namespace=b",
        "hashivault://k?cluster=eu&mount=transit&namespace=A",
        "hashivault://K?cluster=eu&mount=transit&namespace=a",
        "hashivault://k?cluster=eu&mount=transit&namespace=a&",
        "",
    ):
        assert not key.accepts(other)


def test_the_namespace_never_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_NAMESPACE", "team/a")
    assert VaultTransit("k").key_id == "hashivault://k?mount=transit"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("hashivault://", "key name ''"),
        ("hashivault://?mount=transit", "key name ''"),
        ("hashivault://-k", "key name '-k'"),
        ("hashivault://k.", "key name 'k.'"),
        ("hashivault://k:1", "key name 'k:1'"),
        ("hashivault://a%2Fb", "key name 'a/b'"),
        ("hashivault://k%0A", "key name"),
        ("hashivault://schlüssel", "key name"),
        ("hashivault://k/v2", "no path"),
        ("hashivault:k", "is not a key URI"),
        ("hashivault://k?mount=/transit", "write 'transit'"),
        ("hashivault://k?mount=transit/", "write 'transit'"),
        ("hashivault://k?namespace=team/a/", "write 'team/a'"),
        ("hashivault://k?namespace=/", "must be a path"),
        ("hashivault://k?namespace=root", "leave namespace out"),
        ("hashivault://k?mount=a//b", "one '/' between"),
        ("hashivault://k?mount=../sys", "no segments"),
        ("hashivault://k?mount=a/./b", "no segments"),
        ("hashivault://k?mount=a%20b", "without spaces"),
        ("hashivault://k?namespace=ü", "printable ASCII"),
        ("hashivault://k?cluster=a%0Ab", "cluster label"),
        ("hashivault://k?mount=", "'mount' once, and not empty"),
        ("hashivault://k?mount=a&mount=b", "'mount' once"),
        ("hashivault://k?colour=red", "unknown option 'colour'"),
        ("hashivault://k?Mount=a", "unknown option 'Mount'"),
        ("hashivault://k#f", "fragment"),
        ("hashivault://user@k", "credentials"),
        (f"hashivault://k?cluster={'c' * 500}", "longer than 512 bytes"),
        ("hashivault://k?address=vault:8200", "must be http://HOST"),
        ("hashivault://k?address=ftp://vault", "must be http://HOST"),
        ("hashivault://k?address=https://", "must be http://HOST"),
        ("hashivault://k?address=https://vault:port", "must be http://HOST"),
        ("hashivault://k?address=https://vault?x", "must be http://HOST"),
        ("hashivault://k?connect_timeout=soon", "connect_timeout='soon'"),
        ("hashivault://k?read_timeout=0", "read_timeout='0' must be seconds"),
        ("hashivault://k?read_timeout=-1", "read_timeout='-1' must be seconds"),
        ("hashivault://k?read_timeout=inf", "read_timeout='inf' must be seconds"),
        ("hashivault://k?read_timeout=nan", "read_timeout='nan' must be seconds"),
        ("hashivault://k?ca_bundle=/nowhere/ca.pem", "'/nowhere/ca.pem' does not exist"),
        ("hashivault://k?auth=ldap", "auth='ldap' is unknown"),
        ("hashivault://k?auth=token&token_file=/x", "token_file is of no use with auth=token"),
        ("hashivault://k?auth=token-file&token_file=/nowhere/t", "token_file: '/nowhere/t' can't be read"),
        ("hashivault://k?auth=token-file", "token_file: .*vault-token' can't be read.*VAULT_TOKEN"),
        ("hashivault://k?role=r", "role needs auth="),
        ("hashivault://k?auth=approle", "auth=approle needs role_id"),
        ("hashivault://k?auth=approle&role_id=r", "auth=approle needs a secret id"),
        ("hashivault://k?auth=approle&role_id=r&secret_id_file=/nowhere/s", "secret_id_file: '/nowhere/s'"),
        ("hashivault://k?auth=approle&role_id=r&role=r", "role is of no use with auth=approle"),
        ("hashivault://k?auth=kubernetes", "auth=kubernetes needs role"),
        ("hashivault://k?auth=kubernetes&role=r&jwt_file=/nowhere/j", "jwt_file: '/nowhere/j' can't be read"),
        ("hashivault://k?auth=kubernetes&role=r&role_id=r", "role_id is of no use with auth=kubernetes"),
    ],
)
def test_a_wrong_key_uri_is_refused_with_what_is_wrong(uri: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        master_key(uri)


@pytest.mark.parametrize("name", ["token", "secret_id", "TOKEN", "jwt"])
def test_a_credential_in_a_key_uri_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must not hold") as refused:
        master_key(f"hashivault://k?mount=m&{name}=s3cr3t")
    assert "s3cr3t" not in str(refused.value)


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="must not hold credentials") as refused:
        VaultTransit("k", address="https://user:s3cr3t@vault.invalid")
    assert "s3cr3t" not in str(refused.value)


def test_an_address_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(ConfigurationError, match="VAULT_ADDR"):
        VaultTransit("k")
    VaultTransit("k", address=ADDRESS)


def test_a_token_is_needed_from_somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(ConfigurationError, match="VAULT_TOKEN"):
        VaultTransit("k", auth="token")
    with pytest.raises(ConfigurationError, match="VAULT_TOKEN"):
        VaultTransit("k")
    VaultTransit("k", token="given")
    (tmp_path / ".vault-token").write_text("from-the-home-folder")
    VaultTransit("k")


def test_a_secret_id_comes_from_an_argument_a_file_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    VaultTransit("k", auth="approle", role_id="r", secret_id="s")
    VaultTransit.from_uri("hashivault://k?auth=approle&role_id=r", secret_id="s")
    VaultTransit("k", auth="approle", role_id="r", secret_id_file=credential(tmp_path))
    with pytest.raises(ConfigurationError, match="exclude each other"):
        VaultTransit("k", auth="approle", role_id="r", secret_id="s", secret_id_file=credential(tmp_path))
    monkeypatch.setenv("VAULT_SECRET_ID", "s")
    VaultTransit("k", auth="approle", role_id="r")


@pytest.mark.parametrize("text", ["", " \n", "two lines\nof text", "line\r\nend", "naïve", "nul\0"])
def test_a_file_without_a_credential_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"token_file: .*(one credential|not a text file)") as refused:
        VaultTransit("k", token_file=credential(tmp_path, text))
    assert not text.strip() or text.strip() not in str(refused.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_or_a_folder_in_place_of_a_credential_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigurationError, match=r"token_file: .* can't be read"):
            VaultTransit("k", token_file=str(path))
    file = SecretFile(credential(tmp_path), "token_file")
    (tmp_path / "pipe").replace(file.path)  # as a rotation that went wrong
    with pytest.raises(Failed, match="could not be read"):
        file.read()


@pytest.mark.parametrize("token", ["", "a\nb", "a b", "naïve"])
def test_a_token_that_is_no_http_header_is_refused_and_not_repeated(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(ConfigurationError, match="token") as refused:
        VaultTransit("k", token=token)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("mount", ["/approle", "approle/", "", "a//b", ".."])
def test_a_wrong_auth_mount_is_refused(mount: str) -> None:
    with pytest.raises(ConfigurationError, match="auth_mount"):
        VaultTransit("k", auth="approle", role_id="r", secret_id="s", auth_mount=mount)


@pytest.mark.parametrize(
    "setting",
    [
        {"address": ADDRESS},
        {"token": "t"},
        {"auth": "token"},
        {"read_timeout": 1.0},
        {"ca_bundle": "/"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_client_excludes_the_settings_that_it_replaces(setting: dict[str, Any]) -> None:
    client = hvac.Client(url=ADDRESS, token="t")
    with pytest.raises(ConfigurationError, match="can't be given together with client="):
        VaultTransit("k", client=client, **setting)
    assert VaultTransit.from_uri("hashivault://k?cluster=c", client=client).key_id.endswith("cluster=c&mount=transit")


def test_a_client_must_be_in_the_namespace_of_the_key() -> None:
    client = hvac.Client(url=ADDRESS, token="t", namespace="team/a/")
    assert VaultTransit("k", client=client, namespace="team/a").key_id.endswith("namespace=team/a")
    with pytest.raises(ConfigurationError, match="same namespace"):
        VaultTransit("k", client=client)
    with pytest.raises(ConfigurationError, match="JSONAdapter"):
        VaultTransit("k", client=hvac.Client(url=ADDRESS, token="t", adapter=RawAdapter))


def test_secrets_have_no_repr(tmp_path: Path) -> None:
    keys = [
        VaultTransit("k", token="s3cr3t"),
        VaultTransit("k", token_file=credential(tmp_path, "s3cr3t")),
        VaultTransit("k", auth="approle", role_id="r", secret_id="s3cr3t"),
    ]
    for key in keys:
        assert repr(key) == "VaultTransit('hashivault://k?mount=transit')"
        assert "s3cr3t" not in repr(vars(key))


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("http://vault.example:8200", True),
        ("http://127.0.0.1:8200", False),
        ("http://localhost:8200", False),
        ("https://vault.example:8200", False),
    ],
)
def test_plain_http_to_another_machine_is_warned_of(
    address: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    VaultTransit("k", address=address)
    assert [record.name for record in caplog.records] == ["envelope_codec.vault"] * warned
