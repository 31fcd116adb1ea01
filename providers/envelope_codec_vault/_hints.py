"""What the failures of Vault mean, and what to do about each. Imports no SDK."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

# Who asks
CREDENTIALS = replace(
    meanings.CREDENTIALS_REJECTED,
    text="the KMS did not take the credentials: expired, revoked or unknown",
    hint="log in again (vault login), set VAULT_TOKEN, or configure a login (option auth), which is made again by "
    "itself; a token is unknown in any namespace but its own and those below it, and the key's is {where}",
)
UNREADABLE = Meaning(
    KmsUnavailable,
    "credentials-unreadable",
    "a file with credentials for the KMS could not be read",
    "check that the file of token_file, secret_id_file, jwt_file or client_cert is there, whole, and may be read",
)
LOGIN_FAILED = Meaning(
    KmsUnavailable,
    "login-failed",
    "no login to the KMS",
    "check the login that is configured: role, secret id or service account, and auth_mount",
)
LOGIN_REFUSED = Meaning(
    KmsUnavailable,
    "login-refused",
    "the KMS refused the login",
    "no policy is to blame: the secret id is used up, expired or wrong, or the service account is not bound to the "
    "role. Make a new secret id (vault write -f auth/approle/role/ROLE/secret-id) and put it in its file, which is "
    "noticed at once; the login is at auth_mount in the key's namespace, which is {where}",
)
LOGIN_LOCKED = Meaning(
    KmsUnavailable,
    "login-locked",
    "the KMS refused the login, as it does while a role is locked",
    "no policy is to blame: after 5 refused logins Vault locks a role for 15 minutes. Find the process with a dead "
    "secret id, then wait, or unlock the role (vault write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID). Addresses "
    "that are not allowed (CIDR) are refused alike",
)

LOGIN_ROLE = Meaning(
    KmsUnavailable,
    "login-role",
    "the KMS knows no such login role",
    "check the option role, and make the role at auth_mount in the namespace of the login (auth_namespace, else the "
    "key's, which is {where})",
)
LOGIN_EXPIRED = Meaning(
    KmsUnavailable,
    "login-expired",
    "the KMS refused the login: its JWT or certificate has expired, or is not valid yet",
    "renew what jwt_file or client_cert names, and find out why nobody did; it is read again at each login. Check both "
    "clocks",
)
LOGIN_AUDIENCE = Meaning(
    KmsUnavailable,
    "login-audience",
    "the KMS refused the login: the JWT is for another audience",
    "have the JWT issued for an audience of the role (bound_audiences, or audience of a Kubernetes role)",
)
LOGIN_SIGNATURE = Meaning(
    KmsUnavailable,
    "login-signature",
    "the KMS refused the login: the JWT is not of an issuer that it trusts",
    "check that jwt_file holds a JWT, and compare its issuer and key with auth/MOUNT/config of Vault",
)
LOGIN_NOT_BOUND = Meaning(
    KmsUnavailable,
    "login-not-bound",
    "the KMS refused the login: the role is not for this identity",
    "bind the role to this workload: bound_claims or bound_subject of a JWT role, bound_service_account_names and "
    "-namespaces of a Kubernetes role",
)
LOGIN_CERTIFICATE = Meaning(
    KmsUnavailable,
    "login-certificate",
    "the KMS did not accept the client certificate for the login",
    "check client_cert and client_key: a CA of the role must have signed the certificate, and the role must allow its "
    "names. TLS must end at Vault itself, not at a load balancer before it",
)
LOGIN_NAMESPACE = Meaning(
    KmsUnavailable,
    "login-namespace",
    "the namespace of the login does not exist",
    "check auth_namespace; without it the login is in the key's own namespace, which is {where}",
)
NO_IDENTITY = Meaning(
    KmsUnavailable,
    "no-identity",
    "the cloud gave this process no identity to log in to the KMS with",
    "give the process an identity: credentials or a role for auth=aws; a metadata server, or application default "
    "credentials that may sign as gcp_service_account, for auth=gcp; a managed or workload identity for auth=azure",
)
AGENT_REJECTED = Meaning(
    KmsUnavailable,
    "agent-rejected",
    "the agent of the KMS has no token that the KMS takes",
    "look at the log of the Vault Agent or Proxy: its auto_auth must have logged in, and its api_proxy must have "
    "use_auto_auth_token = true; check that endpoint is the agent's listener and not Vault itself",
)
REFUSED_LOGINS = (
    *(LOGIN_REFUSED, LOGIN_LOCKED, LOGIN_ROLE, LOGIN_EXPIRED, LOGIN_AUDIENCE, LOGIN_SIGNATURE, LOGIN_NOT_BOUND),
    LOGIN_CERTIFICATE,
)

# The way there, and the server
THROTTLED = replace(meanings.THROTTLED, hint="raise Vault's rate limit quota, or wait")
SOCKET_MISSING = Meaning(
    KmsUnavailable,
    "socket-missing",
    "nobody listens on the socket of the KMS's agent",
    "start the Vault Agent or Proxy, and check the path: option endpoint=unix:///PATH is its listener's address",
)
SOCKET_FORBIDDEN = Meaning(
    KmsUnavailable,
    "socket-forbidden",
    "this process may not open the socket of the KMS's agent",
    "give this user the right to write to the socket: socket_user, socket_group, socket_mode of the agent's listener",
)
SEALED = Meaning(KmsUnavailable, "sealed", "the KMS is sealed, not initialized or in maintenance", "unseal Vault")
UNREACHABLE = replace(meanings.UNREACHABLE, hint=meanings.CHECK_NETWORK + " (option endpoint, or VAULT_ADDR)")
NO_TLS = replace(meanings.NO_TLS, hint=meanings.CHECK_TLS + " (option ca_bundle, or VAULT_CACERT)")
REDIRECT = Meaning(
    KmsUnavailable,
    "redirected",
    "the KMS redirected to another origin",
    "give the address of the node or load balancer that it redirects to",
)

# The key, and the permission to use it
NOT_PERMITTED = replace(
    meanings.NOT_PERMITTED,
    hint='add to the token\'s policies: path "{path}" {{ capabilities = ["update"] }}; a token of a namespace above '
    "the key's needs that namespace before the path",
)
OTHER_NAMESPACE = Meaning(
    KeyDenied,
    "other-namespace",
    "the token is of another namespace than the key, and may not use it",
    "the policy need not change: the token is good in its own namespace alone. Give the key URI the option namespace, "
    "or use a token of the key's namespace, which is {where}. A login elsewhere is auth_namespace",
)
POLICY_ALLOWS = Meaning(
    KeyDenied,
    "policy-allows",
    "the KMS refused, though the token's policies name the key's path",
    "the path in the policy is right: look at its allowed_parameters (plaintext, ciphertext, associated_data and type "
    "are sent), at Sentinel policies and control groups, and at Vault's audit log",
)
NOT_TRANSIT = Meaning(
    KeyDenied,
    "not-transit",
    "the mount is not a Transit engine",
    "check the option mount: it names another kind of engine",
)
NOT_FOUND = replace(
    meanings.NOT_FOUND,
    hint="check the key's name and mount, or make it: vault write -f MOUNT/keys/NAME" + meanings.RETIRED,
)
NO_MOUNT = Meaning(
    KeyDenied,
    "no-mount",
    "the key's mount or namespace does not exist",
    "check the options mount and namespace, or enable the engine: vault secrets enable transit",
)
DELETED = Meaning(KeyDenied, "deleted", "the key is deleted", "restore it, or configure another key" + meanings.RETIRED)
VERSION_DENIED = Meaning(
    KeyDenied,
    "version-denied",
    "the key version is no longer allowed to decrypt",
    "lower the key's min_decryption_version, or seal anew" + meanings.RETIRED,
)
WRONG_TYPE = Meaning(
    KeyDenied,
    "wrong-type",
    "keys of this type can't bind a context: use aes256-gcm96 or chacha20-poly1305",
    "configure a key of one of these types",
)
DERIVED = Meaning(
    KeyDenied,
    "derived",
    "derived and convergent keys can't be used: use one without derivation",
    "configure a key made without derived=true",
)
REFUSED = replace(meanings.REFUSED, hint="look at what Vault says; it must be 1.13 or later")

# The ciphertext
NO_CIPHERTEXT = Meaning(InvalidCiphertext, "no-ciphertext", "not a ciphertext of Vault Transit", meanings.CHECK_BINDING)
OTHER_VERSION = Meaning(
    InvalidCiphertext,
    "other-version",
    "the ciphertext is of another key version than recorded",
    meanings.CHECK_BINDING,
)
NO_SUCH_VERSION = Meaning(
    InvalidCiphertext,
    "no-such-version",
    "the ciphertext names a key version that does not exist",
    "a replica lags behind a rotation: try again",
)

MEANINGS = (
    *(CREDENTIALS, UNREADABLE, LOGIN_FAILED, *REFUSED_LOGINS, LOGIN_NAMESPACE, NO_IDENTITY, AGENT_REJECTED),
    *(SOCKET_MISSING, SOCKET_FORBIDDEN),
    *(THROTTLED, meanings.SERVER_ERROR, SEALED, meanings.TIMED_OUT, UNREACHABLE, NO_TLS, REDIRECT),
    *(meanings.NO_ANSWER, meanings.CLOSED, meanings.FAULT),
    *(NOT_PERMITTED, OTHER_NAMESPACE, POLICY_ALLOWS, NOT_TRANSIT, NOT_FOUND, NO_MOUNT, DELETED, VERSION_DENIED),
    *(WRONG_TYPE, DERIVED, REFUSED),
    *(meanings.BAD_CIPHERTEXT, NO_CIPHERTEXT, OTHER_VERSION, NO_SUCH_VERSION),
)
