"""Credentials that can't be had are an outage of the KMS and of the S3 store, whatever came up in getting them."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import logging
import os
import string
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import botocore.credentials
import botocore.tokens
import pytest
from botocore import exceptions as sdk
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials

from envelope_codec.aws import meanings as aws_meanings
from envelope_codec.aws.credentials import WatchedCredentials
from envelope_codec.errors import EnvelopeError, KmsUnavailable, StoreUnavailable
from envelope_codec.kms import WrappedSecret
from envelope_codec.storage.s3 import S3Store
from envelope_codec_aws import AwsKms

BROKEN = aws_meanings.BROKEN.text
NO_LOGIN = aws_meanings.NO_LOGIN.text
NO_ROLE = aws_meanings.NO_ROLE.text
NOT_FOUND = aws_meanings.NOT_FOUND.text
SILENT = aws_meanings.SILENT.text
REASONS = [meaning.text for meaning in aws_meanings.CREDENTIALS]

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = "arn:aws:iam::111122223333:role/worker"
CONTEXT = {"temporal-namespace": "shop"}
ID = "a" * 32
NEEDLES = ("arn:", "1111", "http", "127.0.0.1", "hush", "worker", "tmp")
"""What the causes hold, and no error of ours."""


class Service:
    """AWS, as far as it is asked for credentials: one reply to everything, and what was asked.

    Attributes:
        endpoint: URL.
        reply: status and body.
        asked: the path and what is in the body of each request.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.reply = (500, "")
        self.asked: list[str] = []

    def refuse(self, code: str, status: int = 400) -> None:
        """Refuse as STS does."""
        self.reply = (
            status,
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>hush {ROLE}</Message></Error><RequestId>1</RequestId></ErrorResponse>",
        )


@pytest.fixture(scope="module")
def _service() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            service.asked.append(f"{self.headers.get('X-Amz-Target', '')} {self.path} {body}")
            status, text = service.reply
            payload = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        service.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield service
        server.shutdown()
        thread.join()


@pytest.fixture
def service(_service: Service, environment: pytest.MonkeyPatch) -> Service:
    _service.reply = (500, "")
    _service.asked.clear()
    for name in ("STS", "SSO", "SSO_OIDC", "SIGNIN"):
        environment.setenv(f"AWS_ENDPOINT_URL_{name}", _service.endpoint)
    return _service


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No credentials, and no configuration but what the test writes."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the monotonic clock, which stands still otherwise."""
    now = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def kms_failure(key: AwsKms, operation: str) -> EnvelopeError:
    wrapped = WrappedSecret(KEY, "", b"ciphertext")
    with pytest.raises(EnvelopeError) as caught:
        key.wrap(bytes(32), CONTEXT) if operation == "wrap" else key.unwrap(wrapped, CONTEXT)
    return caught.value


def s3_failure(store: S3Store, operation: str) -> EnvelopeError:
    async def call() -> None:
        await (store.put(ID, b"") if operation == "put" else store.get(ID))

    with pytest.raises(EnvelopeError) as caught:
        asyncio.run(call())
    return caught.value


def assert_an_outage_of_credentials(error: EnvelopeError, kind: type[EnvelopeError]) -> None:
    assert type(error) is kind
    assert error.reason in REASONS
    assert "credentials" in str(error)
    assert [needle for needle in NEEDLES if needle in f"{error} {error.reason}"] == []


# --- every class


def made(kind: type[Exception]) -> Exception:
    """An error of this class, with whatever its text asks for."""
    if issubclass(kind, sdk.ClientError):
        return kind({"Error": {"Code": "AccessDenied", "Message": f"hush {ROLE}"}}, "Decrypt")
    fields = {name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name}
    try:
        return kind(**dict.fromkeys({*fields, "error"}, "hush"))
    except (TypeError, KeyError):
        return kind("hush")


