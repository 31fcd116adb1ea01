"""A master key in Azure Key Vault: what is asked, in which order, and what is refused without a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys._shared import http_challenge_cache
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes
from envelope_codec_azure import AzureKeyVault
from envelope_codec_azure._signed import SignedCiphertext, Signer, digest_of, with_low_s
from tests.support.azure_vault import CONTEXT, SECRET, Azure, GivenToken, azure_vault
from tests.support.forked_child import in_child


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure_vault(tmp_path_factory.mktemp("vault")) as vault:
        yield vault


@pytest.fixture
def azure(vault: Azure) -> Azure:
    vault.forget()
    return vault


@pytest.fixture
def key(azure: Azure) -> Iterator[AzureKeyVault]:
    key = azure.open("rsa", sign_key="signer")
    yield key
    key.close()


def refuse(
    call: Callable[[], object], kind: type[EnvelopeError], code: str, azure: Azure, calls: list[str] | None = None
) -> None:
    azure.vault.calls.clear()
    with pytest.raises(EnvelopeError) as caught:
        call()
    assert (type(caught.value), caught.value.code) == (kind, code)
    if calls is not None:
        assert azure.calls == calls


# RSA, with a signature


def test_wrapping_reads_the_key_and_the_signer_and_has_the_vault_sign(azure: Azure, key: AzureKeyVault) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    assert azure.calls == ["get", "get", "sign"], "the secret is encrypted here: it does not travel"
    assert wrapped.key_id == "azurekv://envelope.vault.azure.net/rsa"
    signed = SignedCiphertext.parse(wrapped.ciphertext)
    assert signed.signer.name == "signer"
    assert azure.vault.calls[-1] == ("sign", "signer", signed.signer.version), "not simply the latest version"


def test_a_second_wrap_reads_the_key_again_and_the_signer_not(azure: Azure, key: AzureKeyVault) -> None:
    key.wrap(SECRET, CONTEXT)
    azure.forget()
    key.wrap(SECRET, CONTEXT)
    assert azure.calls == ["get", "sign"]


def test_unwrapping_asks_for_exactly_the_recorded_version(azure: Azure, key: AzureKeyVault) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    azure.create("rsa", "RSA")
    azure.forget()
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    assert azure.vault.calls[-1] == ("unwrapkey", "rsa", wrapped.key_version)


def test_what_is_proved_is_the_version_that_unwraps_and_the_one_that_signed(azure: Azure) -> None:
    """Otherwise a lease that a good signing key keeps alive would vouch for what a withdrawn one has signed."""
    signer = azure.create("proving", "EC")
    key = azure.open("rsa", sign_key="proving", sign_key_refresh=0.000001)
    wrapped = key.wrap(SECRET, CONTEXT)
    assert key.unwrap(wrapped, CONTEXT) == Unwrapped(SECRET, f"{wrapped.key_version} proving/{signer}")
    signer = azure.create("proving", "EC")
    later = key.wrap(SECRET, CONTEXT)
    assert later.key_version == wrapped.key_version
    assert key.unwrap(later, CONTEXT).version == f"{wrapped.key_version} proving/{signer}"


def test_a_reader_reads_the_public_key_once(azure: Azure, key: AzureKeyVault) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    reader = azure.open("rsa", sign_key="signer")
    azure.forget()
    for _ in range(3):
        reader.unwrap(wrapped, CONTEXT)
    assert azure.calls == ["get", "unwrapkey", "unwrapkey", "unwrapkey"]


@pytest.mark.parametrize("size", [3072, 4096])
def test_larger_rsa_keys_serve_too(azure: Azure, size: int) -> None:
    azure.create(f"rsa-{size}", "RSA-HSM", key_size=size)
    key = azure.open(f"rsa-{size}", sign_key="signer")
    wrapped = key.wrap(SECRET, CONTEXT)
    assert len(wrapped.ciphertext) == 1 + 2 + size // 8 + 2 + 39 + 64
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_an_rsa_key_without_a_signing_key_is_refused_with_the_reason(azure: Azure) -> None:
    key = azure.open("rsa")
    with pytest.raises(KeyDenied, match="RSA key, which binds no context, and no signing key is configured"):
        key.wrap(SECRET, CONTEXT)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "no-sign-key", azure, ["get"])


# What is refused before the vault is asked


class Forger:
    """Makes records as whoever has the public key can, and one of the private keys that it should not have."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self.key = azure.open("rsa", sign_key="signer")
        self.wrapped = self.key.wrap(SECRET, CONTEXT)
        self.parts = SignedCiphertext.parse(self.wrapped.ciphertext)
        self.signed: dict[str, Any] = {
            "key_id": self.wrapped.key_id,
            "key_version": self.wrapped.key_version,
            "signer": self.parts.signer,
            "context": context_bytes(CONTEXT),
            "oaep": self.parts.oaep,
        }

    def sign(self, private: ec.EllipticCurvePrivateKey | None = None, **other: Any) -> WrappedSecret:
        """The record, signed over ``other`` than it says; by the signing key itself without ``private``."""
        if private is None:
            with self.azure.vault.store.open() as store:
                private = store.key("signer").version(self.parts.signer.version)._ec()
        digest = digest_of(**{**self.signed, **other})
        r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        signature = with_low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return replace(self.wrapped, ciphertext=bytes(replace(self.parts, signature=signature)))


