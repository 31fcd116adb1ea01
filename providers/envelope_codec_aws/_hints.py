"""What the failures of AWS KMS mean, and what to do about each. Imports no SDK."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.aws.meanings import CREDENTIALS, LOG_IN
from envelope_codec.errors import InvalidCiphertext, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

_REGION = "; requests go to the ARN's region"

TIMED_OUT = replace(meanings.TIMED_OUT, hint=meanings.CHECK_NETWORK + _REGION)
UNREACHABLE = replace(meanings.UNREACHABLE, hint=meanings.CHECK_NETWORK + _REGION)
THROTTLED = replace(meanings.THROTTLED, hint="ask for a higher quota of cryptographic operations, or wait")
CREDENTIALS_REJECTED = replace(
    meanings.CREDENTIALS_REJECTED,
    text="AWS did not take the credentials: expired, unknown or wrongly signed",
    hint=LOG_IN,
)
STORE_DOWN = Meaning(
    KmsUnavailable,
    "key-store-down",
    "the key store behind the KMS gave no answer",
    "look at the custom key store: its cluster or proxy is down",
)

NOT_PERMITTED = replace(
    meanings.NOT_PERMITTED,
    hint="allow {permission} to this role, in its IAM policy and in the key's own; a condition on "
    "kms:EncryptionContext must fit temporal-namespace = {namespace} and envelope-codec:purpose = {purpose}",
)
DISABLED = replace(
    meanings.DISABLED, hint="enable it (aws kms enable-key), or configure another key" + meanings.RETIRED
)
UNUSABLE = replace(
    meanings.UNUSABLE,
    hint="cancel its deletion (aws kms cancel-key-deletion), then enable it; in a custom key store, connect the store"
    + meanings.RETIRED,
)
NOT_FOUND = replace(
    meanings.NOT_FOUND,
    hint="check the ARN: the key is looked for in the region and account that the ARN names, so one of a wrong region "
    "is not found; an alias needs a key that it points at" + meanings.RETIRED,
)
WRONG_USAGE = replace(meanings.WRONG_USAGE, hint="configure a symmetric key with usage ENCRYPT_DECRYPT")
REFUSED = replace(meanings.REFUSED, hint="check that the context's names and values are ones that AWS takes")

OTHER_KEY_MADE_IT = Meaning(
    InvalidCiphertext,
    "made-by-other-key",
    "the ciphertext was made under another key",
    "an alias may just have been pointed at another key: try again",
)
OTHER_KEY_USED = Meaning(
    InvalidCiphertext, "other-key-used", "the KMS used another key than it was asked to", meanings.REPORT
)
NO_CIPHERTEXT = Meaning(InvalidCiphertext, "no-ciphertext", "not a ciphertext of AWS KMS", meanings.CHECK_BINDING)

MEANINGS = (
    *CREDENTIALS,
    *(TIMED_OUT, UNREACHABLE, meanings.NO_TLS, THROTTLED, meanings.SERVER_ERROR, meanings.NO_ANSWER),
    *(CREDENTIALS_REJECTED, STORE_DOWN, meanings.CLOSED, meanings.FAULT),
    *(NOT_PERMITTED, DISABLED, UNUSABLE, NOT_FOUND, WRONG_USAGE, REFUSED),
    *(meanings.BAD_CIPHERTEXT, meanings.OTHER_KEY, OTHER_KEY_MADE_IT, OTHER_KEY_USED, NO_CIPHERTEXT),
)
