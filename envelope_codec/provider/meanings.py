"""What fails alike with every KMS. A provider takes these meanings as they are, or with a hint of its own.

::

    DISABLED = replace(meanings.DISABLED, hint="enable it: my-kms enable KEY")
"""

from __future__ import annotations

from envelope_codec._facts import Meaning
from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable

CHECK_NETWORK = "check the network from here to the KMS: DNS, firewall, proxy, and the endpoint that is configured"
CHECK_TLS = "check which certificates are trusted here, TLS-inspecting proxies, and this machine's clock"
CHECK_SENDER = "something else answered: check the address, and proxies and gateways before the KMS"
CHECK_BINDING = "the KMS does not bind the context as it should, or something changes what it sends: check the endpoint"
TRY_LATER = "try again; if it goes on, look at the provider's status page and at your quotas"
RETIRED = (
    "; if it was retired, name the keystore that has its wrapping keys (setting keystore) and take this key out of the "
    "settings: docs/rekeying.md"
)
REPORT = "a key that wraps and then does not know its own work can't be used: check for a proxy, and report it"

# No answer, which says nothing about the key.
TIMED_OUT = Meaning(KmsUnavailable, "timed-out", "the KMS did not answer in time", CHECK_NETWORK)
UNREACHABLE = Meaning(KmsUnavailable, "unreachable", "the KMS could not be reached", CHECK_NETWORK)
NO_TLS = Meaning(KmsUnavailable, "no-tls", "no trusted TLS connection to the KMS", CHECK_TLS)
THROTTLED = Meaning(KmsUnavailable, "throttled", "the KMS throttled the request", "ask for a higher quota, or wait")
SERVER_ERROR = Meaning(KmsUnavailable, "server-error", "the KMS failed with a server error", TRY_LATER)
NO_ANSWER = Meaning(KmsUnavailable, "no-answer", "the KMS gave no usable answer", CHECK_SENDER)
NO_CREDENTIALS = Meaning(
    KmsUnavailable,
    "no-credentials",
    "no valid credentials for the KMS could be obtained",
    "log in, or give this process credentials",
)
CREDENTIALS_REJECTED = Meaning(
    KmsUnavailable,
    "credentials-rejected",
    "the KMS did not take the credentials, which may have expired",
    "log in again or renew the credentials; if they are good, check this machine's clock",
)
CLOSED = Meaning(
    KmsUnavailable, "closed", "this master key is closed", "use no client, worker or codec after it was closed"
)
FAULT = Meaning(
    KmsUnavailable,
    "fault",
    "the provider failed unexpectedly",
    "a fault of the provider or of the SDK under it: the log has its class and place; report it",
)

# Refusals, which end leases and evict keys at once.
NOT_PERMITTED = Meaning(
    KeyDenied,
    "not-permitted",
    "permission to use the key is missing",
    "grant {permission} on the key",
    lacks_permission=True,
)
DISABLED = Meaning(KeyDenied, "disabled", "the key is disabled", "enable it, or configure another key" + RETIRED)
NOT_FOUND = Meaning(KeyDenied, "not-found", "the key does not exist", "check the name of the key" + RETIRED)
UNUSABLE = Meaning(
    KeyDenied,
    "unusable",
    "the key is pending deletion or otherwise not usable",
    "restore it, or configure another key" + RETIRED,
)
WRONG_USAGE = Meaning(
    KeyDenied,
    "wrong-usage",
    "the key is not made for encryption and decryption",
    "configure a key that encrypts and decrypts",
)
REFUSED = Meaning(KeyDenied, "refused", "the KMS refused the request as invalid", "look at what the KMS says")

# What was wrapped does not open.
BAD_CIPHERTEXT = Meaning(
    InvalidCiphertext, "bad-ciphertext", "the ciphertext or its context was changed", CHECK_BINDING
)
OTHER_KEY = Meaning(InvalidCiphertext, "other-key", "wrapped by another key", REPORT)

COMMON = (
    *(TIMED_OUT, UNREACHABLE, NO_TLS, THROTTLED, SERVER_ERROR, NO_ANSWER, NO_CREDENTIALS, CREDENTIALS_REJECTED),
    *(CLOSED, FAULT, NOT_PERMITTED, DISABLED, NOT_FOUND, UNUSABLE, WRONG_USAGE, REFUSED, BAD_CIPHERTEXT, OTHER_KEY),
)