CLASSES = {
    name: kind
    for name, kind in vars(sdk).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
}
OTHERS: dict[str, Callable[[], Exception]] = {
    "JSONDecodeError": lambda: json.JSONDecodeError("hush", "hush", 0),
    "TimeoutExpired": lambda: subprocess.TimeoutExpired("hush", 1),
    "FileNotFoundError": lambda: FileNotFoundError(2, "hush", "/tmp/hush"),
    "PermissionError": lambda: PermissionError(13, "hush", "/tmp/hush"),
    "KeyError": lambda: KeyError("hush"),
    "ValueError": lambda: ValueError("hush"),
    "RuntimeError": lambda: RuntimeError("hush"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"hush", 0, 1, "hush"),
}
CAUSES: dict[str, Callable[[], Exception]] = {
    **{name: (lambda kind=kind: made(kind)) for name, kind in CLASSES.items()},  # type: ignore[misc]
    **OTHERS,
}


@pytest.fixture(scope="module")
def _unreached() -> Iterator[tuple[AwsKms, S3Store]]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        key = AwsKms(KEY, endpoint="http://127.0.0.1:9")
        key._connection.process.get()
        store = S3Store("s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1")
    yield key, store
    key.close()
    asyncio.run(store.close())


_TICKS = count(1_000_000, 100)


@pytest.fixture
def unreached(_unreached: tuple[AwsKms, S3Store], environment: pytest.MonkeyPatch) -> tuple[AwsKms, S3Store]:
    """A KMS and a bucket that nobody reaches, for all tests, because to build clients takes a while."""
    environment.setattr("time.monotonic", lambda: next(_TICKS))  # no failure is remembered
    return _unreached


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_whatever_is_raised_while_credentials_are_looked_for_is_an_outage(
    cause: str, unreached: tuple[AwsKms, S3Store], environment: pytest.MonkeyPatch
) -> None:
    key, store = unreached

    def find(_: object = None) -> Any:
        raise CAUSES[cause]()

    def renewed(_: object = None) -> Any:  # within the request, as botocore does it
        return DeferredRefreshableCredentials(refresh_using=find, method="test")

    for found, asked_kms, asked_s3 in ((find, "wrap", "put"), (renewed, "unwrap", "get")):
        environment.setattr(botocore.session.Session, "get_credentials", found)
        assert_an_outage_of_credentials(kms_failure(key, asked_kms), KmsUnavailable)
        assert_an_outage_of_credentials(s3_failure(store, asked_s3), StoreUnavailable)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_so_it_is_with_a_client_handed_in(cause: str, handed_in: tuple[dict[str, Any], AwsKms]) -> None:
    source, key = handed_in
    source["error"] = CAUSES[cause]
    assert_an_outage_of_credentials(kms_failure(key, "unwrap"), KmsUnavailable)


@pytest.fixture(scope="module")
def handed_in() -> Iterator[tuple[dict[str, Any], AwsKms]]:
    """A KMS whose client somebody else built, and whose credentials raise ``source["error"]``."""
    source: dict[str, Any] = {}

    def refresh() -> Any:
        raise source["error"]()

    session = botocore.session.Session()
    session._credentials = DeferredRefreshableCredentials(refresh_using=refresh, method="test")  # type: ignore[attr-defined]
    client = boto3.Session(botocore_session=session).client(
        "kms", region_name="us-east-1", endpoint_url="http://127.0.0.1:9"
    )
    yield source, AwsKms(KEY, client=client)
    client.close()


def test_botocore_raises_no_class_that_is_not_among_these() -> None:
    """By its source, so that a new class of a new version is seen here and given a reason of its own."""
    raised = set[str]()
    for module in (botocore.credentials, botocore.tokens):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                raised.add(node.exc.func.id)
    assert raised - set(CAUSES) == {"NotImplementedError", "TypeError"} & raised
    reasons = {name: WatchedCredentials(_raising(CAUSES[name])) for name in raised & set(CAUSES)}
    told = {name: _reason(credentials) for name, credentials in reasons.items()}
    unexplained = {name for name, reason in told.items() if reason == BROKEN}
    assert unexplained <= {"CredentialRetrievalError", "RuntimeError", "ValueError"}


def _raising(error: Callable[[], Exception]) -> Callable[[], Any]:
    def find() -> Any:
        raise error()

    return find


def _reason(credentials: WatchedCredentials) -> str:
    with pytest.raises(Exception, match="credentials") as caught:
        credentials.get_frozen_credentials()
    return str(caught.value)


# --- every source


