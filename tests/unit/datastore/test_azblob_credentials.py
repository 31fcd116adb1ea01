"""Credentials for Azure Storage: which are taken, and what is remembered of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError

from envelope_codec.datastore.azblob_credentials import (
    CredentialsUnavailable,
    NoKeyGiven,
    PatientToken,
    find_credential,
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)


def key_of(account: str, **options: str) -> str:
    found = find_credential(account, options, is_local=True)
    assert isinstance(found, AzureNamedKeyCredential)
    return found.named_key.key


def test_a_key_comes_from_the_file_then_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("ZmlsZQ==\n")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "ZW52")
    assert key_of("mine") == "ZW52"
    assert key_of("mine", key_file=str(tmp_path / "key")) == "ZmlsZQ=="
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    assert key_of("mine") == "ZW52"


def test_a_key_of_another_account_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "theirs")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "ZW52")
    found = find_credential("mine", {}, is_local=False)
    assert isinstance(found, PatientToken)
    found.close()
    with pytest.raises(CredentialsUnavailable) as caught:
        find_credential("mine", {}, is_local=True)
    assert isinstance(caught.value.error, NoKeyGiven)


@pytest.mark.parametrize("content", [None, "", " \n", "abc", "c2Vz\nYW1l", "c2VzYW1l!", "sésame", "\x00"])
def test_a_file_without_a_key_is_told(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(CredentialsUnavailable) as caught:
        find_credential("mine", {"key_file": str(tmp_path / "key")}, is_local=False)
    assert isinstance(caught.value.error, (OSError, ValueError))


class Tokens:
    """Stands for a credential of the SDK, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = True

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        self.asked += 1
        if self.fails:
            raise ClientAuthenticationError("sesame")
        return AccessTokenInfo("token", 1)

    def close(self) -> None:
        pass


def test_a_credential_that_failed_is_not_asked_again_at_once() -> None:
    tokens = Tokens()
    patient = PatientToken(tokens)
    for _ in range(3):
        with pytest.raises(CredentialsUnavailable) as caught:
            patient.get_token("scope")
        assert "sesame" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert tokens.asked == 1


def test_a_token_is_passed_on() -> None:
    tokens = Tokens()
    tokens.fails = False
    assert PatientToken(tokens).get_token("scope").token == "token"