@pytest.fixture
def forger(azure: Azure) -> Forger:
    forger = Forger(azure)
    forger.key.unwrap(forger.wrapped, CONTEXT)
    azure.forget()
    return forger


def test_what_the_forger_signs_honestly_opens(forger: Forger) -> None:
    """Otherwise the tests below would show nothing."""
    assert forger.key.unwrap(forger.sign(), CONTEXT).secret == SECRET


@pytest.mark.parametrize(
    "other",
    [
        {"key_id": "azurekv://envelope.vault.azure.net/other"},
        {"key_id": "azurekv://other.vault.azure.net/rsa"},
        {"key_version": "0" * 32},
        {"signer": Signer("signer", "0" * 32)},
        {"signer": Signer("other", "0" * 32)},
        {"context": context_bytes({**CONTEXT, "temporal-namespace": "prod"})},
        {"context": b""},
        {"oaep": bytes(256)},
    ],
    ids=lambda other: ",".join(f"{name}" for name in other),
)
def test_a_signature_over_anything_else_is_refused_without_a_call(
    azure: Azure, forger: Forger, other: dict[str, Any]
) -> None:
    forged = forger.sign(**other)
    refuse(lambda: forger.key.unwrap(forged, CONTEXT), InvalidCiphertext, "bad-signature", azure, [])


def test_a_signature_of_an_unknown_key_is_refused_without_a_call(azure: Azure, forger: Forger) -> None:
    forged = forger.sign(ec.generate_private_key(ec.SECP256R1()))
    refuse(lambda: forger.key.unwrap(forged, CONTEXT), InvalidCiphertext, "bad-signature", azure, [])


def test_another_context_is_refused_without_a_call(azure: Azure, forger: Forger) -> None:
    other = {**CONTEXT, "temporal-namespace": "prod"}
    refuse(lambda: forger.key.unwrap(forger.wrapped, other), InvalidCiphertext, "bad-signature", azure, [])


def test_another_recorded_version_is_refused_without_a_call(azure: Azure, forger: Forger) -> None:
    """Signed is the version that the secret was wrapped under."""
    moved = replace(forger.wrapped, key_version=azure.create("rsa", "RSA"))
    refuse(lambda: forger.key.unwrap(moved, CONTEXT), InvalidCiphertext, "bad-signature", azure, [])


@pytest.mark.parametrize("version", ["", "0", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "../" + "0" * 29, " " * 32])
def test_a_version_that_is_no_32_hex_digits_is_refused_without_a_call(
    azure: Azure, forger: Forger, version: str
) -> None:
    other = replace(forger.wrapped, key_version=version)
    refuse(lambda: forger.key.unwrap(other, CONTEXT), InvalidCiphertext, "bad-ciphertext", azure, [])


