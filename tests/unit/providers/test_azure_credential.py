"""A credential that failed: when it is asked again, and by whom."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo

from envelope_codec_azure._credential import PatientCredential
from envelope_codec_azure._errors import NoCredentials


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
    return PatientCredential(source, clock=lambda: Hand.now, jitter=lambda: 0.0)


def fail(credential: PatientCredential) -> str:
    with pytest.raises(NoCredentials) as caught:
        credential.get_token_info("scope")
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
    assert credential.get_token_info("scope").token == "token"
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
            assert (scopes, options) == (("scope",), {"enable_cae": True})
            return AccessToken("old", 5)

    token = PatientCredential(Old()).get_token_info("scope", options={"enable_cae": True})
    assert (token.token, token.expires_on) == ("old", 5)


def test_closing_closes_it_if_it_can_be_closed(source: Source, credential: PatientCredential) -> None:
    credential.close()
    assert source.closed == 1
    PatientCredential(object()).close()
