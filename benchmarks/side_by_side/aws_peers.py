"""AWS Encryption SDK for Python, in the three ways that need no KMS call for each message."""

from __future__ import annotations

import threading
from typing import Any

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm
from aws_encryption_sdk.key_providers.kms import KMSMasterKey, KMSMasterKeyConfig

from benchmarks.side_by_side.entrant import BytesCodec, Entrant, NewCodec
from benchmarks.side_by_side.kms import ARN, InProcessKms, answering_client
from benchmarks.side_by_side.own import CONTEXT

CACHING = "AWS Encryption SDK, caching"
SIGNED = "AWS Encryption SDK, caching, default suite"
HIERARCHICAL = "AWS Encryption SDK, hierarchical keyring"

_COMMITTING = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
_MAX_AGE = 86_400.0  # seconds, and payloads: our own defaults
_MAX_MESSAGES = 2**20
_TTL = 600  # seconds; as in AWS's example
_GUIDE = "https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/"


class BranchKeys:
    """DynamoDB's table of branch keys, in this process: the two operations that a key store calls.

    Attributes:
        client: boto3's client of it.
    """

    def __init__(self) -> None:
        self.client = answering_client("dynamodb", self._answer)
        self._items: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def _answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if operation == "TransactWriteItems":
                self._items += [item["Put"]["Item"] for item in asked["TransactItems"]]
                return {}
            if operation == "GetItem":
                wanted = asked["Key"].items()
                return next(({"Item": item} for item in self._items if wanted <= item.items()), {})
        raise NotImplementedError(operation)


def _caching(kms: InProcessKms, algorithm: Any = None) -> NewCodec:
    client = aws_encryption_sdk.EncryptionSDKClient()
    chosen = {} if algorithm is None else {"algorithm": algorithm}

    def new() -> BytesCodec:
        materials = aws_encryption_sdk.CachingCryptoMaterialsManager(
            master_key_provider=KMSMasterKey(config=KMSMasterKeyConfig(key_id=ARN, client=kms.client)),
            cache=aws_encryption_sdk.LocalCryptoMaterialsCache(1_000),
            max_age=_MAX_AGE,
            max_messages_encrypted=_MAX_MESSAGES,
        )
        return BytesCodec(
            lambda data: client.encrypt(source=data, materials_manager=materials, encryption_context=CONTEXT, **chosen)[
                0
            ],
            lambda data: client.decrypt(source=data, materials_manager=materials)[0],
        )

    return new


def _hierarchical(kms: InProcessKms) -> NewCodec:
    from aws_cryptographic_material_providers.keystore.client import KeyStore
    from aws_cryptographic_material_providers.keystore.config import KeyStoreConfig
    from aws_cryptographic_material_providers.keystore.models import CreateKeyInput, KMSConfigurationKmsKeyArn
    from aws_cryptographic_material_providers.mpl import client as providers
    from aws_cryptographic_material_providers.mpl import config, models

    client = aws_encryption_sdk.EncryptionSDKClient()
    configured = KeyStoreConfig(
        ddb_client=BranchKeys().client,
        ddb_table_name="branch-keys",
        logical_key_store_name="branch-keys",
        kms_client=kms.client,
        kms_configuration=KMSConfigurationKmsKeyArn(value=ARN),
    )
    branch_key = KeyStore(config=configured).create_key(input=CreateKeyInput()).branch_key_identifier

    def new() -> BytesCodec:
        keyring = providers.AwsCryptographicMaterialProviders(
            config=config.MaterialProvidersConfig()
        ).create_aws_kms_hierarchical_keyring(
            input=models.CreateAwsKmsHierarchicalKeyringInput(
                key_store=KeyStore(config=configured),
                branch_key_id=branch_key,
                ttl_seconds=_TTL,
                cache=models.CacheTypeDefault(value=models.DefaultCache(entry_capacity=1_000)),
            )
        )
        return BytesCodec(
            lambda data: client.encrypt(
                source=data, keyring=keyring, encryption_context=CONTEXT, algorithm=_COMMITTING
            )[0],
            lambda data: client.decrypt(source=data, keyring=keyring, encryption_context=CONTEXT)[0],
        )

    return new


def entrants() -> list[Entrant]:
    """Return them in the order of the tables."""
    return [
        Entrant(
            CACHING,
            "Caching materials manager, suite `AES_256_GCM_HKDF_SHA512_COMMIT_KEY` (commitment, no signature). "
            "An entry serves for 24 h and 2**20 messages, as ours does.",
            lambda kms: _caching(kms, _COMMITTING),
            f"{_GUIDE}data-key-caching.html",
        ),
        Entrant(
            SIGNED,
            "The same with the suite that is its default: commitment and an ECDSA signature for each message.",
            _caching,
            f"{_GUIDE}supported-algorithms.html",
        ),
        Entrant(
            HIERARCHICAL,
            "Branch keys in DynamoDB, kept for 600 s; no signature. DynamoDB is in this process, too.",
            _hierarchical,
            f"{_GUIDE}use-hierarchical-keyring.html",
        ),
    ]