def test_a_signer_that_is_not_configured_is_refused_without_a_call(azure: Azure, forger: Forger) -> None:
    azure.create("another", "EC")
    other = azure.open("rsa", sign_key="another")
    refuse(lambda: other.unwrap(forger.wrapped, CONTEXT), InvalidCiphertext, "other-signer", azure, [])


def test_a_record_of_an_rsa_key_is_refused_without_any_signing_key(azure: Azure, forger: Forger) -> None:
    other = azure.open("rsa")
    refuse(lambda: other.unwrap(forger.wrapped, CONTEXT), InvalidCiphertext, "other-signer", azure, [])


def test_the_name_of_a_signing_key_counts_letter_by_letter(azure: Azure, forger: Forger) -> None:
    """Key Vault takes names in letters of either case; a record has one spelling."""
    parts = replace(forger.parts, signer=Signer("SIGNER", forger.parts.signer.version))
    other = replace(forger.wrapped, ciphertext=bytes(parts))
    refuse(lambda: forger.key.unwrap(other, CONTEXT), InvalidCiphertext, "other-signer", azure, [])


def test_a_bare_oaep_ciphertext_is_refused_without_a_call(azure: Azure, forger: Forger) -> None:
    """What whoever has the public key can make."""
    bare = replace(forger.wrapped, ciphertext=forger.parts.oaep)
    refuse(lambda: forger.key.unwrap(bare, CONTEXT), InvalidCiphertext, "bad-ciphertext", azure, [])


def test_a_signed_ciphertext_that_is_not_oaep_is_refused_by_the_vault(azure: Azure, forger: Forger) -> None:
    forger.parts = replace(forger.parts, oaep=bytes(256))
    forged = forger.sign(oaep=bytes(256))
    refuse(lambda: forger.key.unwrap(forged, CONTEXT), InvalidCiphertext, "bad-ciphertext", azure, ["unwrapkey"])


def test_a_version_of_a_signing_key_that_there_never_was_is_refused(azure: Azure, forger: Forger) -> None:
    parts = replace(forger.parts, signer=Signer("signer", "0" * 32))
    other = replace(forger.wrapped, ciphertext=bytes(parts))
    refuse(lambda: forger.key.unwrap(other, CONTEXT), InvalidCiphertext, "no-such-version", azure, ["get", "get"])


def test_a_deleted_signing_key_denies_and_a_recovered_one_counts(azure: Azure) -> None:
    azure.create("dropped", "EC")
    wrapped = azure.open("rsa", sign_key="dropped").wrap(SECRET, CONTEXT)
    with azure.vault.store.open() as store:
        store.delete("dropped")
    fresh = azure.open("rsa", sign_key="dropped")
    refuse(lambda: fresh.unwrap(wrapped, CONTEXT), KeyDenied, "sign-key-not-found", azure, ["get", "get"])
    with azure.vault.store.open() as store:
        store.recover("dropped")
    assert fresh.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_version_of_an_oct_key_that_there_never_was_is_refused(azure: Azure) -> None:
    """Nobody has signed it: it stands in the record in clear."""
    key = azure.open("oct")
    forged = replace(key.wrap(SECRET, CONTEXT), key_version="0" * 32)
    refuse(lambda: key.unwrap(forged, CONTEXT), InvalidCiphertext, "no-such-version", azure, ["decrypt", "get"])


def test_a_deleted_oct_key_denies(azure: Azure) -> None:
    azure.create("cut", "oct-HSM")
    key = azure.open("cut")
    wrapped = key.wrap(SECRET, CONTEXT)
    with azure.vault.store.open() as store:
        store.delete("cut")
    refuse(lambda: key.unwrap(wrapped, CONTEXT), KeyDenied, "not-found", azure, ["decrypt", "get"])


