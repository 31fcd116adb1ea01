"""Key URIs and options of Azure Key Vault: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.keyvault.keys import KeyClient

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key
from envelope_codec_azure import AzureKeyVault
from envelope_codec_azure._key_id import VaultKey

HOST = "example.vault.azure.net"
VERSION = "0123456789abcdef" * 2


class NoToken:
    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        raise AssertionError("building a master key asks for no token")

    def close(self) -> None: ...

    def __enter__(self) -> NoToken:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_the_key_uri_is_found_by_its_scheme() -> None:
    key = master_key(f"azurekv://{HOST}/payloads?sign_key=signer")
    assert isinstance(key, AzureKeyVault)
    assert isinstance(key, MasterKey)
    assert key.key_id == f"azurekv://{HOST}/payloads"
    assert key.accepts(key.key_id)


@pytest.mark.parametrize(
    "host",
    [
        "example.vault.azure.net",
        "example.managedhsm.azure.net",
        "example.vault.azure.cn",
        "example.vault.usgovcloudapi.net",
        "vault.internal.example",
        "a.b",
    ],
)
def test_any_host_is_taken_whole(host: str) -> None:
    """Azure's other clouds have domains of their own."""
    assert VaultKey(host, "k").id == f"azurekv://{host}/k"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example",
        "Example.vault.azure.net",
        "example.vault.azure.net:443",
        "example.vault.azure.net.",
        "-x.vault.azure.net",
        "x_y.vault.azure.net",
        "exämple.vault.azure.net",
        "127.0.0.1",
        "a" * 64 + ".net",
        ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_no_whole_host_name_in_lower_case_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="host name in lower case"):
        VaultKey(host, "k")


@pytest.mark.parametrize("name", ["", "a b", "a_b", "a.b", "ä", "n" * 128, "a/b", "a\n", "a/b/c"])
def test_what_is_no_name_of_a_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="1 to 127 letters, digits and hyphens"):
        VaultKey(HOST, name)


def test_a_version_is_refused_with_the_name_to_give() -> None:
    with pytest.raises(ConfigurationError, match="names a key version: give the key, 'payloads'"):
        AzureKeyVault.from_uri(f"azurekv://{HOST}/payloads/{VERSION}")


@pytest.mark.parametrize("name", ["k", "K-9", "n" * 127])
def test_a_key_id_fits_into_an_envelope(name: str) -> None:
    assert len(VaultKey(".".join(["a" * 60] * 4), name).id) <= 512


def test_another_spelling_of_the_name_is_another_key_id() -> None:
    key = AzureKeyVault(HOST, "payloads")
    assert not key.accepts(f"azurekv://{HOST}/Payloads")


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sign_key=", "once, and not empty"),
        ("sign_key=a,", "name of a key in the same vault"),
        (f"sign_key=a/{VERSION}", "without a version"),
        ("sign_key=a,A", "each of them once"),
        (f"sign_key={','.join('abcdefghi')}", "up to 8 keys"),
        ("sign_key=payloads", "another key than 'payloads'"),
        ("sign_key=Payloads", "another key than 'payloads'"),
        ("endpoint=http://127.0.0.1:9020", "must be https://HOST:PORT with a loopback address"),
        ("endpoint=https://example.org", "with a loopback address"),
        ("endpoint=https://user:sesame@127.0.0.1", "credentials"),
        ("ca_bundle=/missing/file.pem", "does not exist"),
        ("client_id=me", "must be a UUID"),
        ("connect_timeout=0", "more than 0"),
        ("read_timeout=1e9", "at most 600"),
        ("sign_key_refresh=never", "must be seconds"),
        ("client_secret=sesame", "unknown option"),
    ],
)
def test_a_wrong_option_is_refused(options: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AzureKeyVault.from_uri(f"azurekv://{HOST}/payloads?{options}")
    assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "azurekv://example.vault.azure.net",
        "azurekv:///payloads",
        "azurekv://payloads",
        "azurekv://me:sesame@example.vault.azure.net/payloads",
        "azurekv://example.vault.azure.net/keys/payloads",
        "https://example.vault.azure.net/keys/payloads",
    ],
)
def test_a_wrong_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AzureKeyVault.from_uri(uri)
    assert "sesame" not in str(caught.value)


def test_building_a_key_asks_for_no_token_and_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "nonsense")
    AzureKeyVault(HOST, "payloads", credential=NoToken()).close()
    AzureKeyVault(HOST, "payloads").close()


def test_a_client_excludes_what_it_has_itself(tmp_path: Path) -> None:
    client = KeyClient(f"https://{HOST}", NoToken())  # type: ignore[arg-type]
    AzureKeyVault(HOST, "payloads", client=client, sign_key="signer").close()
    with pytest.raises(ConfigurationError, match="read_timeout can't be given together with client="):
        AzureKeyVault(HOST, "payloads", client=client, read_timeout=1.0)
    with pytest.raises(ConfigurationError, match="credential can't be given together with client="):
        AzureKeyVault(HOST, "payloads", client=client, credential=NoToken())


def test_a_client_of_another_vault_is_refused() -> None:
    client = KeyClient("https://other.vault.azure.net", NoToken())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"not of 'example\.vault\.azure\.net'"):
        AzureKeyVault(HOST, "payloads", client=client)


def test_a_credential_excludes_the_id_for_the_default_one() -> None:
    with pytest.raises(ConfigurationError, match="client_id"):
        AzureKeyVault(HOST, "payloads", credential=NoToken(), client_id=f"{VERSION[:8]}-0000-0000-0000-{VERSION[:12]}")


def test_the_repr_shows_the_key_alone() -> None:
    assert repr(AzureKeyVault(HOST, "payloads", sign_key="s")) == f"AzureKeyVault('azurekv://{HOST}/payloads')"
