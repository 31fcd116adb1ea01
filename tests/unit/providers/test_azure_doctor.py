"""What ``envelope-codec doctor`` says of a key in Azure Key Vault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT

from envelope_codec.cli.doctor.finding import Level
from envelope_codec.config import EnvelopeConfig
from tests.support.azure_vault import Azure, azure_vault
from tests.support.doctor_runs import examine


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure_vault(tmp_path_factory.mktemp("vault")) as vault:
        yield vault


@pytest.fixture
def azure(vault: Azure, monkeypatch: pytest.MonkeyPatch) -> Azure:
    vault.forget()
    login = {"TENANT_ID": TENANT, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}
    origin = {"AUTHORITY_HOST": vault.listener.origin, "TOKEN_CREDENTIALS": "EnvironmentCredential"}
    for name, value in {**login, **origin}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    return vault


async def findings(azure: Azure, key: str) -> list[str]:
    """What is a problem, with what to do about it."""
    options = f"endpoint={azure.listener.origin}&ca_bundle={azure.certificate}"
    config = EnvelopeConfig(key=f"azurekv://{azure.vault.host}/{key}{'&' if '?' in key else '?'}{options}")
    diagnosis = await examine(config)
    return [f"{found.text} {found.fix}" for found in diagnosis.findings if found.level is Level.problem]


@pytest.mark.parametrize("key", ["rsa?sign_key=signer", "oct"])
async def test_a_good_key_has_no_problem(azure: Azure, key: str) -> None:
    assert await findings(azure, key) == []


async def test_an_rsa_key_without_a_signing_key_is_told_what_to_add(azure: Azure) -> None:
    (found,) = await findings(azure, "rsa")
    assert "the key is an RSA key, which binds no context" in found
    assert "sign_key=NAME" in found


async def test_a_missing_permission_to_sign_is_named(azure: Azure) -> None:
    azure.vault.denied.add("sign")
    (found,) = await findings(azure, "rsa?sign_key=signer")
    assert "keys/sign/action" in found


async def test_a_missing_permission_to_unwrap_is_named(azure: Azure) -> None:
    azure.vault.denied.add("unwrapkey")
    (found,) = await findings(azure, "rsa?sign_key=signer")
    assert "keys/unwrap/action" in found


async def test_a_signing_key_that_is_not_there_is_told_from_the_master_key(azure: Azure) -> None:
    (found,) = await findings(azure, "rsa?sign_key=missing")
    assert "the signing key, or the version of it, does not exist" in found
