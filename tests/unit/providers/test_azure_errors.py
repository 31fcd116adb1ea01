"""What each failure of Key Vault and of its token service means. A vault in this process answers over TLS."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import WrappedSecret
from envelope_codec_azure import AzureKeyVault
from tests.support.azure_vault import CONTEXT, SECRET, Azure, azure_vault


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure_vault(tmp_path_factory.mktemp("vault")) as vault:
        yield vault


@pytest.fixture(scope="module")
def made(vault: Azure) -> Iterator[tuple[AzureKeyVault, WrappedSecret]]:
    """A master key that has read its signing key, and what it wrapped."""
    key = vault.open("rsa", sign_key="signer")
    wrapped = key.wrap(SECRET, CONTEXT)
    key.unwrap(wrapped, CONTEXT)
    yield key, wrapped
    key.close()


@pytest.fixture
def azure(vault: Azure, made: tuple[AzureKeyVault, WrappedSecret]) -> Azure:
    vault.forget()
    return vault


@pytest.fixture
def key(made: tuple[AzureKeyVault, WrappedSecret]) -> AzureKeyVault:
    return made[0]


@pytest.fixture
def wrapped(made: tuple[AzureKeyVault, WrappedSecret]) -> WrappedSecret:
    return made[1]


def failure(key: AzureKeyVault, wrapped: WrappedSecret) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        key.unwrap(wrapped, CONTEXT)
    error = caught.value
    assert error.operation == "unwrap"
    assert error.key_id == key.key_id
    assert "own words" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


REFUSALS = [
    (401, "Unauthorized", None, KmsUnavailable, "credentials-rejected"),
    (403, "Forbidden", None, KeyDenied, "not-permitted"),
    (403, "Forbidden", "AccessDenied", KeyDenied, "not-permitted"),
    (403, "Forbidden", "ForbiddenByPolicy", KeyDenied, "not-permitted"),
    (403, "Forbidden", "ForbiddenByRbac", KeyDenied, "not-permitted"),
    (403, "Forbidden", "ForbiddenByFirewall", KeyDenied, "network-forbidden"),
    (403, "Forbidden", "ForbiddenByConnection", KeyDenied, "network-forbidden"),
    (403, "Forbidden", "KeyDisabled", KeyDenied, "disabled"),
    (403, "Forbidden", "KeyOperationForbidden", KeyDenied, "wrong-usage"),
    (403, "Forbidden", "SomethingNew", KeyDenied, "forbidden"),
    (404, "KeyNotFound", None, KeyDenied, "not-found"),
    (400, "BadParameter", None, InvalidCiphertext, "bad-ciphertext"),
    (408, "RequestTimeout", None, KmsUnavailable, "timed-out"),
    (409, "Conflict", None, KmsUnavailable, "no-answer"),
    (429, "Throttled", None, KmsUnavailable, "throttled"),
    (500, "InternalServerError", None, KmsUnavailable, "server-error"),
    (503, "ServiceUnavailable", None, KmsUnavailable, "server-error"),
    (504, "GatewayTimeout", None, KmsUnavailable, "timed-out"),
    (302, "Found", None, KmsUnavailable, "no-answer"),
]


@pytest.mark.parametrize(("status", "code", "inner", "kind", "reason"), REFUSALS)
def test_a_refusal_means(
    azure: Azure,
    key: AzureKeyVault,
    wrapped: WrappedSecret,
    status: int,
    code: str,
    inner: str | None,
    kind: type[EnvelopeError],
    reason: str,
) -> None:
    azure.refuse("unwrapkey", status, code, inner, times=9)
    error = failure(key, wrapped)
    assert (type(error), error.code) == (kind, reason)
    assert azure.calls.count("unwrapkey") <= 2, "a challenge may be answered once; nothing else is retried"


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (None, "sign-key-not-permitted"),
        ("KeyDisabled", "sign-key-disabled"),
        ("SomethingNew", "sign-key-forbidden"),
        ("ForbiddenByFirewall", "network-forbidden"),
    ],
)
def test_a_refusal_to_read_the_signing_key_says_so(
    azure: Azure, wrapped: WrappedSecret, inner: str | None, reason: str
) -> None:
    azure.refuse("get", 403, "Forbidden", inner)
    error = failure(azure.open("rsa", sign_key="signer"), wrapped)
    assert (type(error), error.code) == (KeyDenied, reason)
    assert azure.calls == ["get"]


def test_bad_parameters_of_anything_but_a_ciphertext_are_no_invalid_ciphertext(
    azure: Azure, wrapped: WrappedSecret
) -> None:
    azure.refuse("get", 400, "BadParameter")
    error = failure(azure.open("rsa", sign_key="signer"), wrapped)
    assert (type(error), error.code) == (KmsUnavailable, "no-answer")


NOT_OF_A_VAULT = {
    "a page": (403, b"<html>Forbidden</html>", {"Content-Type": "text/html"}),
    "a page that says it is JSON": (403, b"<html>Forbidden</html>", {}),
    "nothing": (404, b"", {}),
    "JSON of somebody else": (404, {"statusCode": 404, "message": "Resource not found"}, {}),
    "an error that is a text": (403, {"error": "forbidden"}, {}),
    "an error without a text": (403, {"error": {"code": "Forbidden"}}, {}),
    "a list": (403, [], {}),
    "a bare status": (400, b"", {}),
    "success, with a page": (200, b"<html>Log in</html>", {"Content-Type": "text/html"}),
    "success, without a value": (200, {"kid": "https://envelope.vault.azure.net/keys/rsa/" + "0" * 32}, {}),
}


@pytest.mark.parametrize("sent", NOT_OF_A_VAULT)
def test_what_no_vault_sends_says_nothing_about_the_key(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret, sent: str
) -> None:
    status, body, headers = NOT_OF_A_VAULT[sent]
    azure.answer("unwrapkey", status, body, headers=headers)
    error = failure(key, wrapped)
    assert (type(error), error.code) == (KmsUnavailable, "no-answer")


@pytest.mark.parametrize(
    "kid",
    [
        "https://envelope.vault.azure.net/keys/other/VERSION",
        "https://envelope.vault.azure.net/keys/rsa/" + "0" * 32,
        "https://envelope.vault.azure.net/keys/rsa",
        "https://other.vault.azure.net/keys/rsa/VERSION",
        "http://envelope.vault.azure.net/keys/rsa/VERSION",
        "https://envelope.vault.azure.net/secrets/rsa/VERSION",
        "VERSION",
        None,
    ],
)
def test_a_reply_about_another_key_says_nothing_about_this_one(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret, kid: str | None
) -> None:
    named = kid and kid.replace("VERSION", wrapped.key_version)
    azure.answer("unwrapkey", 200, {"kid": named, "value": "A" * 43})
    error = failure(key, wrapped)
    assert (type(error), error.code) == (KmsUnavailable, "no-answer")


def test_a_reply_about_this_key_is_taken_in_any_letters_and_with_the_usual_port(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret
) -> None:
    azure.answer(
        "unwrapkey",
        200,
        {"kid": f"https://Envelope.vault.azure.net:443/keys/RSA/{wrapped.key_version}", "value": "A" * 43},
    )
    assert key.unwrap(wrapped, CONTEXT).secret == bytes(32)


@pytest.mark.parametrize("value", ["not base64url!", "A", None, 5, ["AAAA"]])
def test_a_value_that_is_no_base64url_says_nothing_about_the_key(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret, value: object
) -> None:
    kid = f"https://envelope.vault.azure.net/keys/rsa/{wrapped.key_version}"
    azure.answer("unwrapkey", 200, {"kid": kid, "value": value})
    assert failure(key, wrapped).code == "no-answer"


def test_a_redirect_is_not_followed(azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret) -> None:
    azure.answer("unwrapkey", 307, b"", headers={"Location": f"{azure.listener.origin}/keys/rsa"})
    assert failure(key, wrapped).code == "no-answer"
    assert azure.calls == ["unwrapkey"]


# No answer at all


def test_a_connection_that_is_closed_is_an_outage(azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret) -> None:
    azure.hang_up("unwrapkey")
    assert failure(key, wrapped).code == "unreachable"


def test_nobody_who_listens_is_an_outage(azure: Azure, wrapped: WrappedSecret) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"https://127.0.0.1:{unused.getsockname()[1]}"
        assert failure(azure.open("rsa", sign_key="signer", endpoint=endpoint), wrapped).code == "unreachable"


def test_a_vault_that_is_silent_is_an_outage(azure: Azure, wrapped: WrappedSecret) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"https://127.0.0.1:{silent.getsockname()[1]}"
        key = azure.open("rsa", sign_key="signer", endpoint=endpoint, read_timeout=0.2, connect_timeout=0.2)
        error = failure(key, wrapped)
    assert isinstance(error, KmsUnavailable)
    assert error.code in ("timed-out", "unreachable")


def test_a_certificate_that_is_not_trusted_is_named(azure: Azure, wrapped: WrappedSecret) -> None:
    error = failure(azure.open("rsa", sign_key="signer", ca_bundle=None), wrapped)
    assert (type(error), error.code) == (KmsUnavailable, "no-tls")


def test_a_closed_key_says_so(azure: Azure, wrapped: WrappedSecret) -> None:
    key = azure.open("rsa", sign_key="signer")
    key.close()
    key.close()
    assert failure(key, wrapped).code == "closed"


# Credentials


class Broken:
    """A credential that fails with an exception of any class."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def get_token_info(self, *scopes: str, options: object = None) -> object:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    "error",
    [ClientAuthenticationError("AADSTS7000215: the vault's own words"), OSError(), ValueError(), KeyError("x")],
    ids=lambda error: type(error).__name__,
)
def test_credentials_that_can_not_be_had_are_an_outage(azure: Azure, wrapped: WrappedSecret, error: Exception) -> None:
    key = azure.open("rsa", sign_key="signer", credential=Broken(error))
    found = failure(key, wrapped)
    assert (type(found), found.code) == (KmsUnavailable, "no-credentials")