@pytest.mark.parametrize(("name", "kty"), [("rsa", "RSA"), ("p384", "EC")])
def test_a_signer_that_is_no_p256_key_is_refused(azure: Azure, forger: Forger, name: str, kty: str) -> None:
    with azure.vault.store.open() as store:
        version = store.create(f"no-{name}", {"kty": kty, "crv": "P-384"})[1].id
    key = azure.open("rsa", sign_key=f"no-{name}")
    other = replace(forger.wrapped, ciphertext=bytes(replace(forger.parts, signer=Signer(f"no-{name}", version))))
    refuse(lambda: key.unwrap(other, CONTEXT), InvalidCiphertext, "bad-signature", azure, ["get"])
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "sign-key-wrong-usage", azure, ["get", "get"])


# The life of the keys


def test_disabling_the_version_that_wrapped_denies(azure: Azure, key: AzureKeyVault) -> None:
    version = azure.create("rsa", "RSA")
    wrapped = key.wrap(SECRET, CONTEXT)
    azure.change("rsa", version, enabled=False)
    refuse(lambda: key.unwrap(wrapped, CONTEXT), KeyDenied, "disabled", azure)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "disabled", azure, ["get"])
    azure.change("rsa", version, enabled=True)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_wrapping_notices_a_disabled_key_that_a_vault_would_still_wrap_under(azure: Azure) -> None:
    """Key Vault encrypts with a disabled key: a public key's work. Here that would be a day of payloads."""
    azure.create("stopped", "RSA", enabled=False)
    key = azure.open("stopped", sign_key="signer")
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "disabled", azure, ["get"])


@pytest.mark.parametrize("dates", [{"exp": 1}, {"nbf": 4_000_000_000}], ids=["expired", "not yet valid"])
def test_a_key_outside_its_dates_opens_and_does_not_wrap(
    azure: Azure, key: AzureKeyVault, dates: dict[str, int]
) -> None:
    version = azure.create("rsa", "RSA")
    wrapped = key.wrap(SECRET, CONTEXT)
    azure.change("rsa", version, expires=dates.get("exp"), not_before=dates.get("nbf"))
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "expired", azure, ["get"])
    azure.create("rsa", "RSA")


@pytest.mark.parametrize("name", ["rsa", "oct"])
def test_a_key_that_may_not_wrap_is_refused(azure: Azure, name: str) -> None:
    kty = {"rsa": "RSA", "oct": "oct-HSM"}[name]
    azure.create(f"{name}-idle", kty)
    azure.change(f"{name}-idle", operations=["sign"])
    key = azure.open(f"{name}-idle", sign_key="signer")
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "wrong-usage", azure, ["get"])


def test_a_key_of_another_type_is_refused(azure: Azure) -> None:
    azure.create("curve", "EC")
    key = azure.open("curve", sign_key="signer")
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "wrong-usage", azure, ["get"])


def test_a_deleted_key_denies_and_a_recovered_one_opens(azure: Azure) -> None:
    azure.create("gone", "RSA")
    key = azure.open("gone", sign_key="signer")
    wrapped = key.wrap(SECRET, CONTEXT)
    with azure.vault.store.open() as store:
        store.delete("gone")
    refuse(lambda: key.unwrap(wrapped, CONTEXT), KeyDenied, "not-found", azure)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "not-found", azure, ["get"])
    with azure.vault.store.open() as store:
        store.recover("gone")
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_new_version_of_the_signing_key_signs_after_a_while_and_old_signatures_count(azure: Azure) -> None:
    azure.create("rotated", "EC")
    key = azure.open("rsa", sign_key="rotated", sign_key_refresh=0.000001)
    old = key.wrap(SECRET, CONTEXT)
    version = azure.create("rotated", "EC")
    new = key.wrap(SECRET, CONTEXT)
    assert SignedCiphertext.parse(new.ciphertext).signer.version == version
    for wrapped in (old, new):
        assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_signing_version_that_was_replaced_and_disabled_is_replaced_here_too(azure: Azure) -> None:
    azure.create("moved", "EC")
    key = azure.open("rsa", sign_key="moved")
    old = SignedCiphertext.parse(key.wrap(SECRET, CONTEXT).ciphertext).signer
    version = azure.create("moved", "EC")
    azure.change("moved", old.version, enabled=False)
    azure.forget()
    wrapped = key.wrap(SECRET, CONTEXT)
    assert azure.calls == ["get", "sign", "get", "sign"]
    assert SignedCiphertext.parse(wrapped.ciphertext).signer.version == version


