"""What the failures of Google Cloud KMS mean, and what to do about each. Imports no SDK."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import InvalidCiphertext, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

THROTTLED = replace(
    meanings.THROTTLED,
    text="the KMS is throttling",
    hint="ask for a higher quota of cryptographic requests, or wait",
)
SERVER_ERROR = replace(meanings.SERVER_ERROR, text="the KMS had an internal error")
ABORTED = Meaning(KmsUnavailable, "aborted", "the KMS aborted the call", meanings.TRY_LATER)
CANCELLED = Meaning(KmsUnavailable, "cancelled", "the call to the KMS was cancelled", meanings.TRY_LATER)
CALL_FAILED = Meaning(KmsUnavailable, "call-failed", "the call to the KMS failed", meanings.TRY_LATER)
DAMAGED = Meaning(
    KmsUnavailable,
    "damaged",
    "request or reply was damaged on the way between here and the KMS",
    meanings.TRY_LATER,
)
NOT_FROM_KMS = replace(meanings.NO_ANSWER, text="something between here and the KMS answered in its place")
NO_CREDENTIALS = replace(
    meanings.NO_CREDENTIALS,
    hint="give credentials: gcloud auth application-default login, GOOGLE_APPLICATION_CREDENTIALS, the option "
    "credentials, or a service account attached to this machine",
)
EXTERNAL = Meaning(
    KmsUnavailable,
    "key-store-down",
    "the external key manager behind the KMS gave no answer",
    "look at the external key manager (Cloud EKM)",
)

NOT_PERMITTED = replace(
    meanings.NOT_PERMITTED,
    text="the KMS refused: permission is missing",
    hint="grant {permission} on the key (role roles/cloudkms.cryptoKeyEncrypterDecrypter)",
)
NOT_FOUND = replace(
    meanings.NOT_FOUND,
    text="the KMS has no such key",
    hint="check the resource name: project, location, key ring and key; a key of another location is not found"
    + meanings.RETIRED,
)
UNUSABLE = replace(
    meanings.UNUSABLE,
    text="the key is disabled, destroyed, or not made for encryption",
    hint="enable or restore its primary version, or configure a key with purpose ENCRYPT_DECRYPT" + meanings.RETIRED,
)

BAD_CIPHERTEXT = replace(meanings.BAD_CIPHERTEXT, text="the ciphertext does not open under this key and context")
NO_VERSION = Meaning(
    InvalidCiphertext,
    "no-version",
    "the recorded key version is not one of Google Cloud KMS",
    meanings.CHECK_BINDING,
)

MEANINGS = (
    *(meanings.TIMED_OUT, meanings.UNREACHABLE, THROTTLED, SERVER_ERROR, ABORTED, CANCELLED, CALL_FAILED, DAMAGED),
    *(NOT_FROM_KMS, NO_CREDENTIALS, meanings.CREDENTIALS_REJECTED, EXTERNAL, meanings.CLOSED, meanings.FAULT),
    *(NOT_PERMITTED, NOT_FOUND, UNUSABLE),
    *(BAD_CIPHERTEXT, NO_VERSION),
)
