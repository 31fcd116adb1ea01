"""`AzureKeyVault`: a master key in Azure Key Vault or in a Managed HSM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from azure.core.credentials import TokenProvider
from azure.keyvault.keys import KeyClient
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256

from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes
from envelope_codec.provider import (
    Failed,
    asks_kms,
    check_no_options,
    frameless,
    meanings,
    parse_options,
    seconds,
)
from envelope_codec_azure._connection import Connection
from envelope_codec_azure._errors import ERRORS, VaultRefused
from envelope_codec_azure._facts import FACTS
from envelope_codec_azure._hints import BAD_SIGNATURE, NO_SIGN_KEY, OTHER_SIGNER, WRONG_USAGE
from envelope_codec_azure._key_id import VaultKey, is_version
from envelope_codec_azure._options import SIGN_KEY_REFRESH, check_sign_keys, choose_route
from envelope_codec_azure._proxy import read_version
from envelope_codec_azure._signed import (
    NotSigned,
    SignedCiphertext,
    Signer,
    digest_of,
    with_low_s,
)
from envelope_codec_azure._signers import Signers
from envelope_codec_azure._vault import OCT, RSA, KeyReply, Vault

_NONCE, _SECRET, _TAG = 12, 32, 16


class AzureKeyVault:
    """A `MasterKey` in Azure Key Vault or in a Managed HSM.

    An ``oct-HSM`` key encrypts with A256GCM and binds the context as additional authenticated data.

    An RSA key, of 2048, 3072 or 4096 bits, binds nothing, and whoever has its public key can encrypt with it. So a
    second key of the vault, ``sign_key``, signs what belongs together. The signature is verified in this process
    before the vault is asked to unwrap: what it does not belong to never reaches the vault. An RSA key without a
    signing key is refused. Whoever may use the signing key can forge records for every namespace of this master key.

    Each wrap reads the key from the vault, and uses its latest version. For an RSA key the secret is encrypted in this
    process, with the public key just read, so it does not travel; then the vault signs. Unwrapping, decrypting and
    signing are always done by the vault; what opens is exactly the version that the record names.

    Records open as long as the version that wrapped them, and the version that signed them, is enabled. Neither has to
    be the latest. Expired versions open records; they make no new ones.

    Connections are opened, and tokens asked for, at the first call in each process. Nothing is retried here. A
    credential that gives no token is no answer (`KmsUnavailable`) and no refusal of the key.

    Args:
        host: the whole host name of the vault or Managed HSM, in lower case.
        key: name of the key, without a version.
        sign_key: name of a signing key in the same vault (EC or EC-HSM, P-256), or several: the first one signs, and
            signatures of all of them are accepted.
        sign_key_refresh: seconds for which the public key of a signing key is used before the vault is asked again; 300
            by default.
        client: a client to use as it is; it is not closed, and not used in a forked child. It excludes the arguments
            below.
        credential: a credential of ``azure-identity``; by default a `DefaultAzureCredential`. It is not closed.
        client_id: client id of the managed identity or workload identity.
        ca_bundle: file or folder of CA certificates.
        endpoint: ``https://HOST:PORT`` of a test server or a tunnel on this machine.
        connect_timeout: seconds; 2 by default.
        read_timeout: seconds between two reads; 5 by default.

    Raises:
        ConfigurationError: a setting is wrong, or of no use with the others.
    """

    @frameless
    def __init__(
        self,
        host: str,
        key: str,
        *,
        sign_key: str | Sequence[str] | None = None,
        sign_key_refresh: float | None = None,
        client: KeyClient | None = None,
        credential: TokenProvider | None = None,
        client_id: str | None = None,
        ca_bundle: str | Path | None = None,
        endpoint: str | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
    ) -> None:
        self._key = VaultKey(host, key)
        names = check_sign_keys(sign_key, self._key)
        refresh = seconds("sign_key_refresh", sign_key_refresh, SIGN_KEY_REFRESH)
        options = {
            "client_id": client_id,
            "ca_bundle": ca_bundle,
            "endpoint": endpoint,
            "connect_timeout": connect_timeout,
            "read_timeout": read_timeout,
        }
        if client is not None:
            check_no_options({"credential": credential, **options})
            connection = Connection.given(client, self._key)
        else:
            check_no_options({"client_id": client_id} if credential is not None else {})
            route = choose_route(self._key, **options)  # type: ignore[arg-type]
            connection = Connection.to(self._key, route, credential)
        self._vault = Vault(self._key.host, connection)
        self._signers = Signers(self._vault, names, refresh=refresh)

    @classmethod
    def from_uri(cls, uri: str, /) -> AzureKeyVault:
        """Make a master key from ``azurekv://HOST/KEY``, with the constructor's settings as options.

        As in ``azurekv://example.vault.azure.net/payloads?sign_key=payloads-signer``.

        Raises:
            ConfigurationError: the URI or an option is wrong.
        """
        parsed, options = parse_options(uri, FACTS)
        return cls(parsed.authority, parsed.path, **options)

    @property
    def key_id(self) -> str:
        """``azurekv://HOST/KEY``."""
        return self._key.id

    def accepts(self, key_id: str) -> bool:
        """Tell whether ``key_id`` is this key's, letter by letter."""
        return key_id == self._key.id

    @asks_kms("wrap", ERRORS)
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt under the latest version of the key, which is recorded."""
        bound = context_bytes(context)
        key = self._vault.read_key(self._key.name)
        if key.kty in OCT:
            ciphertext = self._encrypt(key, secret, bound)
        elif key.kty in RSA:
            ciphertext = self._encrypt_and_sign(key, secret, bound)
        else:
            raise Failed(WRONG_USAGE)
        return WrappedSecret(self._key.id, key.version, ciphertext)

    @asks_kms("unwrap", ERRORS)
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with exactly the version that the record names.

        The vault's success proves that version, and for an RSA key the version that signed as well: a lease that one of
        them has is none for what another version signed.
        """
        bound = context_bytes(context)
        version, ciphertext = wrapped.key_version, wrapped.ciphertext
        if not is_version(version):
            raise Failed(meanings.BAD_CIPHERTEXT)
        if len(ciphertext) == _NONCE + _SECRET + _TAG:
            return Unwrapped(self._decrypt(version, ciphertext, bound), version)
        signed = self._verify(version, ciphertext, bound)
        secret = self._vault.unwrap_key(self._key.name, version, signed.oaep)
        return Unwrapped(secret, f"{version} {signed.signer}")

    def proxy_unwrapper(self, uri: str) -> Callable[[bytes], bytes]:
        """Return a function that decrypts what Temporal's proxy had encrypted under this key, which it calls ``uri``.

        The key is an RSA key. Like the proxy, this asks for the version that ``uri`` names, or else for the latest one.
        It needs ``keys/decrypt/action``. Whoever has the public key can make what it decrypts.

        Raises:
            ConfigurationError: ``uri`` is of another key, or of another algorithm than RSA-OAEP-256.
        """
        return partial(self._unwrap_proxied, read_version(uri, self._key))

    @asks_kms("unwrap", ERRORS)
    def _unwrap_proxied(self, version: str, ciphertext: bytes) -> bytes:
        return self._vault.decrypt_rsa(self._key.name, version, ciphertext)

    def close(self) -> None:
        """Close the connection that this object made. Final: a later call gets `KmsUnavailable`."""
        self._vault.close()

    def __repr__(self) -> str:
        return f"AzureKeyVault({self._key.id!r})"

    def _encrypt(self, key: KeyReply, secret: bytes, bound: bytes) -> bytes:
        key.check_usable("encrypt")
        return b"".join(self._vault.encrypt(self._key.name, key.version, secret, bound))

    def _decrypt(self, version: str, ciphertext: bytes, bound: bytes) -> bytes:
        nonce, rest = ciphertext[:_NONCE], ciphertext[_NONCE:]
        return self._vault.decrypt(self._key.name, version, nonce, rest[:_SECRET], rest[_SECRET:], bound)

    def _encrypt_and_sign(self, key: KeyReply, secret: bytes, bound: bytes) -> bytes:
        if not self._signers:
            raise Failed(NO_SIGN_KEY)
        key.check_usable("wrapKey")
        oaep = key.rsa_public_key().encrypt(secret, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))
        return self._sign(key.version, oaep, bound)

    def _sign(self, version: str, oaep: bytes, bound: bytes) -> bytes:
        signer, public = self._signers.find_current()
        try:
            return self._sign_as(signer, public, version, oaep, bound)
        except VaultRefused as refused:
            if refused.status not in (403, 404):
                raise
            # It was the latest version when it was read. Since then it may have been replaced, and disabled.
            latest, public = self._signers.find_current(anew=True)
            if latest == signer:
                raise
            return self._sign_as(latest, public, version, oaep, bound)

    def _sign_as(
        self, signer: Signer, public: EllipticCurvePublicKey, version: str, oaep: bytes, bound: bytes
    ) -> bytes:
        digest = self._digest(version, signer, oaep, bound)
        signature = with_low_s(self._vault.sign(signer.name, signer.version, digest))
        signed = SignedCiphertext(oaep, signer, signature)
        if not signed.is_signed_by(public, digest):
            raise Failed(meanings.NO_ANSWER)
        return bytes(signed)

    def _verify(self, version: str, ciphertext: bytes, bound: bytes) -> SignedCiphertext:
        """Read the ciphertext, if a configured key signed it together with this key, ``version`` and context."""
        try:
            signed = SignedCiphertext.parse(ciphertext)
        except NotSigned:
            raise Failed(meanings.BAD_CIPHERTEXT) from None
        if signed.signer not in self._signers:
            raise Failed(OTHER_SIGNER)
        public = self._signers.find_public_key(signed.signer)
        if not signed.is_signed_by(public, self._digest(version, signed.signer, signed.oaep, bound)):
            raise Failed(BAD_SIGNATURE)
        return signed

    def _digest(self, version: str, signer: Signer, oaep: bytes, bound: bytes) -> bytes:
        return digest_of(key_id=self._key.id, key_version=version, signer=signer, context=bound, oaep=oaep)