EMPTY = {"AWS_WEB_IDENTITY_TOKEN_FILE": "{tmp}/token", "AWS_ROLE_ARN": ROLE}
NO_FILE = {**EMPTY, "AWS_WEB_IDENTITY_TOKEN_FILE": "{tmp}/astray"}
WEB = {**EMPTY, "AWS_WEB_IDENTITY_TOKEN_FILE": "{tmp}/good"}
CONTAINER = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{endpoint}/container"}
MACHINE = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1"}
SSO = """[default]
sso_session = s
sso_account_id = 111122223333
sso_role_name = worker
[sso-session s]
sso_start_url = https://hush.example/start
sso_region = us-east-1
"""
OLD_SSO = """[default]
sso_start_url = https://hush.example/start
sso_region = us-east-1
sso_account_id = 111122223333
sso_role_name = worker
"""
ASSUMED = f"[default]\nrole_arn = {ROLE}\n"
OF_A_PROFILE = f"{ASSUMED}source_profile = s\n[profile s]\naws_access_key_id = a\naws_secret_access_key = hush\n"
OF_ITSELF = f"{ASSUMED}source_profile = s\n[profile s]\nrole_arn = {ROLE}\nsource_profile = default\n"
PROCESS = "[default]\ncredential_process = "

SESSION_OVER = "those that ask for the role have expired, or are not valid"

