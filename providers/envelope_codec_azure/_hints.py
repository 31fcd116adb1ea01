"""The meanings that are Key Vault's own, each with its hint. Imports no SDK."""

from __future__ import annotations

from dataclasses import replace

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.provider import Meaning, meanings

_VERSIONS = "az keyvault key list-versions shows them"
_RECOVER = "check the name; a deleted key comes back with az keyvault key recover"

NO_CREDENTIALS = replace(
    meanings.NO_CREDENTIALS,
    hint="give this process a managed or workload identity, set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    "AZURE_CLIENT_SECRET, or log in with `az login`; AZURE_TOKEN_CREDENTIALS names the one to use",
)
CREDENTIALS_REJECTED = replace(
    meanings.CREDENTIALS_REJECTED,
    hint="check that the identity is of the vault's own tenant; log in again; check this machine's clock",
)
THROTTLED = replace(
    meanings.THROTTLED, hint="give the keys a vault of their own: a vault's limits hold for all who use it"
)
NOT_PERMITTED = replace(
    meanings.NOT_PERMITTED, hint="grant {permission} on the key, or on the vault; a new role takes some minutes to work"
)
FORBIDDEN = Meaning(KeyDenied, "forbidden", "the vault refused to use the key", "the log has the vault's own words")
NETWORK_FORBIDDEN = Meaning(
    KeyDenied,
    "network-forbidden",
    "the vault takes no requests from this network",
    "allow this address in the vault's firewall, or reach it through its private endpoint",
)
DISABLED = replace(
    meanings.DISABLED,
    text="the version of the key is disabled",
    hint=f"enable it again, with all others in use: {_VERSIONS}{meanings.RETIRED}",
)
EXPIRED = Meaning(
    KeyDenied,
    "expired",
    "the latest version of the key is outside its dates of use",
    "make a new version, or change the dates; old versions open records also when they have expired",
)
NOT_FOUND = replace(
    meanings.NOT_FOUND,
    text="the key, or the version of it, does not exist",
    hint=_RECOVER + meanings.RETIRED,
)
WRONG_USAGE = replace(
    meanings.WRONG_USAGE,
    hint="configure a key of type RSA, RSA-HSM or oct-HSM that permits wrapKey and unwrapKey (oct-HSM: encrypt and "
    "decrypt)",
)
FORKED = Meaning(
    KmsUnavailable,
    "forked-client",
    "the client that was given belongs to the process before the fork",
    "make the master key in the child process, or give options instead of client=",
)
NO_SIGN_KEY = Meaning(
    KeyDenied,
    "no-sign-key",
    "the key is an RSA key, which binds no context, and no signing key is configured",
    "whoever has the public key could forge records for every namespace. Add sign_key=NAME to the key URI: a key of "
    "type EC with curve P-256 in the same vault. Or use an oct-HSM key of a Managed HSM",
)
NO_SUCH_VERSION = Meaning(
    InvalidCiphertext,
    "no-such-version",
    "the key never had the version that is recorded",
    "versions don't go one by one: was the key purged, and made anew under the same name? Then its records are lost",
)
OTHER_SIGNER = Meaning(
    InvalidCiphertext,
    "other-signer",
    "signed by a key that is not configured",
    "if the signing key was replaced, name the old one after the new one: sign_key=NEW,OLD",
)
BAD_SIGNATURE = Meaning(
    InvalidCiphertext,
    "bad-signature",
    "the signature does not belong to the ciphertext and its context",
    meanings.REPORT,
)

_SIGNING = (
    replace(
        NOT_PERMITTED,
        code="sign-key-not-permitted",
        text="permission to use the signing key is missing",
        hint="grant keys/read on the signing key, and keys/sign/action where records are made",
    ),
    replace(FORBIDDEN, code="sign-key-forbidden", text="the vault refused to use the signing key"),
    replace(
        DISABLED,
        code="sign-key-disabled",
        text="the version of the signing key is disabled",
        hint=f"enable it again: records that it signed don't open without it. {_VERSIONS}",
    ),
    replace(EXPIRED, code="sign-key-expired", text="the latest version of the signing key is outside its dates of use"),
    replace(
        NOT_FOUND,
        code="sign-key-not-found",
        text="the signing key, or the version of it, does not exist",
        hint=_RECOVER,
    ),
    replace(
        WRONG_USAGE,
        code="sign-key-wrong-usage",
        text="the signing key is not made for signatures with P-256",
        hint="name a key of type EC or EC-HSM with curve P-256 that permits sign",
    ),
)
SIGN_KEY_WRONG_USAGE = _SIGNING[-1]
SIGN_KEY_DISABLED = _SIGNING[2]

OF_SIGNING_KEY = {meaning.code.removeprefix("sign-key-"): meaning for meaning in _SIGNING}
"""What a meaning is when the signing key is concerned, by its code."""

_OWN = (
    *(NO_CREDENTIALS, CREDENTIALS_REJECTED, THROTTLED, NOT_PERMITTED, FORBIDDEN, NETWORK_FORBIDDEN, DISABLED, EXPIRED),
    *(NOT_FOUND, NO_SUCH_VERSION, WRONG_USAGE, FORKED, NO_SIGN_KEY, OTHER_SIGNER, BAD_SIGNATURE, *_SIGNING),
)

MEANINGS = (
    *_OWN,
    *(meaning for meaning in meanings.COMMON if meaning.code not in {own.code for own in _OWN}),
)
"""Everything that a call can fail with."""
