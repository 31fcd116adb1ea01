"""The Azure Key Vault test server, asked by Microsoft's own clients: that it does what the real service does."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT, VAULT
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.azure_vault import Azure, azure_vault

SERVER = Path(__file__).resolve().parents[2] / "localstack" / "azurekv.py"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure_vault(tmp_path_factory.mktemp("vault"), empty=True) as azure:
        yield azure


@pytest.fixture(autouse=True)
def nothing_left(azure: Azure) -> None:
    azure.forget()


def credential(azure: Azure, secret: str = CLIENT_SECRET) -> ClientSecretCredential:
    return ClientSecretCredential(
        TENANT,
        CLIENT_ID,
        secret,
        authority=azure.listener.origin,
        disable_instance_discovery=True,
        connection_verify=str(azure.certificate),
        retry_total=0,
    )


@pytest.fixture(scope="module")
def client(azure: Azure) -> Iterator[KeyClient]:
    with KeyClient(
        azure.listener.origin,
        credential(azure),
        connection_verify=str(azure.certificate),
        verify_challenge_resource=False,
        retry_total=0,
    ) as client:
        yield client


def remote(client: KeyClient, name: str, version: str = "") -> CryptographyClient:
    """A client for cryptography that has nothing at hand, so that it asks the service for everything."""
    made: Any = client.get_cryptography_client(name, key_version=version or None)
    made._keys_get_forbidden = made._initialized = True
    return made  # type: ignore[no-any-return]


def refusal(error: HttpResponseError) -> tuple[int | None, str, str]:
    """Status, code and inner code, as Microsoft's client reads them."""
    assert error.error is not None
    inner = error.error.innererror or {}
    return error.status_code, str(error.error.code), str(inner.get("code", ""))


def part(key: KeyVaultKey, name: str) -> Any:
    """A part of the JSON Web Key, which its class does not declare."""
    return getattr(key.key, name)


# Who asks


def test_a_request_without_a_token_gets_a_challenge(azure: Azure) -> None:
    reply = requests.get(f"{azure.listener.origin}/keys", verify=str(azure.certificate), timeout=10)
    assert reply.status_code == 401
    challenge = reply.headers["WWW-Authenticate"]
    assert challenge == f'Bearer authorization="{azure.listener.origin}/{TENANT}", resource="https://vault.azure.net"'
    assert reply.json()["error"]["code"] == "Unauthorized"


def test_a_made_up_token_is_refused(azure: Azure) -> None:
    headers = {"Authorization": "Bearer made-up"}
    reply = requests.get(f"{azure.listener.origin}/keys", headers=headers, verify=str(azure.certificate), timeout=10)
    assert reply.status_code == 401


def test_a_wrong_secret_gets_no_token(azure: Azure) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential(azure, "wrong").get_token("https://vault.azure.net/.default")


# Keys


def test_a_key_is_what_microsofts_client_takes_for_one(client: KeyClient) -> None:
    rsa, curve, oct_key = (
        client.create_rsa_key("first", size=3072),
        client.create_ec_key("second", curve="P-256"),
        client.create_key("third", "oct-HSM", size=256),
    )
    assert rsa.id == f"https://{VAULT}/keys/first/{rsa.properties.version}"
    assert len(part(rsa, "n")) == 384
    assert (part(curve, "crv"), len(part(curve, "x")), len(part(curve, "y"))) == ("P-256", 32, 32)
    assert part(oct_key, "k") is None, "it is not told"
    assert all(key.properties.enabled for key in (rsa, curve, oct_key))
    assert {"first", "second", "third"} <= {key.name for key in client.list_properties_of_keys()}


def test_a_new_version_is_the_latest_and_the_old_one_stays(client: KeyClient) -> None:
    old = client.create_ec_key("versions")
    new = client.rotate_key("versions")
    assert client.get_key("versions").properties.version == new.properties.version != old.properties.version
    assert part(client.get_key("versions", old.properties.version), "x") == part(old, "x")
    assert len(list(client.list_properties_of_key_versions("versions"))) == 2


def test_names_are_found_in_letters_of_either_case(client: KeyClient) -> None:
    client.create_ec_key("CaseOfIt")
    assert client.get_key("caseofit").name == "CaseOfIt"