def test_a_disabled_signing_key_ends_wrapping_at_once(azure: Azure) -> None:
    version = azure.create("ended", "EC")
    key = azure.open("rsa", sign_key="ended")
    key.wrap(SECRET, CONTEXT)
    azure.change("ended", version, enabled=False)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KeyDenied, "sign-key-disabled", azure, ["get", "sign", "get"])


def test_a_disabled_signing_key_denies_readers_once_it_is_read_again(azure: Azure) -> None:
    version = azure.create("withdrawn", "EC")
    wrapped = azure.open("rsa", sign_key="withdrawn").wrap(SECRET, CONTEXT)
    azure.change("withdrawn", version, enabled=False)
    fresh = azure.open("rsa", sign_key="withdrawn")
    refuse(lambda: fresh.unwrap(wrapped, CONTEXT), KeyDenied, "sign-key-disabled", azure, ["get"])
    azure.change("withdrawn", version, enabled=True)
    assert fresh.unwrap(wrapped, CONTEXT).secret == SECRET


def test_an_expired_signing_key_still_counts_for_readers(azure: Azure) -> None:
    version = azure.create("aged", "EC")
    key = azure.open("rsa", sign_key="aged")
    wrapped = key.wrap(SECRET, CONTEXT)
    azure.change("aged", version, expires=int(time.time()) - 1)
    fresh = azure.open("rsa", sign_key="aged")
    assert fresh.unwrap(wrapped, CONTEXT).secret == SECRET
    refuse(lambda: fresh.wrap(SECRET, CONTEXT), KeyDenied, "sign-key-expired", azure, ["get", "get"])


def test_of_several_signing_keys_the_first_signs_and_all_count(azure: Azure) -> None:
    azure.create("next", "EC")
    before = azure.open("rsa", sign_key="signer")
    after = azure.open("rsa", sign_key=("next", "signer"))
    old, new = before.wrap(SECRET, CONTEXT), after.wrap(SECRET, CONTEXT)
    assert SignedCiphertext.parse(new.ciphertext).signer.name == "next"
    assert after.unwrap(old, CONTEXT).secret == after.unwrap(new, CONTEXT).secret == SECRET
    with pytest.raises(InvalidCiphertext):
        before.unwrap(new, CONTEXT)


def test_a_signature_that_was_damaged_on_the_way_is_no_answer(azure: Azure, key: AzureKeyVault) -> None:
    version = SignedCiphertext.parse(key.wrap(SECRET, CONTEXT).ciphertext).signer.version
    reply = {"kid": f"https://envelope.vault.azure.net/keys/signer/{version}", "value": "A" * 86}
    azure.answer("sign", 200, reply)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KmsUnavailable, "no-answer", azure, ["get", "sign"])


@pytest.mark.parametrize("work", ["get", "sign"])
def test_throttling_of_a_wrap_is_not_retried_here(azure: Azure, key: AzureKeyVault, work: str) -> None:
    key.wrap(SECRET, CONTEXT)
    azure.refuse(work, 429, "Throttled", times=9)
    calls = {"get": ["get"], "sign": ["get", "sign"]}
    refuse(lambda: key.wrap(SECRET, CONTEXT), KmsUnavailable, "throttled", azure, calls[work])


# A key that binds the context itself


