"""As whom Google is asked: tokens by real protocols, from a server on this machine, taken to a KMS over TLS."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google.auth.iam
import google.oauth2.credentials
import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from gcpkms import serve
from gcpkms_keys import SYMMETRIC, Store
from gcptokens import TokenServer
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]
from grpc_status import rpc_status  # type: ignore[import-untyped,unused-ignore]

from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.provider import Meaning, meanings
from envelope_codec_gcp import GcpKms
from envelope_codec_gcp import _hints as hints
from tests.support.certificates import write_certificate

RING = "projects/test/locations/global/keyRings/test"
SECRET, CONTEXT = bytes(32), {"temporal-namespace": "shop"}
WORKLOAD, ACCOUNT, MIDDLE = "workload", "kms@p.iam.gserviceaccount.com", "middle@p.iam.gserviceaccount.com"

pytestmark = [
    pytest.mark.filterwarnings("ignore:The load_credentials_from_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Door(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Lets in who has a token, and notes whose it is and which project is to pay."""

    def __init__(self) -> None:
        self.tokens = TokenServer()
        self.came: list[tuple[str, str | None]] = []
        self.no_quota = False

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        metadata = dict(details.invocation_metadata)
        holder = self.tokens.holders.get(metadata.get("authorization", "").removeprefix("Bearer "))
        self.came.append((holder or "nobody", metadata.get("x-goog-user-project")))
        if holder is None:
            return _ending(grpc.StatusCode.UNAUTHENTICATED)
        if self.no_quota:
            return _ending(grpc.StatusCode.PERMISSION_DENIED, "USER_PROJECT_DENIED")
        return continuation(details)


def _ending(code: grpc.StatusCode, reason: str = "") -> grpc.RpcMethodHandler:
    status = status_pb2.Status(code=code.value[0], message="hush")
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="googleapis.com"))
    return grpc.unary_unary_rpc_method_handler(
        lambda request, context: context.abort_with_status(rpc_status.to_status(status))
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, str, str, bytes]]:
    """A KMS behind a door: with the name of a key, ``HOST:PORT``, and the certificate."""
    folder, door, store = tmp_path_factory.mktemp("tls"), Door(), Store(None)
    write_certificate(folder / "cert", folder / "key")
    certificate, private = (folder / "cert").read_bytes(), (folder / "key").read_bytes()
    with store.open(change=True) as opened:
        opened.add_ring("projects/test/locations/global", "test")
        key = opened.add_key(RING, "key", SYMMETRIC, 86_400, {})
        key.primary = key.add_version().number
    tls = grpc.ssl_server_credentials([(private, certificate)])
    server, port = serve(store, host="127.0.0.1", port=0, workers=4, tls=tls, interceptors=[door])
    yield door, f"{RING}/cryptoKeys/key", f"127.0.0.1:{port}", certificate
    server.stop(0).wait()


