"""The RPCs of the GCP KMS test server: checks of requests, and the messages that answer them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import google_crc32c
from gcpkms_keys import (
    DEFAULT_DESTROY_AFTER,
    DESTROY_SCHEDULED,
    DISABLED,
    ENABLED,
    SYMMETRIC,
    Key,
    Refused,
    Store,
    Version,
    checked_number,
    invalid_name,
    split_version,
)
from google.cloud import kms_v1

RPCS = (
    "CreateKeyRing",
    "GetKeyRing",
    "ListKeyRings",
    "CreateCryptoKey",
    "GetCryptoKey",
    "ListCryptoKeys",
    "CreateCryptoKeyVersion",
    "GetCryptoKeyVersion",
    "ListCryptoKeyVersions",
    "UpdateCryptoKeyVersion",
    "UpdateCryptoKeyPrimaryVersion",
    "DestroyCryptoKeyVersion",
    "RestoreCryptoKeyVersion",
    "Encrypt",
    "Decrypt",
)
MAX_BYTES = 64 * 1024
"""Most bytes of plaintext, and of additional authenticated data, for a key of protection level SOFTWARE."""

_SOFTWARE = kms_v1.ProtectionLevel.SOFTWARE
_ALGORITHM = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm.GOOGLE_SYMMETRIC_ENCRYPTION
_Item = TypeVar("_Item")


class KeyManagementService:
    """The RPCs, one method each, named as in the API: each returns its reply or raises `Refused`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def CreateKeyRing(self, request: kms_v1.CreateKeyRingRequest) -> kms_v1.KeyRing:
        with self._store.open(change=True) as store:
            return self._ring(store.add_ring(request.parent, request.key_ring_id))

    def GetKeyRing(self, request: kms_v1.GetKeyRingRequest) -> kms_v1.KeyRing:
        with self._store.open():
            return self._ring(request.name)

    def ListKeyRings(self, request: kms_v1.ListKeyRingsRequest) -> kms_v1.ListKeyRingsResponse:
        with self._store.open() as store:
            names = [name for name in sorted(store.rings) if name.startswith(f"{request.parent}/keyRings/")]
            page, token = _page(names, request.page_size, request.page_token)
            return kms_v1.ListKeyRingsResponse(
                key_rings=[self._ring(name) for name in page], next_page_token=token, total_size=len(names)
            )

    def CreateCryptoKey(self, request: kms_v1.CreateCryptoKeyRequest) -> kms_v1.CryptoKey:
        wanted = request.crypto_key
        if wanted.purpose == kms_v1.CryptoKey.CryptoKeyPurpose.CRYPTO_KEY_PURPOSE_UNSPECIFIED:
            raise Refused("INVALID_ARGUMENT", "The purpose of a CryptoKey must be specified.")
        destroy_after = DEFAULT_DESTROY_AFTER
        if "destroy_scheduled_duration" in wanted:
            destroy_after = _seconds(wanted.destroy_scheduled_duration)
        with self._store.open(change=True) as store:
            key = store.add_key(
                request.parent,
                request.crypto_key_id,
                wanted.purpose.name,
                destroy_after,
                dict(wanted.labels),
            )
            if not request.skip_initial_version_creation:
                version = key.add_version()
                key.primary = version.number if key.purpose == SYMMETRIC else None
            return _key(key)

    def GetCryptoKey(self, request: kms_v1.GetCryptoKeyRequest) -> kms_v1.CryptoKey:
        with self._store.open() as store:
            return _key(store.key(request.name))

    def ListCryptoKeys(self, request: kms_v1.ListCryptoKeysRequest) -> kms_v1.ListCryptoKeysResponse:
        with self._store.open() as store:
            store.ring(request.parent)
            names = [name for name in sorted(store.keys) if name.startswith(f"{request.parent}/cryptoKeys/")]
            page, token = _page(names, request.page_size, request.page_token)
            return kms_v1.ListCryptoKeysResponse(
                crypto_keys=[_key(store.keys[name]) for name in page], next_page_token=token, total_size=len(names)
            )

    def CreateCryptoKeyVersion(self, request: kms_v1.CreateCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:
        with self._store.open(change=True) as store:
            return _version(store.key(request.parent).add_version())

    def GetCryptoKeyVersion(self, request: kms_v1.GetCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:
        with self._store.open() as store:
            return _version(store.version(request.name))

    def ListCryptoKeyVersions(
        self, request: kms_v1.ListCryptoKeyVersionsRequest
    ) -> kms_v1.ListCryptoKeyVersionsResponse:
        with self._store.open() as store:
            versions = store.key(request.parent).versions
            page, token = _page(versions, request.page_size, request.page_token)
            return kms_v1.ListCryptoKeyVersionsResponse(
                crypto_key_versions=[_version(version) for version in page],
                next_page_token=token,
                total_size=len(versions),
            )

    def UpdateCryptoKeyVersion(self, request: kms_v1.UpdateCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:
        if list(request.update_mask.paths) != ["state"]:
            raise Refused("INVALID_ARGUMENT", "The update_mask must be: state.")
        wanted = request.crypto_key_version.state.name
        if wanted not in (ENABLED, DISABLED):
            raise Refused("INVALID_ARGUMENT", f"A CryptoKeyVersion cannot be updated to state {wanted}.")
        with self._store.open(change=True) as store:
            version = store.version(request.crypto_key_version.name)
            version.move(to=wanted, only_from=(ENABLED, DISABLED))
            return _version(version)

    def UpdateCryptoKeyPrimaryVersion(self, request: kms_v1.UpdateCryptoKeyPrimaryVersionRequest) -> kms_v1.CryptoKey:
        number = checked_number(request.crypto_key_version_id, "crypto_key_version_id")
        with self._store.open(change=True) as store:
            key = store.key(request.name)
            key.primary = key.for_encryption(number).number
            return _key(key)

    def DestroyCryptoKeyVersion(self, request: kms_v1.DestroyCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:
        with self._store.open(change=True) as store:
            version = store.version(request.name)
            version.move(to=DESTROY_SCHEDULED, only_from=(ENABLED, DISABLED))
            version.destroy_at = time.time() + store.key(split_version(request.name)[0]).destroy_after
            return _version(version)

    def RestoreCryptoKeyVersion(self, request: kms_v1.RestoreCryptoKeyVersionRequest) -> kms_v1.CryptoKeyVersion:
        with self._store.open(change=True) as store:
            version = store.version(request.name)
            version.move(to=DISABLED, only_from=(DESTROY_SCHEDULED,))
            version.destroy_at = None
            return _version(version)

    def Encrypt(self, request: kms_v1.EncryptRequest) -> kms_v1.EncryptResponse:
        plaintext, aad = request.plaintext, request.additional_authenticated_data
        _check_length("plaintext", plaintext)
        _check_length("additional_authenticated_data", aad)
        verified = _check_crc("plaintext", plaintext, request.plaintext_crc32c)
        aad_verified = _check_crc("additional_authenticated_data", aad, request.additional_authenticated_data_crc32c)
        name, number = split_version(request.name)
        with self._store.open() as store:
            key = store.key(name)
            version = key.for_encryption(number)
            ciphertext = key.encrypt(version, plaintext, aad)
        return kms_v1.EncryptResponse(
            name=version.name,
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=verified,
            verified_additional_authenticated_data_crc32c=aad_verified,
            protection_level=_SOFTWARE,
        )

    def Decrypt(self, request: kms_v1.DecryptRequest) -> kms_v1.DecryptResponse:
        ciphertext, aad = request.ciphertext, request.additional_authenticated_data
        _check_length("additional_authenticated_data", aad)
        _check_crc("ciphertext", ciphertext, request.ciphertext_crc32c)
        _check_crc("additional_authenticated_data", aad, request.additional_authenticated_data_crc32c)
        name, number = split_version(request.name)
        if number is not None:
            raise invalid_name(request.name)
        with self._store.open() as store:
            key = store.key(name)
            version, plaintext = key.decrypt(ciphertext, aad)
            used_primary = version.number == key.primary
        return kms_v1.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext),
            used_primary=used_primary,
            protection_level=_SOFTWARE,
        )

    def _ring(self, name: str) -> kms_v1.KeyRing:
        return kms_v1.KeyRing(name=name, create_time=_timestamp(self._store.ring(name)))


def _check_length(field: str, data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise Refused("INVALID_ARGUMENT", f"The {field} must be at most {MAX_BYTES} bytes, not {len(data)}.")


def _check_crc(field: str, data: bytes, claimed: Any) -> bool:
    """Whether a checksum came with ``data`` (``claimed`` is an int, or None without one); a wrong one is refused."""
    if claimed is None:
        return False
    if claimed != google_crc32c.value(data):
        raise Refused(
            "INVALID_ARGUMENT", f"The checksum in field {field}_crc32c did not match the data in field {field}."
        )
    return True


def _page(items: Sequence[_Item], size: int, token: str) -> tuple[Sequence[_Item], str]:
    start = checked_number(token or "0", "page_token")
    end = start + (size or 100)
    return items[start:end], str(end) if end < len(items) else ""


def _key(key: Key) -> kms_v1.CryptoKey:
    return kms_v1.CryptoKey(
        name=key.name,
        purpose=kms_v1.CryptoKey.CryptoKeyPurpose[key.purpose],  # type: ignore[misc]
        primary=None if key.primary is None else _version(key.version(key.primary)),
        create_time=_timestamp(key.created),
        labels=key.labels,
        destroy_scheduled_duration={"seconds": int(key.destroy_after)},
        version_template=kms_v1.CryptoKeyVersionTemplate(protection_level=_SOFTWARE, algorithm=_ALGORITHM),
    )


def _version(version: Version) -> kms_v1.CryptoKeyVersion:
    return kms_v1.CryptoKeyVersion(
        name=version.name,
        state=kms_v1.CryptoKeyVersion.CryptoKeyVersionState[version.state],  # type: ignore[misc]
        protection_level=_SOFTWARE,
        algorithm=_ALGORITHM,
        create_time=_timestamp(version.created),
        generate_time=_timestamp(version.created),
        destroy_time=None if version.destroy_at is None else _timestamp(version.destroy_at),
    )


def _seconds(duration: Any) -> float:
    """A message's Duration field reads as a timedelta, whatever its type says."""
    return float(duration.total_seconds())


def _timestamp(seconds: float) -> dict[str, int]:
    return {"seconds": int(seconds), "nanos": int(seconds % 1 * 1e9)}
