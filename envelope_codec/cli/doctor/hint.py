"""What to do about an error of a KMS, by provider and by the error's reason, which is fixed text."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from envelope_codec.aws.meanings import CREDENTIALS, LOG_IN
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import UNEXPECTED

_NETWORK = "check the network from here to the KMS: DNS, firewall, proxy, and the endpoint that is configured"
_LATER = "try again; if it goes on, look at the provider's status page and at your quotas"
_TLS = "check which certificates are trusted here, TLS-inspecting proxies, and this machine's clock"
_NOT_FROM_KMS = "something else answered: check the address, and proxies and gateways before the KMS"
_CHANGED = "the KMS does not bind the context as it should, or something changes what it sends: check the endpoint"
_FAULT = "a fault of the provider or of the SDK under it: the log has its class and place; report it"
_REPORT = "a key that wraps and then does not know its own work can't be used: check for a proxy, and report it"

_AWS = {
    "permission to use the key is missing": "allow {permission} to this role, in its IAM policy and in the key's own; "
    "a condition on kms:EncryptionContext must fit temporal-namespace = {namespace} and envelope-codec:purpose = "
    "{purpose}",
    **{meaning.text: meaning.hint for meaning in CREDENTIALS},
    "the key is disabled": "enable it (aws kms enable-key), or configure another key",
    "the key is pending deletion or otherwise not usable": "cancel its deletion (aws kms cancel-key-deletion), then "
    "enable it; in a custom key store, connect the store",
    "the key does not exist": "check the ARN: the key is looked for in the region and account that the ARN names, so "
    "one of a wrong region is not found; an alias needs a key that it points at",
    "the key is not made for encryption and decryption": "configure a symmetric key with usage ENCRYPT_DECRYPT",
    "the KMS refused the request as invalid": "check that the context's names and values are ones that AWS takes",
    "AWS did not take the credentials: expired, unknown or wrongly signed": LOG_IN,
    "the KMS throttled the request": "ask for a higher quota of cryptographic operations, or wait",
    "the KMS failed with a server error": _LATER,
    "the KMS did not answer in time": _NETWORK + "; requests go to the ARN's region",
    "the KMS could not be reached": _NETWORK + "; requests go to the ARN's region",
    "no trusted TLS connection to the KMS": _TLS,
    "the key store behind the KMS gave no answer": "look at the custom key store: its cluster or proxy is down",
    "the KMS gave no usable answer": _NOT_FROM_KMS,
    UNEXPECTED: _FAULT,
    "the ciphertext or its context was changed": _CHANGED,
    "the ciphertext was made under another key": "an alias may just have been pointed at another key: try again",
    "not a ciphertext of AWS KMS": _CHANGED,
}

_GCP = {
    "the KMS refused: permission is missing": "grant {permission} on the key (role "
    "roles/cloudkms.cryptoKeyEncrypterDecrypter)",
    "the KMS has no such key": "check the resource name: project, location, key ring and key; a key of another "
    "location is not found",
    "the key is disabled, destroyed, or not made for encryption": "enable or restore its primary version, or configure "
    "a key with purpose ENCRYPT_DECRYPT",
    "the KMS did not take the credentials, which may have expired": "log in again or renew the credentials; if they "
    "are good, check this machine's clock",
    "no valid credentials for the KMS could be obtained": "give credentials: gcloud auth application-default login, "
    "GOOGLE_APPLICATION_CREDENTIALS, the option credentials, or a service account attached to this machine",
    "the KMS did not answer in time": _NETWORK,
    "the KMS could not be reached": _NETWORK,
    "something between here and the KMS answered in its place": _NOT_FROM_KMS,
    "the KMS is throttling": "ask for a higher quota of cryptographic requests, or wait",
    "the KMS had an internal error": _LATER,
    "the KMS aborted the call": _LATER,
    "the call to the KMS was cancelled": _LATER,
    "the call to the KMS failed": _LATER,
    UNEXPECTED: _FAULT,
    "the external key manager behind the KMS gave no answer": "look at the external key manager (Cloud EKM)",
    "request or reply was damaged on the way between here and the KMS": _LATER,
    "the ciphertext does not open under this key and context": _CHANGED,
    "the recorded key version is not one of Google Cloud KMS": _CHANGED,
}

_VAULT = {
    "permission to use the key is missing": 'add to the token\'s policies: path "{path}" {{ capabilities = '
    '["update"] }}; a token of a namespace above the key\'s needs that namespace before the path',
    "the token is of another namespace than the key, and may not use it": "the policy need not change: the token is "
    "good in its own namespace alone. Give the key URI the option namespace, or use a token of the key's namespace, "
    "which is {where}",
    "the KMS refused, though the token's policies name the key's path": "the path in the policy is right: look at its "
    "allowed_parameters (plaintext, ciphertext, associated_data and type are sent), at Sentinel policies and control "
    "groups, and at Vault's audit log",
    "the KMS did not take the credentials: expired, revoked or unknown": "log in again (vault login), set VAULT_TOKEN, "
    "or configure approle or kubernetes, which log in again by themselves; a token is unknown in any namespace but its "
    "own and those below it, and the key's is {where}",
    "no login to the KMS": "check the login that is configured: role, secret id or service account, and auth_mount",
    "the KMS refused the login": "no policy is to blame: the secret id is used up, expired or wrong, or the service "
    "account is not bound to the role. Make a new secret id (vault write -f auth/approle/role/ROLE/secret-id) and put "
    "it in its file, which is noticed at once; the login is at auth_mount in the key's namespace, which is {where}",
    "the KMS refused the login, as it does while a role is locked": "no policy is to blame: after 5 refused logins "
    "Vault locks a role for 15 minutes. Find the process with a dead secret id, then wait, or unlock the role (vault "
    "write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID). Addresses that are not allowed (CIDR) are refused alike",
    "a file with credentials for the KMS could not be read": "check that the file of token_file, secret_id_file or "
    "jwt_file is there, holds one credential, and may be read",
    "the key does not exist": "check the key's name and mount, or make it: vault write -f MOUNT/keys/NAME",
    "the key's mount or namespace does not exist": "check the options mount and namespace, or enable the engine: vault "
    "secrets enable transit",
    "the mount is not a Transit engine": "check the option mount: it names another kind of engine",
    "the key is deleted": "restore it, or configure another key",
    "the key version is no longer allowed to decrypt": "lower the key's min_decryption_version, or seal anew",
    "keys of this type can't bind a context: use aes256-gcm96 or chacha20-poly1305": "configure a key of one of these "
    "types",
    "derived and convergent keys can't be used: use one without derivation": "configure a key made without "
    "derived=true",
    "the KMS refused the request as invalid": "look at what Vault says; it must be 1.13 or later",
    "the KMS throttled the request": "raise Vault's rate limit quota, or wait",
    "the KMS failed with a server error": _LATER,
    "the KMS is sealed, not initialized or in maintenance": "unseal Vault",
    "the KMS did not answer in time": _NETWORK,
    "the KMS could not be reached": _NETWORK + " (option address, or VAULT_ADDR)",
    "no trusted TLS connection to the KMS": _TLS + " (option ca_bundle, or VAULT_CACERT)",
    "the KMS redirected to another origin": "give the address of the node or load balancer that it redirects to",
    "the KMS gave no usable answer": _NOT_FROM_KMS,
    UNEXPECTED: _FAULT,
    "the ciphertext or its context was changed": _CHANGED,
    "not a ciphertext of Vault Transit": _CHANGED,
    "the ciphertext is of another key version than recorded": _CHANGED,
    "the ciphertext names a key version that does not exist": "a replica lags behind a rotation: try again",
}

_LOCAL = {
    UNEXPECTED: _FAULT,
    "the key file now holds another key": "put the old key file back, or name it in decrypt_keys",
    "this version was removed from the key file": "put it back, or seal anew",
    "this version is disabled in the key file": "enable it: envelope-codec keygen FILE --enable VERSION",
    "the key file is missing": "put it back, or make one: envelope-codec keygen FILE",
    "the key file can't be read": "check the file's owner and mode",
    "the key file is no longer private to its owner": "make it private: chmod 600 FILE",
    "the key file is no longer valid": "put a valid one back",
    "the ciphertext or its context was changed": _REPORT,
    "wrapped by another key file": _REPORT,
    "not a ciphertext of a key file": _REPORT,
}

HINTS: Mapping[str, Mapping[str, str]] = {"awskms": _AWS, "gcpkms": _GCP, "hashivault": _VAULT, "localfile": _LOCAL}
"""By scheme and reason."""

_BY_KIND: tuple[tuple[type[EnvelopeError], str], ...] = (
    (KmsUnavailable, _NETWORK + "; check the credentials too"),
    (KeyDenied, "check that the key exists and is enabled, and that these credentials may use it"),
    (InvalidCiphertext, _REPORT),
)

_PERMISSIONS = {
    ("awskms", "wrap"): "kms:Encrypt",
    ("awskms", "unwrap"): "kms:Decrypt",
    ("gcpkms", "wrap"): "cloudkms.cryptoKeyVersions.useToEncrypt",
    ("gcpkms", "unwrap"): "cloudkms.cryptoKeyVersions.useToDecrypt",
}


def hint(scheme: str, operation: str, error: EnvelopeError, *, namespace: str, purpose: str, key_id: str) -> str:
    """What to do about ``error``.

    Args:
        scheme: of the key's URI; empty if it is unknown.
        operation: ``wrap`` or ``unwrap``.
        error: what the provider raised.
        namespace, purpose: what the call was bound to.
        key_id: of the master key.
    """
    text = HINTS.get(scheme, {}).get(error.reason)
    if text is None:
        return next((general for kind, general in _BY_KIND if isinstance(error, kind)), _REPORT)
    permission = _PERMISSIONS.get((scheme, operation), "")
    if scheme == "awskms" and operation == "unwrap" and ":alias/" in key_id:
        permission += " (and, for an alias, kms:DescribeKey without that condition)"
    path = _vault_path(key_id, operation) if scheme == "hashivault" else ""
    where = _vault_namespace(key_id) if scheme == "hashivault" else ""
    return text.format(permission=permission, namespace=namespace, purpose=purpose, path=path, where=where)


def _vault_namespace(key_id: str) -> str:
    return dict(parse_qsl(urlsplit(key_id).query)).get("namespace") or "the root namespace"


def _vault_path(key_id: str, operation: str) -> str:
    parts = urlsplit(key_id)
    mount = dict(parse_qsl(parts.query)).get("mount", "transit")
    return f"{mount}/{'encrypt' if operation == 'wrap' else 'decrypt'}/{parts.netloc}"