@pytest.fixture
def door(place: tuple[Door, str, str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door, _, _, certificate = place
    create = KeyManagementServiceGrpcTransport.create_channel

    def trusting(*args: Any, **settings: Any) -> grpc.Channel:
        settings["ssl_credentials"] = grpc.ssl_channel_credentials(root_certificates=certificate)
        return create(*args, **settings)

    monkeypatch.setattr(KeyManagementServiceGrpcTransport, "create_channel", trusting)
    for name in ("GOOGLE_CLOUD_QUOTA_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with TokenServer().running() as tokens:
        # google-auth has these addresses in itself.
        path = "/v1/projects/-/serviceAccounts/{}:generateAccessToken"
        monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", tokens.endpoint + path)
        monkeypatch.setattr(google.oauth2.credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{tokens.endpoint}/token")
        tokens.subject_tokens["subject"] = WORKLOAD
        tokens.refresh_tokens["refresh"] = "user"
        tokens.accounts |= {ACCOUNT, MIDDLE}
        door.tokens, door.no_quota = tokens, False
        door.came.clear()
        yield door


@pytest.fixture
def opened(door: Door, place: tuple[Door, str, str, bytes], tmp_path: Path) -> Iterator[Callable[..., GcpKms]]:
    """Opens the key by credentials of a workload, in a file with ``changes``."""
    keys: list[GcpKms] = []

    def open_key(changes: dict[str, Any] | None = None, **options: Any) -> GcpKms:
        (tmp_path / "subject").write_text("subject")
        info = {**external_account(door.tokens, tmp_path), **(changes or {})}
        (tmp_path / "credentials.json").write_text(json.dumps(info))
        options.setdefault("credentials", tmp_path / "credentials.json")
        keys.append(GcpKms(place[1], endpoint=place[2], insecure=False, **options))
        return keys[-1]

    yield open_key
    for key in keys:
        key.close()


def external_account(tokens: TokenServer, folder: Path) -> dict[str, Any]:
    return {
        "type": "external_account",
        "audience": tokens.audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens.endpoint}/v1/token",
        "credential_source": {"file": str(folder / "subject")},
    }


def user(refresh_token: str) -> dict[str, Any]:
    account = {"client_id": "id", "client_secret": "hush", "refresh_token": refresh_token}
    return {"type": "authorized_user", **account}


def failure_of(key: GcpKms) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        key.wrap(SECRET, CONTEXT)
    assert type(caught.value) is KmsUnavailable
    for told in ("hush", "127.0.0.1", "gserviceaccount", "subject.", "token-"):
        assert told not in str(caught.value)
    return caught.value


def test_a_workload_exchanges_its_token_once_and_looks_up_no_project(opened: Any, door: Door) -> None:
    key = opened()
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    assert door.came == [(WORKLOAD, None)] * 2
    assert door.tokens.requests == ["/v1/token"]


def test_a_file_may_name_the_service_account_itself(opened: Any, door: Door) -> None:
    door.tokens.may_impersonate.add((WORKLOAD, ACCOUNT))
    url = f"{door.tokens.endpoint}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    opened({"service_account_impersonation_url": url}).wrap(SECRET, CONTEXT)
    assert door.came == [(ACCOUNT, None)]


def test_a_service_account_is_impersonated(opened: Any, door: Door) -> None:
    door.tokens.may_impersonate.add((WORKLOAD, ACCOUNT))
    key = opened(impersonate=[ACCOUNT], quota_project="payer-1")
    key.wrap(SECRET, CONTEXT)
    key.wrap(SECRET, CONTEXT)
    assert door.came == [(ACCOUNT, "payer-1")] * 2
    assert len(door.tokens.requests) == 2


def test_a_chain_lends_itself_along(opened: Any, door: Door) -> None:
    door.tokens.may_impersonate |= {(WORKLOAD, MIDDLE), (MIDDLE, ACCOUNT)}
    opened(impersonate=[MIDDLE, ACCOUNT]).wrap(SECRET, CONTEXT)
    assert door.came == [(ACCOUNT, None)]
    assert failure_of(opened(impersonate=[ACCOUNT])).reason == hints.NO_IMPERSONATION.text


def test_a_quota_project_is_sent(opened: Any, door: Door) -> None:
    opened(quota_project="payer-1").wrap(SECRET, CONTEXT)
    opened({"quota_project_id": "payer-2"}).wrap(SECRET, CONTEXT)
    assert door.came == [(WORKLOAD, "payer-1"), (WORKLOAD, "payer-2")]


def test_a_quota_project_that_may_not_be_used_says_nothing_of_the_key(opened: Any, door: Door) -> None:
    door.no_quota = True
    assert failure_of(opened(quota_project="payer-1")).reason == hints.QUOTA_PROJECT_DENIED.text


def test_a_token_that_expires_is_replaced(opened: Any, door: Door) -> None:
    key, door.tokens.seconds = opened(), 0
    key.wrap(SECRET, CONTEXT)
    door.tokens.seconds = 3600
    key.wrap(SECRET, CONTEXT)
    key.wrap(SECRET, CONTEXT)
    assert door.came[-1] == (WORKLOAD, None)
    assert len(set(door.tokens.holders)) == len(door.tokens.requests)


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        (
            {"audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/x/providers/y"},
            "NO_PROVIDER",
        ),
        ({"credential_source": {"file": "/nowhere/subject"}}, "NO_SUBJECT_TOKEN"),
        ({"type": "unheard of"}, "BAD_FILE"),
        ({"type": "service_account"}, "BAD_FILE"),
        ({"audience": None}, "NO_PROVIDER"),
        ({"credential_source": None}, "BAD_FILE"),
        ({"credential_source": "a word"}, "BAD_FILE"),
    ],
)
def test_a_wrong_file_has_its_own_error(changes: dict[str, Any], meant: str, opened: Any, door: Door) -> None:
    assert failure_of(opened(changes)).reason == getattr(hints, meant).text
    assert door.came == []


def test_a_workload_token_that_is_not_taken_has_its_own_error(opened: Any, door: Door) -> None:
    door.tokens.subject_tokens.clear()
    assert failure_of(opened()).reason == hints.EXCHANGE_REFUSED.text


def test_a_service_account_that_is_missing_has_its_own_error(opened: Any, door: Door) -> None:
    door.tokens.accounts.clear()
    assert failure_of(opened(impersonate=[ACCOUNT])).reason == hints.NO_ACCOUNT.text


def test_a_user_who_is_logged_out_has_an_error_of_his_own(opened: Any, door: Door) -> None:
    opened(user("refresh")).wrap(SECRET, CONTEXT)
    assert door.came == [("user", None)]
    assert failure_of(opened(user("of yesterday"))).reason == hints.CREDENTIALS_EXPIRED.text


def test_a_token_that_the_kms_does_not_take_has_its_own_error(opened: Any, door: Door) -> None:
    key = opened()
    key.wrap(SECRET, CONTEXT)
    door.tokens.holders.clear()
    assert failure_of(key).reason == meanings.CREDENTIALS_REJECTED.text


def test_a_token_service_that_is_down_is_an_outage_and_is_asked_again(opened: Any, door: Door) -> None:
    door.tokens.may_impersonate.add((WORKLOAD, ACCOUNT))
    key, door.tokens.broken = opened(impersonate=[ACCOUNT]), True
    assert failure_of(key).reason == hints.TOKEN_SERVICE_UNREACHABLE.text
    door.tokens.broken = False
    key.wrap(SECRET, CONTEXT)


def test_a_token_service_that_is_not_there_is_an_outage(opened: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1/token"
        assert failure_of(opened({"token_url": url})).reason == hints.TOKEN_SERVICE_UNREACHABLE.text


def test_a_token_service_that_hangs_is_waited_for_some_seconds_at_most(
    opened: Any, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope_codec_gcp._credentials._SOURCE_SECONDS", 0.05)
    key = opened()
    door.tokens.hold.clear()
    assert failure_of(key).reason == hints.CREDENTIALS_SILENT.text
    assert failure_of(key).reason == hints.CREDENTIALS_SILENT.text
    assert len(door.tokens.requests) <= 1, "asked again while the first answer was awaited"
    monkeypatch.setattr("envelope_codec_gcp._credentials._SOURCE_SECONDS", 60)
    door.tokens.hold.set()
    key.wrap(SECRET, CONTEXT)


@pytest.mark.parametrize("failure", ["broken", "hanging"])
def test_a_token_serves_to_its_end_while_no_other_is_to_be_had(failure: str, opened: Any, door: Door) -> None:
    door.tokens.may_impersonate.add((WORKLOAD, ACCOUNT))
    key, door.tokens.seconds = (
        opened(impersonate=[ACCOUNT], quota_project="payer-1"),
        100,
    )  # to google-auth, it ends now
    key.wrap(SECRET, CONTEXT)
    if failure == "broken":
        door.tokens.broken = True
    else:
        door.tokens.hold.clear()
    for _ in range(3):
        key.wrap(SECRET, CONTEXT)
    door.tokens.broken, door.tokens.seconds = False, 3600
    door.tokens.hold.set()
    credentials = key._client._opener.credentials
    for _ in range(2):  # the first may have begun before
        assert credentials._join_attempt().ended.wait(30)
    asked = len(door.tokens.requests)
    for _ in range(3):
        key.wrap(SECRET, CONTEXT)
    assert len(door.tokens.requests) == asked
    assert set(door.came) == {(ACCOUNT, "payer-1")}


def test_the_debug_log_of_google_auth_has_no_token(opened: Any, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.tokens.may_impersonate.add((WORKLOAD, ACCOUNT))
    log = logging.getLogger("google.auth.transport.requests")
    log.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.DEBUG, logger=log.name):
            door.tokens.seconds = 100
            for _ in range(2):
                opened(impersonate=[ACCOUNT]).wrap(SECRET, CONTEXT)
            log.debug("still there")
    finally:
        log.removeHandler(caplog.handler)
    assert "still there" in caplog.text
    written = "".join(str(vars(record)) for record in caplog.records)
    assert not [secret for secret in ("'subject'", "token-0") if secret in written]


def test_one_answer_of_a_token_service_takes_no_longer_than_a_call(opened: Any, door: Door) -> None:
    key = opened(read_timeout=0.1)
    door.tokens.hold.clear()
    assert failure_of(key).reason == hints.TOKEN_SERVICE_UNREACHABLE.text


@pytest.mark.parametrize("said", [b"<html>hush", b"[]", b'{"access_token": "t", "expires_in": 1e99}'])
def test_a_reply_that_no_token_service_sends_is_an_outage_and_no_fault(said: bytes, opened: Any, door: Door) -> None:
    door.tokens.instead = (200, {}, said)
    assert failure_of(opened()).reason == hints.TOKEN_SERVICE_UNREACHABLE.text


@pytest.mark.parametrize("status", [307, 308])
def test_no_token_goes_where_a_token_service_redirects_to(status: int, opened: Any, door: Door) -> None:
    with TokenServer().running() as thief:
        thief.subject_tokens["subject"] = WORKLOAD
        door.tokens.instead = (status, {"Location": f"{thief.endpoint}/v1/token"}, b"")
        failure_of(opened())
        assert thief.requests == []


def test_many_threads_share_one_token(opened: Any, door: Door) -> None:
    key = opened()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: key.wrap(SECRET, CONTEXT), range(32)))
    assert door.tokens.requests == ["/v1/token"]


def test_application_default_credentials_are_found_as_by_any_tool(
    opened: Any, door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened()  # writes the files
    (tmp_path / "user.json").write_text(json.dumps(user("refresh")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "user.json"))
    opened(credentials=None, quota_project="payer-1").wrap(SECRET, CONTEXT)
    assert door.came == [("user", "payer-1")]


def test_each_failure_has_a_fix_that_doctor_shows() -> None:
    new = [value for value in vars(hints).values() if isinstance(value, Meaning)]
    assert set(new) <= set(hints.MEANINGS)
    assert all(value.hint for value in new)


def test_the_log_says_which_code_a_token_service_gave_and_nothing_else_of_its_reply(
    opened: Any, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.tokens.subject_tokens.clear()
    failure_of(opened())
    door.tokens.subject_tokens["subject"] = WORKLOAD
    failure_of(opened(impersonate=[ACCOUNT]))
    assert "OAuthError: invalid_grant" in caplog.text
    assert "RefreshError: status 403" in caplog.text
    for quoted in ("stale", "getAccessToken", "token-0"):
        assert quoted not in caplog.text