def test_a_credential_that_failed_is_not_asked_at_every_retry(azure: Azure, wrapped: WrappedSecret) -> None:
    broken = Broken(ClientAuthenticationError("no"))
    key = azure.open("rsa", sign_key="signer", credential=broken)
    for _ in range(5):
        assert failure(key, wrapped).code == "no-credentials"
    assert broken.asked == 1


def test_a_token_that_the_vault_no_longer_takes_is_an_outage(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret
) -> None:
    azure.refuse("unwrapkey", 401, "Unauthorized", times=9)
    assert failure(key, wrapped).code == "credentials-rejected"


def test_a_new_token_is_asked_for_when_the_vault_forgot_the_old_one(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret
) -> None:
    azure.vault.forget_tokens()
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


@pytest.fixture
def environment(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The default credential logs in at the token service of the vault."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", azure.listener.origin)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    return monkeypatch


def test_the_default_credential_logs_in_once(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    key = azure.open("rsa", sign_key="signer", credential=None)
    for _ in range(3):
        assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    assert azure.vault.logins == 1


def test_a_proxy_is_not_used_on_this_machine(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        environment.delenv(name, raising=False)
    key = azure.open("rsa", sign_key="signer", credential=None)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_wrong_secret_is_an_outage_and_tried_once(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AZURE_CLIENT_SECRET", "wrong")
    key = azure.open("rsa", sign_key="signer", credential=None)
    for _ in range(3):
        assert failure(key, wrapped).code == "no-credentials"
    assert azure.vault.logins == 1


def test_a_token_service_that_fails_is_an_outage(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    azure.answer("token", 503, {"error": "temporarily_unavailable"}, times=9)
    key = azure.open("rsa", sign_key="signer", credential=None)
    assert failure(key, wrapped).code == "no-credentials"


def test_an_environment_without_credentials_is_an_outage(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        environment.delenv(name)
    assert failure(azure.open("rsa", sign_key="signer", credential=None), wrapped).code == "no-credentials"


def test_an_environment_that_the_sdk_does_not_understand_is_an_outage(
    azure: Azure, wrapped: WrappedSecret, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AZURE_TOKEN_CREDENTIALS", "nonsense")
    assert failure(azure.open("rsa", sign_key="signer", credential=None), wrapped).code == "no-credentials"


# The log


def test_a_reply_forges_no_line_of_the_log(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret, caplog: pytest.LogCaptureFixture
) -> None:
    error = {
        "code": "Forbidden\nroot",
        "message": "refused\r\nINFO all is well\u2028 \x1b[2J",
        "innererror": {"code": "\n"},
    }
    azure.answer("unwrapkey", 403, {"error": error})
    failure(key, wrapped)
    [record] = [record for record in caplog.records if record.name == "envelope_codec.azure"]
    assert record.getMessage().isprintable()


def test_the_log_has_the_words_of_the_vault_and_no_secret(
    azure: Azure, key: AzureKeyVault, wrapped: WrappedSecret, caplog: pytest.LogCaptureFixture
) -> None:
    azure.refuse("unwrapkey", 403, "Forbidden", "ForbiddenByRbac")
    failure(key, wrapped)
    [record] = [record for record in caplog.records if record.name == "envelope_codec.azure"]
    assert "the vault's own words" in record.getMessage()
    assert "ForbiddenByRbac" in record.getMessage()


def test_no_log_at_any_level_holds_a_secret(azure: Azure, caplog: pytest.LogCaptureFixture) -> None:
    secret = b"a secret of thirty-two bytes ..."
    with caplog.at_level(logging.DEBUG):
        for name in ("rsa", "oct"):
            key = azure.open(name, sign_key="signer")
            assert key.unwrap(key.wrap(secret, CONTEXT), CONTEXT).secret == secret
    text = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    assert "a secret of" not in text
    assert "YSBzZWNyZXQgb2Yg" not in text, "as base64"


def test_a_client_that_logs_bodies_does_not_log_a_secret(azure: Azure, caplog: pytest.LogCaptureFixture) -> None:
    from azure.keyvault.keys import KeyClient

    from tests.support.azure_vault import GivenToken

    client = KeyClient(
        azure.listener.origin,
        GivenToken(azure.vault),  # type: ignore[arg-type]
        logging_enable=True,
        connection_verify=str(azure.certificate),
        verify_challenge_resource=False,
    )
    key = azure.open("oct", client=client)
    with caplog.at_level(logging.DEBUG):
        key.unwrap(key.wrap(b"a secret of thirty-two bytes ...", CONTEXT), CONTEXT)
    assert "YSBzZWNyZXQgb2Yg" not in caplog.text
    client.close()
