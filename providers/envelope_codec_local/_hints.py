"""What the failures of a key file mean, and what to do about each."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

MISSING = Meaning(
    KmsUnavailable,
    "file-missing",
    "the key file is missing",
    "put it back, or make one: envelope-codec keygen FILE",
)
UNREADABLE = Meaning(KmsUnavailable, "file-unreadable", "the key file can't be read", "check the file's owner and mode")
NOT_PRIVATE = Meaning(
    KmsUnavailable,
    "file-not-private",
    "the key file is no longer private to its owner",
    "make it private: chmod 600 FILE",
)
NOT_VALID = Meaning(KmsUnavailable, "file-not-valid", "the key file is no longer valid", "put a valid one back")

ANOTHER_KEY = Meaning(
    KeyDenied,
    "file-replaced",
    "the key file now holds another key",
    "put the old key file back, or name it in decrypt_keys",
)
REMOVED = Meaning(
    KeyDenied,
    "version-removed",
    "this version was removed from the key file",
    "put it back, or seal anew" + meanings.RETIRED,
)
DISABLED = replace(
    meanings.DISABLED,
    text="this version is disabled in the key file",
    hint="enable it: envelope-codec keygen FILE --enable VERSION" + meanings.RETIRED,
)

BAD_CIPHERTEXT = replace(meanings.BAD_CIPHERTEXT, hint=meanings.REPORT)
OTHER_KEY = replace(meanings.OTHER_KEY, text="wrapped by another key file")
NO_CIPHERTEXT = Meaning(InvalidCiphertext, "no-ciphertext", "not a ciphertext of a key file", meanings.REPORT)

MEANINGS = (
    *(MISSING, UNREADABLE, NOT_PRIVATE, NOT_VALID, meanings.FAULT),
    *(ANOTHER_KEY, REMOVED, DISABLED),
    *(BAD_CIPHERTEXT, OTHER_KEY, NO_CIPHERTEXT),
)
