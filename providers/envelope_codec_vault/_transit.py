"""What is asked of Vault's Transit engine."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.kms import context_bytes
from envelope_codec_vault._ask import Question
from envelope_codec_vault._errors import ABSENT_KEY_TYPE
from envelope_codec_vault._key_id import TransitKey
from envelope_codec_vault._wire import encode


def encrypting(key: TransitKey, secret: bytes, context: Mapping[str, str]) -> Question:
    """Make the question that encrypts ``secret`` under the key's latest version.

    https://developer.hashicorp.com/vault/api-docs/secret/transit#encrypt-data
    """
    return lambda client: client.secrets.transit.encrypt_data(
        key.name,
        plaintext=encode(secret),
        associated_data=encode(context_bytes(context)),
        # Read only if Vault is about to create the key: a typo in a key URI must not become a new key.
        type=ABSENT_KEY_TYPE,
        mount_point=key.mount,
    )


def decrypting(key: TransitKey, ciphertext: str, context: Mapping[str, str]) -> Question:
    """Make the question that decrypts ``ciphertext`` with the version that it names.

    https://developer.hashicorp.com/vault/api-docs/secret/transit#decrypt-data
    """
    return lambda client: client.secrets.transit.decrypt_data(
        key.name,
        ciphertext=ciphertext,
        associated_data=encode(context_bytes(context)),
        mount_point=key.mount,
    )