def test_deleted_keys_are_recovered_or_purged(client: KeyClient) -> None:
    client.create_ec_key("deleted")
    client.begin_delete_key("deleted").wait()
    with pytest.raises(ResourceNotFoundError) as caught:
        client.get_key("deleted")
    assert refusal(caught.value) == (404, "KeyNotFound", "")
    with pytest.raises(ResourceExistsError) as exists:
        client.create_ec_key("deleted")
    assert refusal(exists.value) == (409, "Conflict", "ObjectIsDeletedButRecoverable")
    client.begin_recover_deleted_key("deleted").wait()
    assert client.get_key("deleted").name == "deleted"
    client.begin_delete_key("deleted").wait()
    client.purge_deleted_key("deleted")
    with pytest.raises(ResourceNotFoundError):
        client.get_deleted_key("deleted")


@pytest.mark.parametrize("version", ["0" * 32, "nonsense"])
def test_a_version_that_is_not_there_is_not_found(client: KeyClient, version: str) -> None:
    client.create_ec_key("few")
    with pytest.raises(ResourceNotFoundError):
        client.get_key("few", version)


# Cryptography

KEYS = {"rsa": "RSA", "oct": "oct-HSM", "ec": "EC"}


@pytest.fixture(scope="module")
def keys(client: KeyClient) -> dict[str, KeyVaultKey]:
    return {name: client.create_key(name, kty) for name, kty in KEYS.items()}


def test_rsa_oaep_256_is_that_of_cryptography(client: KeyClient, keys: dict[str, KeyVaultKey]) -> None:
    """Encrypted here with the public key, it unwraps there; wrapped there, it unwraps there."""
    public = CryptographyClient.from_jwk(keys["rsa"].key)
    here = public.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"s" * 32).encrypted_key
    by_hand = public.create_rsa_public_key().encrypt(b"s" * 32, OAEP(MGF1(SHA256()), SHA256(), None))
    there = remote(client, "rsa").wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"s" * 32).encrypted_key
    for wrapped in (here, by_hand, there):
        assert remote(client, "rsa").unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key == b"s" * 32


def test_signatures_are_r_and_s_and_valid_to_both(client: KeyClient, keys: dict[str, KeyVaultKey]) -> None:
    signed = remote(client, "ec").sign(SignatureAlgorithm.es256, b"d" * 32)
    assert len(signed.signature) == 64
    assert remote(client, "ec").verify(SignatureAlgorithm.es256, b"d" * 32, signed.signature).is_valid
    assert not remote(client, "ec").verify(SignatureAlgorithm.es256, b"e" * 32, signed.signature).is_valid
    local = CryptographyClient.from_jwk(keys["ec"].key)
    assert local.verify(SignatureAlgorithm.es256, b"d" * 32, signed.signature).is_valid


def test_a256gcm_binds_the_additional_data(client: KeyClient, keys: dict[str, KeyVaultKey]) -> None:
    crypto = remote(client, "oct")
    made = crypto.encrypt(EncryptionAlgorithm.a256_gcm, b"s" * 32, additional_authenticated_data=b"aad")
    assert (len(made.iv or b""), len(made.ciphertext), len(made.tag or b"")) == (12, 32, 16)
    parts = {"iv": made.iv, "authentication_tag": made.tag}
    opened = crypto.decrypt(
        EncryptionAlgorithm.a256_gcm, made.ciphertext, additional_authenticated_data=b"aad", **parts
    )
    assert opened.plaintext == b"s" * 32
    with pytest.raises(HttpResponseError) as caught:
        crypto.decrypt(EncryptionAlgorithm.a256_gcm, made.ciphertext, additional_authenticated_data=b"add", **parts)
    assert refusal(caught.value) == (400, "BadParameter", "")


def test_garbage_does_not_unwrap(client: KeyClient, keys: dict[str, KeyVaultKey]) -> None:
    for garbage in (bytes(256), b"", bytes(255), b"\xff" * 256):
        with pytest.raises(HttpResponseError) as caught:
            remote(client, "rsa").unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, garbage)
        assert refusal(caught.value) == (400, "BadParameter", "")


