"""The vectors for Azure RSA keys: made again, read by the second reader, and read by the provider itself."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azurekv_keys import Key, Version
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import WrappedSecret
from envelope_codec_azure import AzureKeyVault
from tests.support.azure_vault import Azure, azure_vault
from tests.support.second_azure_reader import Denied, open_recipient, private_key

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "tests" / "vectors" / "recipients" / "azure-rsa.json"
GIVEN = json.loads(FILE.read_text(encoding="ascii"))
HOST, _, NAME = GIVEN["vault"]["key_id"].removeprefix("azurekv://").partition("/")

# The vault itself finds out that these are no ciphertexts of RSA-OAEP-256; the caller, that the secret is too short.
ASKS_THE_VAULT = {"azure-label", "azure-sha1-oaep", "azure-short-secret"}

each_vector = pytest.mark.parametrize("vector", GIVEN["vectors"], ids=lambda vector: vector["name"])


def test_the_generator_writes_the_committed_vectors(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.vectors.make_recipients", str(tmp_path)], check=True, cwd=ROOT)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_the_names_are_unique_and_each_has_a_comment() -> None:
    names = [vector["name"] for vector in GIVEN["vectors"]]
    assert len(set(names)) == len(names)
    assert all(vector["comment"] for vector in GIVEN["vectors"])
    assert {vector["expect"] for vector in GIVEN["vectors"]} == {"ok", "InvalidCiphertext", "KeyDenied"}


@each_vector
def test_the_second_reader_agrees(vector: dict[str, Any]) -> None:
    def read() -> bytes:
        return open_recipient(
            GIVEN["vault"],
            key_version=vector["key_version"],
            ciphertext=bytes.fromhex(vector["ciphertext"]),
            context=vector["context"],
            sign_keys=vector["sign_keys"],
        )

    if vector["expect"] == "ok":
        assert read().hex() == vector["secret"]
    else:
        with pytest.raises(Denied if vector["expect"] == "KeyDenied" else ValueError):
            read()


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """A vault that has the keys of the vectors."""
    with azure_vault(tmp_path_factory.mktemp("vault"), host=HOST, empty=True) as azure:
        store = azure.vault.store
        store._keys[NAME] = Key(NAME)
        for version, numbers in GIVEN["vault"]["rsa"].items():
            der = private_key(numbers).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            operations = ["wrapKey", "unwrapKey"]
            store._keys[NAME].versions.append(Version(version, "RSA", base64.b64encode(der).decode(), operations, 0))
        for signer, public in GIVEN["vault"]["signing"].items():
            name, _, version = signer.partition("/")
            store._keys[name] = Key(name, [Public(version, "EC", json.dumps(public), ["sign"], 0, public["enabled"])])
        yield azure


class Public(Version):
    """A signing key of which the vectors tell the public part alone."""

    def public(self) -> dict[str, object]:
        given = json.loads(self.material)
        coded = {name: base64.urlsafe_b64encode(bytes.fromhex(given[name])).rstrip(b"=").decode() for name in "xy"}
        return {"crv": given["crv"], **coded}


@each_vector
def test_the_provider_agrees(azure: Azure, vector: dict[str, Any]) -> None:
    key = azure.open(NAME, sign_key=vector["sign_keys"])
    azure.forget()
    wrapped = WrappedSecret(key.key_id, vector["key_version"], bytes.fromhex(vector["ciphertext"]))
    assert outcome(key, wrapped, vector["context"]) == vector.get("secret", vector["expect"])
    if vector["expect"] != "ok":
        assert ("unwrapkey" in azure.calls) is (vector["name"] in ASKS_THE_VAULT)
    key.close()


def outcome(key: AzureKeyVault, wrapped: WrappedSecret, context: dict[str, str]) -> str:
    """The secret in hex, or the name of the error. A secret of another length is corrupt to the caller."""
    try:
        secret = key.unwrap(wrapped, context).secret
    except EnvelopeError as error:
        return type(error).__name__
    return secret.hex() if len(secret) == 32 else "InvalidCiphertext"