SOURCES: dict[str, tuple[dict[str, str], str, str, str]] = {
    # environment, configuration file, code of the token service, and what is told
    "nothing": ({}, "", "", NOT_FOUND),
    "half of a key": ({"AWS_ACCESS_KEY_ID": "hush"}, "", "", "configuration"),
    "half of a key in a file": ({}, "[default]\naws_access_key_id = hush\n", "", "configuration"),
    "an empty web identity token": (EMPTY, "", "", BROKEN),
    "no web identity token": (NO_FILE, "", "", BROKEN),
    "a web identity without a role": ({**EMPTY, "AWS_ROLE_ARN": ""}, "", "", "credentials"),
    "a web identity that may not": (WEB, "", "AccessDenied", NO_ROLE),
    "a web identity that expired": (WEB, "", "ExpiredTokenException", "token service"),
    "a web identity of another issuer": (WEB, "", "InvalidIdentityToken", "token service"),
    "an issuer that does not answer": (WEB, "", "IDPCommunicationError", "token service"),
    "an issuer that refuses": (WEB, "", "IDPRejectedClaim", "token service"),
    "a web identity that is invalid": (WEB, "", "ValidationError", "token service"),
    "a role that may not be assumed": ({}, OF_A_PROFILE, "AccessDenied", NO_ROLE),
    "a role of expired credentials": ({}, OF_A_PROFILE, "ExpiredToken", SESSION_OVER),
    "a role of unknown credentials": ({}, OF_A_PROFILE, "InvalidClientTokenId", SESSION_OVER),
    "a token service that is not enabled": ({}, OF_A_PROFILE, "RegionDisabledException", "not enabled in this region"),
    "a role of a missing profile": ({}, f"{ASSUMED}source_profile = astray\n", "", "configuration"),
    "a role of itself": ({}, OF_ITSELF, "", "configuration"),
    "a role of an unknown source": ({}, f"{ASSUMED}credential_source = Astray\n", "", "configuration"),
    "a role without a source": ({}, ASSUMED, "", "configuration"),
    "a role of an empty environment": ({}, f"{ASSUMED}credential_source = Environment\n", "", BROKEN),
    "a login that nobody made": ({}, SSO, "", NO_LOGIN),
    "an old login that nobody made": ({}, OLD_SSO, "", NO_LOGIN),
    "a process that fails": ({}, f"{PROCESS}sh -c 'echo hush >&2; exit 1'\n", "", BROKEN),
    "a process that is missing": ({}, f"{PROCESS}/tmp/astray/hush\n", "", BROKEN),
    "a process that says nonsense": ({}, f"{PROCESS}echo hush\n", "", BROKEN),
    "a process that says too little": ({}, PROCESS + "echo '{\"Version\": 1}'\n", "", BROKEN),
    "a container that fails": (CONTAINER, "", "hush", BROKEN),
    "a container without a token": (
        {**CONTAINER, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{tmp}/astray"},
        "",
        "",
        BROKEN,
    ),
    "a container somewhere else": ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://hush.example/"}, "", "", BROKEN),
    "a machine that fails": ({**MACHINE, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "{endpoint}/"}, "", "", NOT_FOUND),
    "a machine with a bad endpoint": (
        {**MACHINE, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "hush hush"},
        "",
        "",
        "configuration",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_no_source_of_credentials_is_taken_for_the_kms_or_the_bucket(
    source: str,
    unreached: tuple[AwsKms, S3Store],
    service: Service,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    variables, configuration, code, reason = SOURCES[source]
    (tmp_path / "token").touch()
    (tmp_path / "good").write_text("hush.hush.hush")
    (tmp_path / "config").write_text(configuration)
    for name, value in variables.items():
        environment.setenv(name, value.format(tmp=tmp_path, endpoint=service.endpoint))
    if code:
        service.refuse(code)
    key, store = unreached
    refused, unavailable = kms_failure(key, "unwrap"), s3_failure(store, "put")
    assert_an_outage_of_credentials(refused, KmsUnavailable)
    assert_an_outage_of_credentials(unavailable, StoreUnavailable)
    assert reason in str(refused)
    assert str(refused) == str(unavailable)


def test_a_client_handed_in_with_an_empty_token(
    service: Service, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").touch()
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    environment.setenv("AWS_ROLE_ARN", ROLE)
    client = boto3.Session().client("kms", region_name="us-east-1", endpoint_url=service.endpoint)
    key = AwsKms(KEY, client=client)
    for operation in ("wrap", "unwrap"):
        assert_an_outage_of_credentials(kms_failure(key, operation), KmsUnavailable)
    client.close()


@pytest.mark.slow
def test_what_kms_itself_refuses_is_no_matter_of_credentials(service: Service, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", "a")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    service.reply = (400, json.dumps({"__type": "AccessDeniedException", "message": "hush"}))
    client = boto3.Session().client("kms", region_name="us-east-1", endpoint_url=service.endpoint)
    for key in (AwsKms(KEY, endpoint=service.endpoint), AwsKms(KEY, client=client)):
        assert str(kms_failure(key, "wrap")) == "permission to use the key is missing"
    client.close()


def test_a_profile_that_came_after_the_first_attempt_is_found(service: Service, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile late]\nregion = us-east-1\n")
    key = AwsKms(KEY, endpoint=service.endpoint, profile="late")
    assert str(kms_failure(key, "wrap")) == NOT_FOUND
    (tmp_path / "config").write_text("[profile late]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert "credentials" not in str(kms_failure(key, "wrap"))
    assert service.asked
    key.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"SecretAccessKey": "hush", "SessionToken": "hush\nhush"}, "session token"),
        ({"SecretAccessKey": "hush\u2713"}, "secret access key"),
        ({"SecretAccessKey": None}, "secret access key is empty"),
        ({"SecretAccessKey": ""}, "secret access key is empty"),
        ({"AccessKeyId": 5, "SecretAccessKey": "hush"}, "access key id is empty, or no text"),
        ({"SecretAccessKey": "hush", "SessionToken": {"hush": 1}}, "session token is empty, or no text"),
    ],
)
def test_credentials_that_no_request_can_be_signed_with_are_told_as_that(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, credentials: dict[str, Any], said: str
) -> None:
    (tmp_path / "answer").write_text(json.dumps({"Version": 1, "AccessKeyId": "a", **credentials}))
    (tmp_path / "config").write_text(f"[default]\nregion=us-east-1\ncredential_process=/bin/cat {tmp_path}/answer\n")
    key = AwsKms(KEY, endpoint=service.endpoint)
    assert str(kms_failure(key, "wrap")) == BROKEN
    key.close()
    assert service.asked == []
    assert said in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_token_service_that_fails_has_not_refused(
    service: Service, environment: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    (tmp_path / "token").write_text("jwt")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    environment.setenv("AWS_ROLE_ARN", ROLE)
    service.reply = (status, "<html>bad gateway</html>")
    key = AwsKms(KEY, endpoint=service.endpoint)
    assert str(kms_failure(key, "wrap")) == BROKEN
    key.close()


# --- logs


GIVEN = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAX</AccessKeyId>"
    "<SecretAccessKey>hush-hush</SecretAccessKey><SessionToken>hush-token</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    "</AssumeRoleWithWebIdentityResponse>"
)


@pytest.mark.slow
def test_no_credentials_are_in_botocores_log(
    service: Service, environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text("hush-jwt")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    environment.setenv("AWS_ROLE_ARN", ROLE)
    service.reply = (200, GIVEN)
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={service.endpoint}&addressing=path")
    with pytest.raises(StoreUnavailable):  # what the service answers is of a token service, not of S3
        asyncio.run(store.put(ID, b"data"))
    asyncio.run(store.close())
    assert any("hush-jwt" in one for one in service.asked)
    assert "botocore" in caplog.text, "botocore logs nothing, so this test shows nothing"
    assert "hush" not in caplog.text


def _process(tmp_path: Path, script: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    (tmp_path / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {program}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'password hush' >&2; exit 1", "custom-process"),
        ('echo \'{"Version": "hush"}\'', "Unsupported version"),
        ('echo \'{"Version": 1, "AccessKeyId": "hush"}\'', "Missing required key in response: 'SecretAccessKey'"),
        ("echo hush", "JSONDecodeError"),
    ],
)
def test_what_a_credential_process_writes_is_not_repeated(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    _process(tmp_path, script)
    key = AwsKms(KEY, endpoint=service.endpoint)
    assert_an_outage_of_credentials(kms_failure(key, "wrap"), KmsUnavailable)
    key.close()
    assert said in caplog.text
    assert "hush" not in caplog.text.replace(str(tmp_path), "")


def test_a_renewal_that_fails_is_logged_without_what_the_process_wrote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore logs it with a traceback, which ends with the process's words, and begins in frames with keys."""
    caplog.set_level(logging.DEBUG)
    soon = (datetime.now(timezone.utc) + 2 * MINUTE).isoformat()
    keys = f'{{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "hush", "Expiration": "{soon}"}}'
    _process(tmp_path, f"test -e {tmp_path}/once && echo hush >&2 && exit 1; touch {tmp_path}/once; echo '{keys}'")
    key = AwsKms(KEY, endpoint="http://127.0.0.1:1")
    for _ in range(2):
        kms_failure(key, "wrap")
    key.close()
    assert "Refreshing temporary credentials failed" in caplog.text
    assert "hush" not in caplog.text
    assert [record for record in caplog.records if record.name.startswith("botocore") and record.exc_info] == []


@pytest.mark.slow
@pytest.mark.parametrize(("status", "said"), [(500, "non 200 response 500"), (200, "Unable to parse JSON")])
def test_the_body_of_a_metadata_services_reply_is_not_repeated(
    service: Service, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.endpoint}/credentials")
    service.reply = (status, '{"SecretAccessKey": "hush')
    store = S3Store(f"s3://bucket?region=us-east-1&endpoint={service.endpoint}")
    assert_an_outage_of_credentials(s3_failure(store, "get"), StoreUnavailable)
    asyncio.run(store.close())
    assert said in caplog.text
    assert "hush" not in caplog.text


# --- how often a source is asked


class Source:
    """Credentials that live as long as ``lives`` says, or a failure."""

    def __init__(self, lives: timedelta | None) -> None:
        self.lives = lives
        self.asked = 0

    def renew(self) -> dict[str, str]:
        self.asked += 1
        if self.lives is None:
            raise OSError(5, "hush")
        end = datetime.now(timezone.utc) + self.lives
        key = f"key {self.asked}"
        return {"access_key": key, "secret_key": "s", "token": "t", "expiry_time": end.isoformat()}

    def find(self) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(self.renew(), self.renew, "test")


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def test_a_source_that_fails_is_not_asked_for_each_request(clock: Callable[[float], None]) -> None:
    source = Source(None)
    credentials = WatchedCredentials(source.find)
    for _ in range(10_000):
        assert _reason(credentials) == BROKEN
    assert source.asked == 2
    for _ in range(3_000):  # five minutes
        clock(0.1)
        _reason(credentials)
    assert source.asked < 80
    source.lives = HOUR
    clock(5.0)
    assert credentials.get_frozen_credentials().token == "t"


def test_credentials_that_have_not_expired_are_used_while_their_source_fails(clock: Callable[[float], None]) -> None:
    for early in (14 * MINUTE, 5 * MINUTE):  # botocore raises the second's failure, and not the first's
        source = Source(early)
        credentials = WatchedCredentials(source.find)
        assert credentials.get_frozen_credentials().token == "t"
        source.lives, asked = None, source.asked
        for _ in range(1_000):
            assert credentials.get_frozen_credentials().token == "t"
        assert source.asked - asked <= 2
        source.lives = HOUR
        clock(5.0)
        renewed = credentials.get_frozen_credentials()
        assert renewed.access_key == f"key {source.asked}"
        assert credentials.get_frozen_credentials() == renewed


def test_credentials_that_live_for_minutes_are_not_renewed_at_each_request(clock: Callable[[float], None]) -> None:
    source = Source(14 * MINUTE)
    credentials = WatchedCredentials(source.find)
    for _ in range(1_000):
        assert credentials.get_frozen_credentials().token == "t"
    assert source.asked <= 4


def test_expired_credentials_are_looked_for_anew(clock: Callable[[float], None]) -> None:
    source = Source(-MINUTE)
    credentials = WatchedCredentials(source.find)
    assert _reason(credentials) == BROKEN
    source.lives = HOUR
    assert credentials.get_frozen_credentials().token == "t"


def test_one_thread_renews_and_the_others_go_on() -> None:
    started, go = threading.Event(), threading.Event()

    class Slow(Source):
        def renew(self) -> dict[str, str]:
            if self.asked:
                started.set()
                assert go.wait(60)
            return super().renew()

    source = Slow(14 * MINUTE)
    credentials = WatchedCredentials(source.find)
    renewer = threading.Thread(target=credentials.get_frozen_credentials)
    renewer.start()
    assert started.wait(60)
    go.set()
    renewer.join()
    started.clear()
    go.clear()
    renewer = threading.Thread(target=credentials.get_frozen_credentials)
    renewer.start()
    assert started.wait(60)
    for _ in range(100):
        assert credentials.get_frozen_credentials().token == "t"
    go.set()
    renewer.join()


def test_a_source_that_hangs_is_told_and_asked_again_later(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential process that waits for a password, or a token's file that is a pipe which nobody writes to."""
    monkeypatch.setattr("envelope_codec.aws.credentials._SOURCE_SECONDS", 0.05)
    go = threading.Event()
    asked: list[bool] = []

    class Hanging(Source):
        def renew(self) -> dict[str, str]:
            asked.append(True)
            if len(asked) <= 2:
                go.wait(60)
            return super().renew()

    credentials = WatchedCredentials(Hanging(HOUR).find)
    for _ in range(3):
        assert _reason(credentials) == SILENT
    assert len(asked) == 1
    clock(61)
    for _ in range(3):
        assert _reason(credentials) == SILENT
    assert len(asked) == 2
    clock(61)
    assert _reason(credentials) == SILENT
    clock(60)
    monkeypatch.setattr("envelope_codec.aws.credentials._SOURCE_SECONDS", 60)
    assert credentials.get_frozen_credentials().token == "t"
    go.set()


HANGS = """
import sys
from envelope_codec import EnvelopeConfig, SealingContext
from temporalio.api.common.v1 import Payload
import asyncio, boto3, envelope_codec.aws.credentials as credentials
from envelope_codec.temporal.codec import EnvelopeCodec
credentials._SOURCE_SECONDS = 0.2
codec = EnvelopeCodec(EnvelopeConfig(key=sys.argv[1], timeout=3.0))
try:
    asyncio.run(codec.encode([Payload(data=b"x")]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_source_that_hangs_keeps_no_process_from_ending(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    variables = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_ROLE_ARN": ROLE}
    command = [sys.executable, "-c", HANGS, f"awskms:///{KEY}?endpoint=http://127.0.0.1:1"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout == f"KmsUnavailable {SILENT}\n"


def test_no_repr_shows_credentials() -> None:
    credentials = WatchedCredentials(Source(HOUR).find)
    credentials.get_frozen_credentials()
    assert "key 1" not in repr(vars(credentials))