def work(client: KeyClient, operation: str, sealed: dict[str, Any]) -> object:
    """Do one operation with whichever key does it."""
    rsa, curve, secret = remote(client, "rsa"), remote(client, "ec"), remote(client, "oct")
    gcm, oaep, es256 = EncryptionAlgorithm.a256_gcm, KeyWrapAlgorithm.rsa_oaep_256, SignatureAlgorithm.es256
    if operation == "wrapKey":
        return rsa.wrap_key(oaep, b"s" * 32)
    if operation == "unwrapKey":
        return rsa.unwrap_key(oaep, sealed["wrapped"])
    if operation == "sign":
        return curve.sign(es256, b"d" * 32)
    if operation == "verify":
        return curve.verify(es256, b"d" * 32, sealed["signature"])
    if operation == "encrypt":
        return secret.encrypt(gcm, b"s" * 32)
    made = sealed["made"]
    return secret.decrypt(gcm, made.ciphertext, iv=made.iv, authentication_tag=made.tag)


@pytest.fixture(scope="module")
def sealed(client: KeyClient, keys: dict[str, KeyVaultKey]) -> dict[str, Any]:
    return {
        "wrapped": remote(client, "rsa").wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"s" * 32).encrypted_key,
        "signature": remote(client, "ec").sign(SignatureAlgorithm.es256, b"d" * 32).signature,
        "made": remote(client, "oct").encrypt(EncryptionAlgorithm.a256_gcm, b"s" * 32),
    }


ALL = ("wrapKey", "unwrapKey", "sign", "verify", "encrypt", "decrypt")
STATES: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "disabled": ({"enabled": False}, "KeyDisabled", {"unwrapKey", "sign", "decrypt"}),
    "expired": ({"expires": 1}, "KeyExpired", {"wrapKey", "sign", "encrypt"}),
    "not yet valid": ({"not_before": 4_000_000_000}, "KeyNotYetValid", {"wrapKey", "sign", "encrypt"}),
    "for nothing": ({"operations": []}, "KeyOperationForbidden", set(ALL)),
}


@pytest.mark.parametrize("state", STATES)
def test_what_a_state_stops(azure: Azure, client: KeyClient, sealed: dict[str, Any], state: str) -> None:
    """A disabled key stops what takes the private key; dates stop what makes something new."""
    change, inner, stopped = STATES[state]
    before: dict[str, Any] = {"enabled": True, "expires": None, "not_before": None}
    operations = {"rsa": ["wrapKey", "unwrapKey"], "ec": ["sign", "verify"], "oct": ["encrypt", "decrypt"]}
    for name in KEYS:
        azure.change(name, **change)
    try:
        for operation in ALL:
            if operation not in stopped:
                work(client, operation, sealed)
                continue
            with pytest.raises(HttpResponseError) as caught:
                work(client, operation, sealed)
            assert refusal(caught.value) == (403, "Forbidden", inner)
    finally:
        for name in KEYS:
            azure.change(name, **before, operations=operations[name])


def test_missing_permission_and_faults_are_answered_as_told(azure: Azure, client: KeyClient, sealed: Any) -> None:
    azure.vault.denied.add("sign")
    with pytest.raises(HttpResponseError) as denied:
        work(client, "sign", sealed)
    assert refusal(denied.value) == (403, "Forbidden", "ForbiddenByRbac")
    azure.vault.denied.clear()
    azure.refuse("sign", 429, "Throttled")
    with pytest.raises(HttpResponseError) as throttled:
        work(client, "sign", sealed)
    assert refusal(throttled.value) == (429, "Throttled", "")
    work(client, "sign", sealed)


def test_threads_are_served_at_once(client: KeyClient, sealed: dict[str, Any]) -> None:
    failed: list[Exception] = []

    def use() -> None:
        try:
            for _ in range(3):
                work(client, "unwrapKey", sealed)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# The program


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org"])
def test_it_listens_on_loopback_alone(tmp_path: Path, host: str) -> None:
    command = [sys.executable, str(SERVER), "--port", "0", "--host", host, "--certificate", str(tmp_path / "c.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is not a loopback address" in done.stderr


def test_a_port_that_is_taken_ends_it(azure: Azure, tmp_path: Path) -> None:
    port = str(azure.listener.server_port)
    command = [sys.executable, str(SERVER), "--port", port, "--certificate", str(tmp_path / "c.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "in use" in done.stderr


def test_key_and_certificate_are_readable_by_their_owner_alone(azure: Azure) -> None:
    assert azure.certificate.stat().st_mode & 0o777 == 0o600
