"""A credential that failed: when it is asked again, and by whom."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo

from envelope_codec_azure._credential import PatientCredential
from envelope_codec_azure._errors import NoCredentials

HOST = "example.vault.azure.net"
SCOPE = "https://vault.azure.net/.default"


class Source:
    """Tokens, or a failure."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = True
        self.closed = 0
        self.wait: Callable[[], object] = lambda: None

    def get_token_info(self, *scopes: str, options: object = None) -> AccessTokenInfo:
        self.asked += 1
        self.wait()
        if self.fails:
            raise ValueError("the secret is swordfish")
        return AccessTokenInfo("token", 2)

    def close(self) -> None:
        self.closed += 1


class Hand:
    now = 0.0


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def credential(source: Source) -> PatientCredential:
    return PatientCredential(source, HOST, clock=lambda: Hand.now, jitter=lambda: 0.0)


def fail(credential: PatientCredential) -> str:
    with pytest.raises(NoCredentials) as caught:
        credential.get_token_info(SCOPE)
    return str(caught.value)


def test_the_pauses_double_up_to_a_minute(source: Source, credential: PatientCredential) -> None:
    Hand.now, asked = 0.0, []
    for tenth in range(3000):
        Hand.now = tenth / 10
        before = source.asked
        fail(credential)
        if source.asked > before:
            asked.append(Hand.now)
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_success_forgets_the_failures(source: Source, credential: PatientCredential) -> None:
    for _ in range(4):
        fail(credential)
        Hand.now += 100.0
    source.fails = False
    assert credential.get_token_info(SCOPE).token == "token"
    source.fails = True
    fail(credential)
    Hand.now += 1.0
    before = source.asked
    fail(credential)
    assert source.asked == before + 1, "the next pause is a second again"


def test_what_failed_is_named_by_its_class_alone(credential: PatientCredential) -> None:
    assert fail(credential) == "ValueError"
    assert fail(credential) == "ValueError (not tried again yet)"


def test_of_many_threads_one_asks(source: Source, credential: PatientCredential) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(30)

    source.wait = wait
    threads = [threading.Thread(target=fail, args=(credential,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert source.asked == 1


def test_a_credential_of_the_older_protocol_serves() -> None:
    class Old:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            assert (scopes, options) == ((SCOPE,), {"enable_cae": True})
            return AccessToken("old", 5)

    token = PatientCredential(Old(), HOST).get_token_info(SCOPE, options={"enable_cae": True})
    assert (token.token, token.expires_on) == ("old", 5)


def test_closing_closes_it_if_it_can_be_closed(source: Source, credential: PatientCredential) -> None:
    credential.close()
    assert source.closed == 1
    PatientCredential(object(), HOST).close()


@pytest.mark.parametrize("domain", ["vault.azure.net", "VAULT.azure.net", "vault.azure.net:443"])
def test_a_token_is_for_a_domain_that_the_vault_belongs_to(source: Source, domain: str) -> None:
    source.fails = False
    credential = PatientCredential(source, HOST)
    assert credential.get_token_info(f"https://{domain}/.default").token == "token"


@pytest.mark.parametrize(
    "scope",
    [
        "https://management.azure.com/.default",
        "https://ault.azure.net/.default",
        "https://other.vault.azure.net/.default",
        "https://vault.azure.net@evil.example/.default",
        "https://vault.azure.net:8443/.default",
        "https:///.default",
        "vault.azure.net",
        "",
    ],
)
def test_a_vault_that_asks_for_a_token_of_another_service_gets_none(source: Source, scope: str) -> None:
    source.fails = False
    credential = PatientCredential(source, HOST)
    with pytest.raises(NoCredentials, match="another service"):
        credential.get_token_info(scope)
    with pytest.raises(NoCredentials, match="another service"):
        credential.get_token_info(SCOPE, scope)
    assert source.asked == 0
    assert credential.get_token_info(SCOPE).token == "token", "it is no failure of the credential"