def test_an_oct_key_binds_the_context_in_the_vault(azure: Azure) -> None:
    key = azure.open("oct")
    wrapped = key.wrap(SECRET, CONTEXT)
    assert azure.calls == ["get", "encrypt"]
    assert len(wrapped.ciphertext) == 12 + 32 + 16
    azure.forget()
    assert key.unwrap(wrapped, CONTEXT) == Unwrapped(SECRET, wrapped.key_version)
    assert azure.vault.calls == [("decrypt", "oct", wrapped.key_version)]
    other = {**CONTEXT, "temporal-namespace": "prod"}
    refuse(lambda: key.unwrap(wrapped, other), InvalidCiphertext, "bad-ciphertext", azure, ["decrypt"])


def test_the_parts_of_an_oct_ciphertext_are_nonce_ciphertext_and_tag(azure: Azure) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    wrapped = azure.open("oct").wrap(SECRET, CONTEXT)
    with azure.vault.store.open() as store:
        material = store.key("oct").version(wrapped.key_version)._bytes()
    nonce, sealed = wrapped.ciphertext[:12], wrapped.ciphertext[12:]
    assert AESGCM(material).decrypt(nonce, sealed, context_bytes(CONTEXT)) == SECRET


def test_an_oct_key_needs_no_signing_key_and_reads_signed_records_never(azure: Azure, forger: Forger) -> None:
    key = azure.open("oct", sign_key="signer")
    assert len(key.wrap(SECRET, CONTEXT).ciphertext) == 60
    refuse(lambda: key.unwrap(forger.wrapped, CONTEXT), InvalidCiphertext, "bad-signature", azure, ["get"])


def test_sixty_bytes_under_an_rsa_key_are_refused_by_the_vault(azure: Azure, forger: Forger) -> None:
    short = replace(forger.wrapped, ciphertext=bytes(60))
    refuse(lambda: forger.key.unwrap(short, CONTEXT), InvalidCiphertext, "bad-ciphertext", azure, ["decrypt"])


# Processes and clients


class OneToken:
    """A credential whose token was issued before any fork: one that a child has issued does not reach the vault."""

    def __init__(self, azure: Azure) -> None:
        self._token = AccessTokenInfo(azure.vault.issue_token(), int(time.time()) + 3600)

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        return self._token


def test_a_lock_of_the_sdk_that_is_held_at_the_fork_does_not_stop_the_child(azure: Azure) -> None:
    key = azure.open("rsa", sign_key="signer", credential=OneToken(azure))
    wrapped = key.wrap(SECRET, CONTEXT)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with http_challenge_cache._lock:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    try:
        assert in_child(lambda: key.unwrap(wrapped, CONTEXT)).secret == SECRET
    finally:
        release.set()
        holder.join()


def test_a_forked_child_has_connections_of_its_own(azure: Azure) -> None:
    key = azure.open("rsa", sign_key="signer", credential=OneToken(azure))
    wrapped = key.wrap(SECRET, CONTEXT)
    assert in_child(lambda: key.unwrap(wrapped, CONTEXT)).secret == SECRET
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_client_that_was_given_is_used_as_it_is_and_not_closed(azure: Azure) -> None:
    client = KeyClient(
        azure.listener.origin,
        GivenToken(azure.vault),  # type: ignore[arg-type]
        connection_verify=str(azure.certificate),
        verify_challenge_resource=False,
    )
    key = azure.open("rsa", sign_key="signer", client=client)
    wrapped = key.wrap(SECRET, CONTEXT)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET

    def child() -> str | None:
        with pytest.raises(KmsUnavailable) as caught:
            key.unwrap(wrapped, CONTEXT)
        return caught.value.code

    assert in_child(child) == "forked-client"
    key.close()
    assert client.get_key("rsa").name == "rsa"
    client.close()


def test_a_challenge_for_another_resource_gets_no_token(azure: Azure) -> None:
    """A server that is not the vault could otherwise have a token for the vault sent to it."""
    credential = GivenToken(azure.vault)
    client = KeyClient(azure.listener.origin, credential, connection_verify=str(azure.certificate))  # type: ignore[arg-type]
    key = azure.open("rsa", sign_key="signer", client=client)
    refuse(lambda: key.wrap(SECRET, CONTEXT), KmsUnavailable, "no-answer", azure, [])
    assert credential.asked == 0
    client.close()
