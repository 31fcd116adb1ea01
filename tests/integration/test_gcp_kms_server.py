"""The GCP KMS server of this repository, asked by Google's own client: it answers as the real service does."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions
from google.cloud import kms_v1
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2  # type: ignore[import-untyped,unused-ignore]

from tests.support.harness_gcp import (
    LOCATION,
    RING,
    HasEndpoint,
    Purpose,
    State,
    google_client,
    new_key,
    rotate,
    set_state,
)

SERVER = Path(__file__).parents[2] / "localstack" / "gcpkms.py"
Client = kms_v1.KeyManagementServiceClient


@pytest.fixture
def client(gcp_kms_server: HasEndpoint) -> Iterator[Client]:
    with google_client(gcp_kms_server.endpoint) as client:
        yield client


@pytest.fixture
def key(client: Client) -> str:
    return new_key(client)


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def encrypt(client: Client, name: str, plaintext: bytes, aad: bytes = b"", **more: Any) -> kms_v1.EncryptResponse:
    return client.encrypt(request={"name": name, "plaintext": plaintext, "additional_authenticated_data": aad, **more})


def decrypt(client: Client, name: str, ciphertext: bytes, aad: bytes = b"", **more: Any) -> kms_v1.DecryptResponse:
    return client.decrypt(
        request={"name": name, "ciphertext": ciphertext, "additional_authenticated_data": aad, **more}
    )


def refused(kind: type[exceptions.GoogleAPICallError], text: str, call: Callable[[], object]) -> Any:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert text in caught.value.message
    return caught.value


# Encrypt and Decrypt


@pytest.mark.parametrize("plaintext", [b"", b"secret", bytes(64 * 1024)], ids=["empty", "short", "64 KiB"])
@pytest.mark.parametrize("aad", [b"", b"context", bytes(64 * 1024)], ids=["no AAD", "AAD", "64 KiB of AAD"])
def test_what_is_encrypted_decrypts(client: Client, key: str, plaintext: bytes, aad: bytes) -> None:
    sealed = encrypt(client, key, plaintext, aad)
    assert sealed.name == f"{key}/cryptoKeyVersions/1"
    assert plaintext == b"" or plaintext not in sealed.ciphertext
    opened = decrypt(client, key, sealed.ciphertext, aad)
    assert opened.plaintext == plaintext
    assert opened.used_primary
    assert opened.protection_level == sealed.protection_level == kms_v1.ProtectionLevel.SOFTWARE


def test_two_ciphertexts_of_one_plaintext_differ(client: Client, key: str) -> None:
    assert encrypt(client, key, b"secret").ciphertext != encrypt(client, key, b"secret").ciphertext


def test_other_additional_authenticated_data_do_not_decrypt(client: Client, key: str) -> None:
    sealed = encrypt(client, key, b"secret", b"context").ciphertext
    for aad in (b"", b"Context", b"context\0"):
        refused(
            exceptions.InvalidArgument,
            "Decryption failed: the ciphertext is invalid.",
            partial(decrypt, client, key, sealed, aad),
        )


def test_no_changed_byte_and_no_shortened_ciphertext_decrypts(client: Client, key: str) -> None:
    sealed = encrypt(client, key, b"secret").ciphertext
    for at in range(len(sealed)):
        bad = bytearray(sealed)
        bad[at] ^= 1
        refused(exceptions.InvalidArgument, "Decryption failed: ", partial(decrypt, client, key, bytes(bad)))
        refused(exceptions.InvalidArgument, "Decryption failed: ", partial(decrypt, client, key, sealed[:at]))
    refused(exceptions.InvalidArgument, "Decryption failed: ", lambda: decrypt(client, key, sealed + b"\0"))


def test_a_ciphertext_of_another_key_does_not_decrypt(client: Client, key: str) -> None:
    sealed = encrypt(client, key, b"secret").ciphertext
    refused(
        exceptions.InvalidArgument,
        "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
        lambda: decrypt(client, new_key(client), sealed),
    )


def test_more_than_64_kib_are_refused(client: Client, key: str) -> None:
    long = bytes(64 * 1024 + 1)
    refused(exceptions.InvalidArgument, "plaintext must be", lambda: encrypt(client, key, long))
    refused(exceptions.InvalidArgument, "additional_authenticated_data must", lambda: encrypt(client, key, b"", long))
    refused(exceptions.InvalidArgument, "additional_authenticated_data must", lambda: decrypt(client, key, b"", long))


# Checksums


def test_replies_carry_checksums_and_say_what_was_verified(client: Client, key: str) -> None:
    bare = encrypt(client, key, b"secret", b"context")
    assert not bare.verified_plaintext_crc32c
    assert not bare.verified_additional_authenticated_data_crc32c
    checked = encrypt(
        client,
        key,
        b"secret",
        b"context",
        plaintext_crc32c=crc(b"secret"),
        additional_authenticated_data_crc32c=crc(b"context"),
    )
    assert checked.verified_plaintext_crc32c
    assert checked.verified_additional_authenticated_data_crc32c
    assert checked.ciphertext_crc32c == crc(checked.ciphertext)
    opened = decrypt(client, key, checked.ciphertext, b"context", ciphertext_crc32c=crc(checked.ciphertext))
    assert opened.plaintext_crc32c == crc(b"secret")


@pytest.mark.parametrize("wrong", [0, 1, crc(b"secret") ^ 1])
def test_a_checksum_that_does_not_match_is_refused(client: Client, key: str, wrong: int) -> None:
    sealed = encrypt(client, key, b"secret", b"context").ciphertext
    for call, field in ((encrypt, "plaintext"), (decrypt, "ciphertext")):
        data = b"secret" if call is encrypt else sealed
        for wrong_field in (field, "additional_authenticated_data"):
            refused(
                exceptions.InvalidArgument,
                f"The checksum in field {wrong_field}_crc32c did not match the data in field {wrong_field}.",
                partial(call, client, key, data, b"context", **{f"{wrong_field}_crc32c": wrong}),
            )


# Versions


def test_a_new_primary_version_encrypts_and_the_old_one_still_decrypts(client: Client, key: str) -> None:
    old = encrypt(client, key, b"secret").ciphertext
    second = client.create_crypto_key_version(parent=key, crypto_key_version=kms_v1.CryptoKeyVersion()).name
    assert encrypt(client, key, b"secret").name.endswith("/1"), "a new version is not primary by itself"
    updated = client.update_crypto_key_primary_version(name=key, crypto_key_version_id="2")
    assert updated.primary.name == second == encrypt(client, key, b"secret").name
    opened = decrypt(client, key, old)
    assert opened.plaintext == b"secret"
    assert not opened.used_primary


def test_a_version_encrypts_by_its_own_name_and_decrypts_by_the_key_s(client: Client, key: str) -> None:
    rotate(client, key)
    sealed = encrypt(client, f"{key}/cryptoKeyVersions/1", b"secret")
    assert sealed.name == f"{key}/cryptoKeyVersions/1"
    assert not decrypt(client, key, sealed.ciphertext).used_primary
    refused(
        exceptions.InvalidArgument,
        "unsupported value",
        lambda: decrypt(client, f"{key}/cryptoKeyVersions/1", sealed.ciphertext),
    )


def violation(error: Any) -> tuple[str, str]:
    (detail,) = error.details
    assert isinstance(detail, error_details_pb2.PreconditionFailure)
    (found,) = detail.violations
    return found.type, found.subject


def test_a_disabled_version_is_refused_until_it_is_enabled(client: Client, key: str) -> None:
    sealed = encrypt(client, key, b"secret").ciphertext
    version = f"{key}/cryptoKeyVersions/1"
    set_state(client, version, State.DISABLED)
    text = f"{version} is not enabled, current state is: DISABLED."
    for call in (lambda: encrypt(client, key, b"secret"), lambda: decrypt(client, key, sealed)):
        assert violation(refused(exceptions.FailedPrecondition, text, call)) == ("KEY_DISABLED", version)
    assert client.get_crypto_key(name=key).primary.state == State.DISABLED
    set_state(client, version, State.ENABLED)
    assert decrypt(client, key, sealed).plaintext == b"secret"


def test_destruction_is_scheduled_and_can_be_taken_back(client: Client, key: str) -> None:
    sealed = encrypt(client, key, b"secret").ciphertext
    version = f"{key}/cryptoKeyVersions/1"
    destroyed: Any = client.destroy_crypto_key_version(name=version)
    assert destroyed.state == State.DESTROY_SCHEDULED
    assert destroyed.destroy_time.timestamp() == pytest.approx(time.time() + 30 * 24 * 3600, abs=600)
    error = refused(exceptions.FailedPrecondition, "DESTROY_SCHEDULED", lambda: decrypt(client, key, sealed))
    assert violation(error) == ("KEY_DESTROY_SCHEDULED", version)
    refused(exceptions.FailedPrecondition, "cannot become", lambda: set_state(client, version, State.ENABLED))
    refused(exceptions.FailedPrecondition, "cannot", lambda: client.destroy_crypto_key_version(name=version))
    assert client.restore_crypto_key_version(name=version).state == State.DISABLED
    set_state(client, version, State.ENABLED)
    assert decrypt(client, key, sealed).plaintext == b"secret"


def test_what_is_destroyed_stays_destroyed(client: Client) -> None:
    key = new_key(client, destroy_scheduled_duration=timedelta(0))
    sealed = encrypt(client, key, b"secret").ciphertext
    version = f"{key}/cryptoKeyVersions/1"
    client.destroy_crypto_key_version(name=version)
    assert client.get_crypto_key_version(name=version).state == State.DESTROYED
    error = refused(exceptions.FailedPrecondition, "current state is: DESTROYED", lambda: decrypt(client, key, sealed))
    assert violation(error) == ("KEY_DESTROYED", version)
    refused(exceptions.FailedPrecondition, "cannot", lambda: client.restore_crypto_key_version(name=version))


def test_a_disabled_version_cannot_become_primary(client: Client, key: str) -> None:
    second = client.create_crypto_key_version(parent=key, crypto_key_version=kms_v1.CryptoKeyVersion()).name
    set_state(client, second, State.DISABLED)
    refused(
        exceptions.FailedPrecondition,
        "is not enabled",
        lambda: client.update_crypto_key_primary_version(name=key, crypto_key_version_id="2"),
    )


@pytest.mark.parametrize(("state", "paths"), [("ENABLED", ["labels"]), ("ENABLED", []), ("DESTROYED", ["state"])])
def test_only_enabling_and_disabling_are_updates(client: Client, key: str, state: str, paths: list[str]) -> None:
    refused(
        exceptions.InvalidArgument,
        "",
        lambda: client.update_crypto_key_version(
            crypto_key_version=kms_v1.CryptoKeyVersion(name=f"{key}/cryptoKeyVersions/1", state=getattr(State, state)),
            update_mask=FieldMask(paths=paths),
        ),
    )


# Key rings and keys


def test_keys_are_found_by_name_and_by_list(client: Client, key: str) -> None:
    rotate(client, key)
    assert client.get_key_ring(name=RING).name == RING
    assert RING in [ring.name for ring in client.list_key_rings(parent=LOCATION)]
    found = client.get_crypto_key(name=key)
    assert found.purpose == Purpose.ENCRYPT_DECRYPT
    assert found.primary.name == f"{key}/cryptoKeyVersions/2"
    assert found.primary.algorithm.name == "GOOGLE_SYMMETRIC_ENCRYPTION"
    versions = client.list_crypto_key_versions(parent=key)
    assert [version.name.rpartition("/")[2] for version in versions] == ["1", "2"]


def test_lists_come_in_pages(client: Client) -> None:
    made = {new_key(client) for _ in range(5)}
    pages = list(client.list_crypto_keys(request={"parent": RING, "page_size": 2}).pages)
    assert all(len(page.crypto_keys) <= 2 for page in pages)
    names = [found.name for page in pages for found in page.crypto_keys]
    assert made <= set(names)
    assert len(names) == len(set(names)) == pages[0].total_size


def test_what_does_not_exist_is_not_found(client: Client, key: str) -> None:
    missing = f"{key}-missing"
    for call in (
        lambda: client.get_key_ring(name=f"{LOCATION}/keyRings/missing"),
        lambda: client.list_crypto_keys(parent=f"{LOCATION}/keyRings/missing"),
        lambda: client.create_crypto_key(
            parent=f"{LOCATION}/keyRings/missing", crypto_key_id="k", crypto_key=kms_v1.CryptoKey(purpose=1)
        ),
        lambda: client.get_crypto_key(name=missing),
        lambda: client.get_crypto_key_version(name=f"{key}/cryptoKeyVersions/2"),
        lambda: encrypt(client, missing, b"secret"),
        lambda: encrypt(client, f"{key}/cryptoKeyVersions/2", b"secret"),
        lambda: decrypt(client, missing, b"ciphertext"),
    ):
        refused(exceptions.NotFound, " not found.", call)


def test_what_exists_is_not_made_again(client: Client, key: str) -> None:
    refused(exceptions.AlreadyExists, RING, lambda: client.create_key_ring(parent=LOCATION, key_ring_id="test"))
    refused(
        exceptions.AlreadyExists,
        key,
        lambda: client.create_crypto_key(
            parent=RING,
            crypto_key_id=key.rpartition("/")[2],
            crypto_key=kms_v1.CryptoKey(purpose=Purpose.ENCRYPT_DECRYPT),
        ),
    )


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "ü", "x" * 64])
def test_ids_are_checked(client: Client, key: str, bad: str) -> None:
    refused(
        exceptions.InvalidArgument,
        "must match",
        lambda: client.create_key_ring(parent=LOCATION, key_ring_id=bad),
    )
    refused(
        exceptions.InvalidArgument,
        "must match",
        lambda: client.create_crypto_key(
            parent=RING, crypto_key_id=bad, crypto_key=kms_v1.CryptoKey(purpose=Purpose.ENCRYPT_DECRYPT)
        ),
    )


def test_malformed_names_are_invalid_and_not_a_fault_of_the_server(client: Client, key: str) -> None:
    for call in (
        lambda: client.create_key_ring(parent="projects/test", key_ring_id="r"),
        lambda: client.create_crypto_key(parent=RING, crypto_key_id="k", crypto_key=kms_v1.CryptoKey()),
        lambda: encrypt(client, f"{key}/cryptoKeyVersions/one", b"secret"),
        lambda: encrypt(client, f"{key}/cryptoKeyVersions/{'9' * 5000}", b"secret"),
        lambda: client.get_crypto_key_version(name=key),
        lambda: client.update_crypto_key_primary_version(name=key, crypto_key_version_id="\u00b2"),
        lambda: client.list_crypto_keys(request={"parent": RING, "page_token": "next"}),
    ):
        refused(exceptions.InvalidArgument, "", call)


def test_a_key_for_another_purpose_does_not_encrypt(client: Client) -> None:
    key = new_key(client, purpose=Purpose.ASYMMETRIC_SIGN)
    refused(exceptions.FailedPrecondition, "ASYMMETRIC_SIGN", lambda: encrypt(client, key, b"secret"))
    refused(exceptions.FailedPrecondition, "ASYMMETRIC_SIGN", lambda: decrypt(client, key, b"ciphertext"))


def test_a_key_without_a_version_does_not_encrypt(client: Client, key: str) -> None:
    name = client.create_crypto_key(
        request={
            "parent": RING,
            "crypto_key_id": f"{key.rpartition('/')[2]}-empty",
            "crypto_key": {"purpose": Purpose.ENCRYPT_DECRYPT},
            "skip_initial_version_creation": True,
        }
    ).name
    refused(exceptions.FailedPrecondition, "no primary version", lambda: encrypt(client, name, b"secret"))


# The process


@contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SERVER), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with start("--port", 0, *arguments) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert process.stdout.readline() == "ready\n"
        yield process, address


def end(process: subprocess.Popen[str], by: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(by)
    return process.wait(timeout=30)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(by: signal.Signals) -> None:
    with started() as (process, _):
        assert end(process, by) == 0


def test_keys_survive_in_a_state_file_alone(tmp_path: Path) -> None:
    state = tmp_path / "keys.json"
    with started("--state", state) as (process, address):
        with google_client(address) as client:
            key = new_key(client)
            first = encrypt(client, key, b"first").ciphertext
            rotate(client, key)
            second = encrypt(client, key, b"second").ciphertext
            set_state(client, f"{key}/cryptoKeyVersions/1", State.DISABLED)
        assert end(process) == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o600

    with started("--state", state) as (_, address), google_client(address) as client:
        assert decrypt(client, key, second).plaintext == b"second"
        refused(exceptions.FailedPrecondition, "DISABLED", lambda: decrypt(client, key, first))

    with started() as (_, address), google_client(address) as client:
        refused(exceptions.NotFound, key, lambda: decrypt(client, key, second))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_it_serves_loopback_alone(host: str) -> None:
    with start("--port", 0, "--host", host) as process:
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "not a loopback address" in complaint


def test_a_port_that_is_taken_ends_it_with_status_1() -> None:
    with started() as (_, address), start("--port", address.rpartition(":")[2]) as second:
        assert second.wait(timeout=30) == 1


def test_latency_is_added_to_every_call() -> None:
    with started("--latency", 0.2) as (_, address), google_client(address) as client:
        before = time.monotonic()
        list(client.list_key_rings(parent=LOCATION))
        assert time.monotonic() - before >= 0.2
