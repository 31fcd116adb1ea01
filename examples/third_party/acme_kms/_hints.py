"""What the failures of the KMS mean, and what to do about each."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

NO_TOKEN = Meaning(
    KmsUnavailable,
    "credentials-unreadable",
    "the file with the token for the KMS could not be read",
    "check that the file of token_file is there and may be read",
)
CREDENTIALS_REJECTED = replace(meanings.CREDENTIALS_REJECTED, hint="put a new token in the file of token_file")
NOT_PERMITTED = replace(meanings.NOT_PERMITTED, hint="acme kms grant {permission} {key}")
DISABLED = replace(meanings.DISABLED, hint="acme kms enable {key}")
DELETED = Meaning(KeyDenied, "deleted", "the key is deleted", "restore it, or configure another key")

MEANINGS = (
    *(NO_TOKEN, CREDENTIALS_REJECTED, NOT_PERMITTED, DISABLED, DELETED),
    *(meanings.TIMED_OUT, meanings.UNREACHABLE, meanings.NO_TLS, meanings.THROTTLED, meanings.SERVER_ERROR),
    *(meanings.NO_ANSWER, meanings.CLOSED, meanings.FAULT, meanings.NOT_FOUND, meanings.REFUSED),
    *(meanings.BAD_CIPHERTEXT, meanings.OTHER_KEY),
)
