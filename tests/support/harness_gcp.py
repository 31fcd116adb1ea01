"""Google Cloud KMS for the conformance suite, and what the tests of the GCP provider share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlencode

import grpc  # type: ignore[import-untyped,unused-ignore]
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.protobuf.field_mask_pb2 import FieldMask

from envelope_codec.kms import MasterKey, master_key

LOCATION = "projects/test/locations/global"
RING = f"{LOCATION}/keyRings/test"
State = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
Purpose = kms_v1.CryptoKey.CryptoKeyPurpose


class HasEndpoint(Protocol):
    @property
    def endpoint(self) -> str: ...


@contextmanager
def google_client(endpoint: str) -> Iterator[kms_v1.KeyManagementServiceClient]:
    """Google's own client on an insecure channel, as it comes."""
    transport = KeyManagementServiceGrpcTransport(host=endpoint, channel=grpc.insecure_channel(endpoint))
    with kms_v1.KeyManagementServiceClient(transport=transport) as client:
        yield client


def new_key(client: kms_v1.KeyManagementServiceClient, **settings: object) -> str:
    """Make a key with one version in the key ring ``test``, and that ring if need be; returns the key's name."""
    if RING not in {ring.name for ring in client.list_key_rings(parent=LOCATION)}:
        client.create_key_ring(parent=LOCATION, key_ring_id="test")
    key = kms_v1.CryptoKey({"purpose": Purpose.ENCRYPT_DECRYPT, **settings})
    return client.create_crypto_key(parent=RING, crypto_key_id=f"key-{uuid.uuid4()}", crypto_key=key).name


def rotate(client: kms_v1.KeyManagementServiceClient, name: str) -> str:
    """Add a version and make it the primary one; returns its number."""
    version = client.create_crypto_key_version(parent=name, crypto_key_version=kms_v1.CryptoKeyVersion())
    number: str = version.name.rpartition("/")[2]
    client.update_crypto_key_primary_version(name=name, crypto_key_version_id=number)
    return number


def set_state(client: kms_v1.KeyManagementServiceClient, version: str, state: int) -> None:
    client.update_crypto_key_version(
        crypto_key_version=kms_v1.CryptoKeyVersion(name=version, state=state), update_mask=FieldMask(paths=["state"])
    )


def uri_of(name: str, endpoint: str, **options: object) -> str:
    return f"gcpkms://{name}?{urlencode({'endpoint': endpoint, **options})}"


class GcpHarness:
    """Keys on the test server: made, used through the provider, and changed behind its back."""

    name = "gcp"
    tells_versions = True

    def __init__(self, gcp_kms_server: HasEndpoint) -> None:
        self._endpoint = gcp_kms_server.endpoint

    def create_key(self) -> str:
        with google_client(self._endpoint) as client:
            return uri_of(new_key(client), self._endpoint)

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> MasterKey:
        options = {} if read_timeout is None else {"read_timeout": read_timeout}
        return master_key(uri_of(_name(uri), endpoint or self._endpoint, **options))

    def rotate(self, uri: str) -> None:
        with google_client(self._endpoint) as client:
            rotate(client, _name(uri))

    def disable(self, uri: str) -> None:
        """All versions: a key as such has no such state."""
        self._move(uri, State.ENABLED, State.DISABLED)

    def enable(self, uri: str) -> None:
        self._move(uri, State.DISABLED, State.ENABLED)

    def schedule_deletion(self, uri: str) -> None:
        with google_client(self._endpoint) as client:
            for version in client.list_crypto_key_versions(parent=_name(uri)):
                client.destroy_crypto_key_version(name=version.name)

    def _move(self, uri: str, before: int, after: int) -> None:
        with google_client(self._endpoint) as client:
            for version in client.list_crypto_key_versions(parent=_name(uri)):
                if version.state == before:
                    set_state(client, version.name, after)


def _name(uri: str) -> str:
    return uri.removeprefix("gcpkms://").partition("?")[0]
