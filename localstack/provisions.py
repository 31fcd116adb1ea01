"""What trials need on the servers: Transit key, KMS key and alias, bucket, CryptoKey, keys of Key Vault, database
and table.

The names are those that ``compose.yaml`` makes for Docker.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Mapping

from blobstores import AzuriteServer, GcsServer
from datastores import MongoServer, PostgresServer, ValkeyServer
from localserver import LOOPBACK, Server, ServerFailed
from servers import AzureKeyVaultServer, GcpKmsServer, LocalStack, OpenBao

NAME = "envelope"
AWS_ALIAS = f"arn:aws:kms:us-east-1:000000000000:alias/{NAME}"
GCP_RING = f"projects/{NAME}/locations/global/keyRings/{NAME}"

KEY, STORAGE = "ENVELOPE_CODEC_KEY", "ENVELOPE_CODEC_STORAGE"


def vault(server: OpenBao) -> Mapping[str, str]:
    """Make the Transit key; returns the settings that name what was made."""
    _asked(server, "POST", f"/v1/transit/keys/{NAME}", "{}", {"X-Vault-Token": server.token})
    return {KEY: f"hashivault://{NAME}"}


def aws(server: LocalStack) -> Mapping[str, str]:
    """Make a key, its alias and a bucket. LocalStack looks at no signature, so none is computed."""
    key = json.loads(_asked(server, "POST", "/", "{}", _amazon("kms", "CreateKey")))["KeyMetadata"]["KeyId"]
    alias = json.dumps({"AliasName": f"alias/{NAME}", "TargetKeyId": key})
    _asked(server, "POST", "/", alias, _amazon("kms", "CreateAlias"))
    _asked(server, "PUT", f"/{NAME}", "", _amazon("s3"))
    return {KEY: AWS_ALIAS, STORAGE: f"s3://{NAME}"}


def gcp(server: GcpKmsServer) -> Mapping[str, str]:
    """Make a key ring and a CryptoKey, with Google's own client, which the server needs as well."""
    import grpc  # type: ignore[import-untyped,unused-ignore]
    from google.cloud.kms_v1 import CryptoKey, KeyManagementServiceClient, KeyRing
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

    location, _, ring = GCP_RING.partition("/keyRings/")
    with grpc.insecure_channel(server.endpoint) as channel:
        kms = KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))
        kms.create_key_ring(parent=location, key_ring_id=ring, key_ring=KeyRing())
        kms.create_crypto_key(
            parent=GCP_RING,
            crypto_key_id=NAME,
            crypto_key=CryptoKey(purpose=CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT),
        )
    return {KEY: f"gcpkms://{GCP_RING}/cryptoKeys/{NAME}?endpoint={server.endpoint}"}


def azure(server: AzureKeyVaultServer) -> Mapping[str, str]:
    """Make an RSA key, and the key that signs for it."""
    server.ask("POST", f"/keys/{NAME}/create", {"kty": "RSA", "key_size": 3072})
    server.ask("POST", f"/keys/{NAME}-signer/create", {"kty": "EC", "crv": "P-256"})
    return {KEY: server.key_uri(NAME, sign_key=f"{NAME}-signer")}


def postgresql(server: PostgresServer) -> Mapping[str, str]:
    """Make a database and, where envelope_codec is installed with its SQL drivers, the table in it."""
    server.sql(f"CREATE DATABASE {NAME}")
    url = server.url.rpartition("/")[0] + f"/{NAME}"
    table = subprocess.run(
        [sys.executable, "-m", "envelope_codec.cli", "storage", "ddl", url], capture_output=True, text=True
    )
    if table.returncode == 0:
        server.sql(table.stdout, database=NAME)
    return {STORAGE: url}


def valkey(server: ValkeyServer) -> Mapping[str, str]:
    """Needs nothing made."""
    return {STORAGE: server.url}


def gcs(server: GcsServer) -> Mapping[str, str]:
    """Make a bucket."""
    _asked(server, "POST", "/storage/v1/b?project=-", json.dumps({"name": NAME}), {"Content-Type": "application/json"})
    return {STORAGE: f"gs://{NAME}/payloads?endpoint={server.endpoint}"}


def azurite(server: AzuriteServer) -> Mapping[str, str]:
    """Make a container, where Azure's own client is installed."""
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.storage.blob import ContainerClient

    credential = AzureNamedKeyCredential(server.account, server.key)
    with ContainerClient(f"{server.endpoint}/{server.account}", NAME, credential=credential) as container:
        container.create_container()
    return {STORAGE: f"azblob://{server.account}/{NAME}/payloads?endpoint={server.endpoint}"}


def mongodb(server: MongoServer) -> Mapping[str, str]:
    """Needs nothing made: collections come with their first document."""
    return {STORAGE: server.url}


def _amazon(service: str, operation: str = "") -> Mapping[str, str]:
    scope = f"test/20200101/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    if operation:
        headers |= {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    return headers


def _asked(
    server: OpenBao | LocalStack | GcsServer, method: str, path: str, body: str, headers: Mapping[str, str]
) -> bytes:
    port = int((server.summary).rpartition(":")[2])
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        said = reply.read()
    if reply.status >= 300:
        raise ServerFailed(f"{server.name} answered {reply.status} to {method} {path}: {said[:300]!r}")
    return said


def made_on(name: str, server: Server) -> Mapping[str, str]:
    """Make what trials need on ``server``, called ``name``; returns the settings that name it."""
    makers = {
        "vault": vault,
        "aws": aws,
        "gcp": gcp,
        "azure": azure,
        "postgresql": postgresql,
        "valkey": valkey,
        "mongodb": mongodb,
        "gcs": gcs,
        "azurite": azurite,
    }
    maker = makers.get(name)
    return {} if maker is None else maker(server)  # type: ignore[operator]
