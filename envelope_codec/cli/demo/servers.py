"""The servers of the demo: Temporal's dev server, and the KMS that was chosen, with a new master key in it."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from envelope_codec.cli.checkout import DEVSTACK, is_checkout
from envelope_codec.cli.keygen import create_key_file, key_uri


class Kms(str, Enum):
    """Where the master key of the demo lives."""

    local = "local"
    vault = "vault"
    aws = "aws"
    gcp = "gcp"
    azure = "azure"


class NoCheckout(Exception):
    """There is no source checkout around this package. The text says what to do."""


def load_devstack() -> Any:
    """Import the module ``devstack`` of the source checkout.

    Raises:
        NoCheckout: this package is installed without a checkout.
    """
    if not is_checkout():
        raise NoCheckout(
            "it starts servers with a script that only a source checkout has (localstack/devstack.py): "
            "clone the repository and run `make demo` there"
        )
    if str(DEVSTACK) not in sys.path:
        sys.path.append(str(DEVSTACK))
    return importlib.import_module("devstack")


async def start(server: Any, stack: AsyncExitStack) -> None:
    """Start a server of the devstack. ``stack`` stops it later, even if starting it fails."""
    stack.callback(server.stop)
    await asyncio.to_thread(server.start)


class KmsServer(NamedTuple):
    """How to get a master key in one kind of KMS.

    Attributes:
        title: the name of the KMS, for people.
        server: name of the server's class in ``devstack``. None where no server is needed.
        create_key: a function that makes a master key, from the running server and an empty folder. It returns the key
            URI.
    """

    title: str
    server: str | None
    create_key: Callable[[Any, Path], str]


def _local_key(_: Any, folder: Path) -> str:
    path = folder / "master-key.json"
    create_key_file(path)
    return key_uri(path)


def _vault_key(server: Any, _: Path) -> str:
    import hvac

    os.environ["VAULT_TOKEN"] = server.token  # a key URI holds no credentials
    client: Any = hvac.Client(url=server.address, token=server.token)
    client.secrets.transit.create_key("demo")
    client.session.close()
    return f"hashivault://demo?{urlencode({'mount': 'transit', 'endpoint': server.address, 'auth': 'token'})}"


def _aws_key(server: Any, _: Path) -> str:
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # what the user is logged in to has no business here
    os.environ.update(server.settings, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    del os.environ["AWS_ENDPOINT_URL"]  # the key URI names it
    client = boto3.client("kms", endpoint_url=server.endpoint)
    arn = client.create_key(Description="demo")["KeyMetadata"].get("Arn", "")
    client.close()
    return f"awskms:///{arn}?{urlencode({'endpoint': server.endpoint})}"


def retire_aws_key(server: Any, uri: str) -> str:
    """Disable a key of AWS KMS, and schedule its deletion. Returns the state in which it is then."""
    import boto3

    arn = uri.removeprefix("awskms:///").partition("?")[0]
    client = boto3.client("kms", endpoint_url=server.endpoint)
    try:
        client.disable_key(KeyId=arn)
        told = client.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
        return f"{told['KeyState']}, to be deleted on {told['DeletionDate']:%Y-%m-%d}"
    finally:
        client.close()


def _gcp_key(server: Any, _: Path) -> str:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc  # type: ignore[import-untyped,unused-ignore]
    from google.cloud import kms_v1
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

    location = "projects/demo/locations/global"
    transport = KeyManagementServiceGrpcTransport(host=server.endpoint, channel=grpc.insecure_channel(server.endpoint))
    with kms_v1.KeyManagementServiceClient(transport=transport) as client:
        ring = client.create_key_ring(parent=location, key_ring_id="demo").name
        key = kms_v1.CryptoKey(purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT)
        name = client.create_crypto_key(parent=ring, crypto_key_id="demo", crypto_key=key).name
    return f"gcpkms://{name}?{urlencode({'endpoint': server.endpoint})}"


def _azure_key(server: Any, _: Path) -> str:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        del os.environ[name]  # what the user is logged in to has no business here
    os.environ.update(server.settings)
    server.ask("POST", "/keys/demo/create", {"kty": "RSA", "key_size": 3072})
    server.ask("POST", "/keys/demo-signer/create", {"kty": "EC", "crv": "P-256"})
    return str(server.key_uri("demo", sign_key="demo-signer"))


SERVERS = {
    Kms.local: KmsServer("key file", None, _local_key),
    Kms.vault: KmsServer("OpenBao (Vault Transit)", "OpenBao", _vault_key),
    Kms.aws: KmsServer("LocalStack (AWS KMS)", "LocalStack", _aws_key),
    Kms.gcp: KmsServer("GCP KMS server", "GcpKmsServer", _gcp_key),
    Kms.azure: KmsServer("Azure Key Vault server", "AzureKeyVaultServer", _azure_key),
}
