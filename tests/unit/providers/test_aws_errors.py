"""What each error of AWS becomes, through a real boto3 client and real sockets.

A local HTTP server answers with the error replies of AWS KMS (JSON) and of the token service (XML).
"""

from __future__ import annotations

import base64
import datetime
import json
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import exceptions as sdk
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from envelope_codec.aws.credentials_error import describe
from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import LastUse, WrappedSecret
from envelope_codec.provider import Failed
from envelope_codec_aws import AwsKms
from envelope_codec_aws._connection import OwnConnection
from envelope_codec_aws._errors import ERRORS
from tests.support.calls_in_turn import in_turn
from tests.support.frame_walker import Sentinels, leaks

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = "arn:aws:kms:us-east-1:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab"
ALIAS = "arn:aws:kms:us-east-1:111122223333:alias/payloads"
ROLE = "arn:aws:iam::111122223333:role/worker"
SECRET = bytes(range(32, 64))
CONTEXT = {"temporal-namespace": "shop"}
WRAPPED = WrappedSecret(KEY, "", b"ciphertext-of-the-test")
MESSAGE = "User: arn:aws:iam::111122223333:user/test said hush at https://kms.example"


@dataclass
class Aws:
    """A server that gives one prepared reply to KMS and one to the token service, and counts the requests."""

    endpoint: str = ""
    kms: tuple[int, str] = (200, "{}")
    sts: tuple[int, str] = (200, "")
    requests: list[str] = field(default_factory=list)

    def refuse(self, code: str, status: int = 400, message: str = MESSAGE) -> None:
        self.kms = (status, json.dumps({"__type": code, "message": message}))

    def refuse_role(self, code: str, status: int) -> None:
        self.sts = (
            status,
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>{MESSAGE}</Message></Error><RequestId>1</RequestId></ErrorResponse>",
        )


class _Handler(BaseHTTPRequestHandler):
    aws: Aws

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        target = self.headers.get("X-Amz-Target", "AssumeRole")
        self.aws.requests.append(target.removeprefix("TrentService."))
        status, body = self.aws.sts if target == "AssumeRole" else self.aws.kms
        payload = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def _server() -> Iterator[Aws]:
    aws = Aws()
    handler = type("Handler", (_Handler,), {"aws": aws})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        aws.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield aws
        server.shutdown()
        thread.join()


@pytest.fixture
def aws(_server: Aws, shared_key: AwsKms) -> Aws:
    _server.kms, _server.sts = (200, "{}"), (200, "")
    _server.requests.clear()
    return _server


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture(scope="module")
def shared_key(_server: Aws) -> Iterator[AwsKms]:
    """One for all replies, because to build a boto3 client takes a tenth of a second."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        key = AwsKms(KEY, endpoint=_server.endpoint)
        _server.kms = (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ=="}))
        key.wrap(SECRET, CONTEXT)
    yield key
    key.close()


def failure_of(key: AwsKms, operation: str) -> EnvelopeError:
    """The error of one call, checked for what every error has to keep."""
    with pytest.raises(EnvelopeError) as caught:
        key.wrap(SECRET, CONTEXT) if operation == "wrap" else key.unwrap(WRAPPED, CONTEXT)
    error = caught.value
    assert error.operation == operation
    assert error.key_id == key.key_id
    assert error.__cause__ is None
    assert error.__context__ is None, "boto3's error travels with ours"
    text = f"{error} {error.reason}"
    for leak in ("arn:", "1111", "http", "127.0.0.1", "hush", "test", "shop", SECRET.decode()):
        assert leak not in text
    assert leaks(error, Sentinels(SECRET, b"hush-hush")) == []
    return error


DENIED = (KeyDenied, KeyDenied)
UNAVAILABLE = (KmsUnavailable, KmsUnavailable)
BAD_CIPHERTEXT = (InvalidCiphertext, InvalidCiphertext)
BAD_REQUEST = (KeyDenied, InvalidCiphertext)

REPLIES = [
    # Errors of Encrypt, Decrypt and DescribeKey
    ("DependencyTimeoutException", 503, UNAVAILABLE),
    ("DisabledException", 400, DENIED),
    ("DryRunOperationException", 400, UNAVAILABLE),
    ("IncorrectKeyException", 400, BAD_CIPHERTEXT),
    ("InvalidArnException", 400, DENIED),
    ("InvalidCiphertextException", 400, BAD_CIPHERTEXT),
    ("InvalidGrantTokenException", 400, DENIED),
    ("InvalidKeyUsageException", 400, DENIED),
    ("KeyUnavailableException", 500, UNAVAILABLE),
    ("KeyUnavailableException", 400, UNAVAILABLE),
    ("KMSInternalException", 500, UNAVAILABLE),
    ("KMSInternalException", 400, UNAVAILABLE),
    ("DependencyTimeoutException", 400, UNAVAILABLE),
    ("KMSInvalidStateException", 400, DENIED),
    ("LimitExceededException", 400, UNAVAILABLE),
    ("NotFoundException", 400, DENIED),
    # Errors common to all services
    ("AccessDenied", 403, DENIED),
    ("AccessDeniedException", 400, DENIED),
    ("AccessDeniedException", 403, DENIED),
    ("com.amazonaws.kms#AccessDeniedException", 400, DENIED),
    ("ExpiredToken", 400, UNAVAILABLE),
    ("ExpiredTokenException", 403, UNAVAILABLE),
    ("IncompleteSignature", 403, UNAVAILABLE),
    ("IncompleteSignatureException", 400, UNAVAILABLE),
    ("InternalFailure", 500, UNAVAILABLE),
    ("InternalServerError", 500, UNAVAILABLE),
    ("InvalidClientTokenId", 403, UNAVAILABLE),
    ("InvalidSignatureException", 400, UNAVAILABLE),
    ("MalformedHttpRequestException", 400, UNAVAILABLE),
    ("MissingAuthenticationToken", 403, UNAVAILABLE),
    ("MissingAuthenticationTokenException", 400, UNAVAILABLE),
    ("NotAuthorized", 401, DENIED),
    ("OptInRequired", 403, UNAVAILABLE),
    ("RequestAbortedException", 400, UNAVAILABLE),
    ("RequestEntityTooLargeException", 413, UNAVAILABLE),
    ("RequestExpired", 400, UNAVAILABLE),
    ("RequestLimitExceeded", 400, UNAVAILABLE),
    ("RequestTimeoutException", 408, UNAVAILABLE),
    ("RequestTimeTooSkewed", 403, UNAVAILABLE),
    ("ServiceUnavailable", 503, UNAVAILABLE),
    ("SignatureDoesNotMatch", 403, UNAVAILABLE),
    ("Throttling", 400, UNAVAILABLE),
    ("ThrottlingException", 400, UNAVAILABLE),
    ("TooManyRequestsException", 429, UNAVAILABLE),
    ("UnrecognizedClientException", 400, UNAVAILABLE),
    ("UnknownOperationException", 404, UNAVAILABLE),
    ("ValidationError", 400, BAD_REQUEST),
    ("ValidationException", 400, BAD_REQUEST),
    # Custom key stores
    ("CloudHsmClusterNotActiveException", 400, UNAVAILABLE),
    ("CloudHsmClusterNotFoundException", 400, UNAVAILABLE),
    ("CustomKeyStoreInvalidStateException", 400, DENIED),
    ("CustomKeyStoreNotFoundException", 400, DENIED),
    ("XksKeyInvalidConfigurationException", 400, DENIED),
    ("XksKeyNotFoundException", 400, DENIED),
    ("XksProxyIncorrectAuthenticationCredentialException", 400, UNAVAILABLE),
    ("XksProxyInvalidResponseException", 400, UNAVAILABLE),
    ("XksProxyUriUnreachableException", 400, UNAVAILABLE),
    # Codes that nobody has heard of, and a server in trouble that still says "denied"
    ("BrandNewException", 400, UNAVAILABLE),
    ("BrandNewException", 403, UNAVAILABLE),
    ("BrandNewException", 500, UNAVAILABLE),
    ("AccessDeniedException", 500, UNAVAILABLE),
    ("InvalidCiphertextException", 503, UNAVAILABLE),
]


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
@pytest.mark.parametrize(("code", "status", "kinds"), REPLIES)
def test_each_error_code_has_its_class(
    code: str,
    status: int,
    kinds: tuple[type[EnvelopeError], type[EnvelopeError]],
    operation: str,
    aws: Aws,
    shared_key: AwsKms,
) -> None:
    aws.refuse(code, status)
    error = failure_of(shared_key, operation)
    assert type(error) is kinds[operation == "unwrap"]
    assert error.retryable is (type(error) is KmsUnavailable)
    assert aws.requests == ["Encrypt" if operation == "wrap" else "Decrypt"], "asked more than once"


def test_a_throttling_status_is_enough(aws: Aws, shared_key: AwsKms) -> None:
    aws.kms = (429, "")
    assert "throttled" in str(failure_of(shared_key, "wrap"))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "permission"),
        ("DisabledException", "disabled"),
        ("ExpiredTokenException", "credentials"),
        ("IncorrectKeyException", "another key"),
        ("InvalidCiphertextException", "context"),
        ("InvalidKeyUsageException", "not made for"),
        ("KMSInternalException", "server error"),
        ("KMSInvalidStateException", "pending deletion"),
        ("NotFoundException", "does not exist"),
        ("ThrottlingException", "throttled"),
        ("UnrecognizedClientException", "credentials"),
    ],
)
def test_the_reason_tells_an_operator_where_to_look(code: str, says: str, aws: Aws, shared_key: AwsKms) -> None:
    aws.refuse(code)
    assert says in str(failure_of(shared_key, "unwrap"))


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        # State of the key
        (f"{KEY} is pending deletion.", KeyDenied),
        (f"{KEY} is pending import.", KeyDenied),
        (f"{KEY} is unavailable.", KeyDenied),
        ("", KeyDenied),
        # External key stores: the texts that AWS documents
        ("The external key store proxy denied access to the operation.", KeyDenied),
        ("The external key store proxy rejected the request because it could not find the external key.", KeyDenied),
        (
            "The external key store proxy rejected the request because the external key is not enabled in the external "
            "key manager.",
            KeyDenied,
        ),
        (
            "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the "
            "request.",
            KmsUnavailable,
        ),
        ("The external key store proxy did not respond to the request in the time allotted.", KmsUnavailable),
        ("AWS KMS cannot communicate with the external key store proxy.", KmsUnavailable),
        ("The external key store proxy is in an unhealthy state.", KmsUnavailable),
        (
            "The external key store proxy rejected the request because it could not authenticate AWS KMS.",
            KmsUnavailable,
        ),
        ("AWS KMS cannot interpret the response from the external key store proxy.", KmsUnavailable),
        ("The request was rejected due to a very high request rate.", KmsUnavailable),
        (
            "The external key store proxy rejected the request because the specified ciphertext or additional "
            "authenticated data is corrupted, missing, or otherwise invalid.",
            InvalidCiphertext,
        ),
    ],
)
def test_an_invalid_state_is_a_refusal_unless_the_key_store_is_in_trouble(
    message: str, kind: type[EnvelopeError], operation: str, aws: Aws, shared_key: AwsKms
) -> None:
    aws.refuse("KMSInvalidStateException", 400, message)
    assert type(failure_of(shared_key, operation)) is kind


@pytest.mark.parametrize("operation", ["wrap", "unwrap"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "{}"),
        (200, "<html>Please log in</html>"),
        (200, json.dumps({"KeyId": KEY})),
        (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "", "Plaintext": ""})),
        (200, json.dumps({"CiphertextBlob": "YQ==", "Plaintext": "YQ=="})),
        (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "?", "Plaintext": "?"})),
        (200, json.dumps([1])),
        (302, ""),
        (403, "<html>Forbidden by the proxy</html>"),
        (404, ""),
        (429, ""),
        (502, "<html>Bad gateway</html>"),
        (503, ""),
    ],
)
def test_what_is_no_reply_of_a_kms_is_no_answer(
    status: int, body: str, operation: str, aws: Aws, shared_key: AwsKms
) -> None:
    aws.kms = (status, body)
    assert type(failure_of(shared_key, operation)) is KmsUnavailable


def test_a_wrap_under_another_key_is_not_taken(aws: Aws, shared_key: AwsKms) -> None:
    aws.kms = (200, json.dumps({"KeyId": OTHER_KEY, "CiphertextBlob": "YQ=="}))
    assert type(failure_of(shared_key, "wrap")) is KmsUnavailable
    assert not shared_key.accepts(OTHER_KEY)


def test_an_unwrap_under_another_key_is_not_taken(aws: Aws, shared_key: AwsKms) -> None:
    aws.kms = (200, json.dumps({"KeyId": OTHER_KEY, "Plaintext": base64.b64encode(SECRET).decode()}))
    assert type(failure_of(shared_key, "unwrap")) is InvalidCiphertext


def test_what_another_key_wrapped_is_refused_without_asking(aws: Aws, shared_key: AwsKms) -> None:
    with pytest.raises(InvalidCiphertext):
        shared_key.unwrap(WrappedSecret(OTHER_KEY, "", b"ciphertext"), CONTEXT)
    assert aws.requests == []


def test_a_record_that_boto3_refuses_to_send_is_bad_ciphertext(aws: Aws, shared_key: AwsKms) -> None:
    with pytest.raises(InvalidCiphertext) as caught:
        shared_key.unwrap(WRAPPED, {"temporal-namespace": 1})  # type: ignore[dict-item]
    assert caught.value.__context__ is None
    assert aws.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDeniedException", 400, KeyDenied),
        ("NotFoundException", 400, KeyDenied),
        ("ThrottlingException", 400, KmsUnavailable),
        ("KMSInternalException", 500, KmsUnavailable),
    ],
)
def test_an_alias_that_cannot_be_followed_says_why(code: str, status: int, kind: type[EnvelopeError], aws: Aws) -> None:
    key = AwsKms(ALIAS, endpoint=aws.endpoint)
    aws.refuse(code, status)
    for call in (lambda: key.accepts(KEY), lambda: key.unwrap(WRAPPED, CONTEXT)):
        with pytest.raises(EnvelopeError) as caught:
            call()
        assert type(caught.value) is kind
        assert caught.value.__context__ is None
        assert "arn:" not in str(caught.value)
    assert aws.requests == ["DescribeKey"], "what it came to is told again for some seconds"
    key.close()


def test_what_a_look_up_of_an_alias_failed_with_is_told_again_for_some_seconds(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record can name eight keys."""
    now = time.monotonic()
    monkeypatch.setattr("envelope_codec_aws._targets.time.monotonic", lambda: now)
    key = AwsKms(ALIAS, endpoint=aws.endpoint)
    aws.refuse("AccessDeniedException", 400)
    for _ in range(8):
        with pytest.raises(KeyDenied):
            key.accepts(KEY)
    assert aws.requests == ["DescribeKey"]
    now += 6
    with pytest.raises(KeyDenied):
        key.accepts(KEY)
    assert aws.requests == ["DescribeKey"] * 2
    key.close()


@pytest.mark.slow
def test_an_alias_is_followed_once_and_what_it_pointed_at_stays_accepted(aws: Aws) -> None:
    key = AwsKms(ALIAS, endpoint=aws.endpoint)
    aws.kms = (200, json.dumps({"KeyMetadata": {"Arn": KEY, "KeyId": "x"}}))
    assert key.accepts(KEY)
    assert key.accepts(KEY)
    assert not key.accepts(OTHER_KEY)
    assert aws.requests == ["DescribeKey"]
    aws.kms = (200, json.dumps({"KeyId": OTHER_KEY, "CiphertextBlob": "YQ=="}))
    assert key.wrap(SECRET, CONTEXT).key_id == OTHER_KEY
    assert key.accepts(OTHER_KEY)
    assert key.accepts(KEY)
    assert aws.requests == ["DescribeKey", "Encrypt"]
    key.close()


def test_an_alias_is_asked_again_about_an_unknown_key_after_some_seconds(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = AwsKms(ALIAS, endpoint=aws.endpoint)
    aws.kms = (200, json.dumps({"KeyMetadata": {"Arn": KEY, "KeyId": "x"}}))
    assert not key.accepts(OTHER_KEY)
    aws.kms = (200, json.dumps({"KeyMetadata": {"Arn": OTHER_KEY, "KeyId": "x"}}))
    assert not key.accepts(OTHER_KEY)
    later = time.monotonic() + 10.0
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert key.accepts(OTHER_KEY)
    assert key.accepts(KEY)
    key.close()


@pytest.mark.slow
@pytest.mark.parametrize("arn", [OTHER_KEY.replace("1111", "9999"), ALIAS, "x", None])
def test_an_alias_does_not_follow_to_what_it_cannot_point_at(arn: str | None, aws: Aws) -> None:
    key = AwsKms(ALIAS, endpoint=aws.endpoint)
    aws.kms = (200, json.dumps({"KeyMetadata": {"Arn": arn, "KeyId": "x"}, "KeyId": arn, "CiphertextBlob": "YQ=="}))
    with pytest.raises(KmsUnavailable):
        key.accepts(KEY)
    assert type(failure_of(key, "wrap")) is KmsUnavailable
    key.close()


# --- the way there


def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and never listens
        key = AwsKms(KEY, endpoint=f"http://127.0.0.1:{reserved.getsockname()[1]}")
        for operation in ("wrap", "unwrap"):
            assert type(failure_of(key, operation)) is KmsUnavailable
        key.close()


@pytest.mark.slow
def test_a_server_that_never_answers_costs_one_read_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        key = AwsKms(KEY, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.2)
        error = failure_of(key, "wrap")
        assert type(error) is KmsUnavailable
        assert "in time" in str(error)
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):  # one connection, so boto3 did not retry
            silent.accept()
        key.close()


@pytest.mark.timeout(20)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the backlog in another way")
def test_a_server_that_takes_no_connection_costs_the_connect_time_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # fills the backlog: further SYNs are dropped
            key = AwsKms(KEY, endpoint=f"http://127.0.0.1:{port}", connect_timeout=0.2)
            error = failure_of(key, "wrap")
            assert type(error) is KmsUnavailable
            assert "in time" in str(error)
            key.close()


def test_a_connection_closed_in_the_middle_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        key = AwsKms(KEY, endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert type(failure_of(key, "unwrap")) is KmsUnavailable
        thread.join()
        key.close()


def test_a_host_that_does_not_exist_is_no_answer() -> None:
    key = AwsKms(KEY, endpoint="http://kms.invalid")
    assert type(failure_of(key, "wrap")) is KmsUnavailable
    key.close()


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for_is_no_answer(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path / "server.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake_hands() -> None:
            connection, _ = server.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True).recv(1)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        key = AwsKms(KEY, endpoint=f"https://127.0.0.1:{server.getsockname()[1]}")
        error = failure_of(key, "wrap")
        assert type(error) is KmsUnavailable
        assert "TLS" in str(error)
        thread.join()
        key.close()


def test_a_proxy_that_is_down_is_no_answer(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{reserved.getsockname()[1]}")
        key = AwsKms(KEY, endpoint="http://kms.example")
        assert type(failure_of(key, "wrap")) is KmsUnavailable
        key.close()


def test_close_ends_the_connections_and_may_come_twice_and_is_final() -> None:
    body = json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ=="}).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", 0)) as server:
        key = AwsKms(KEY, endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        caller = threading.Thread(target=key.wrap, args=(SECRET, CONTEXT))
        caller.start()
        connection, _peer = server.accept()
        with connection:
            connection.settimeout(30)
            request = b""
            while not request.endswith(b"}"):  # headers and body may come apart
                request += connection.recv(65536)
            connection.sendall(reply)
            caller.join()
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):  # kept alive for the next call
                connection.recv(1)
            held = key._connection.process.get()  # as a call in another thread would, else the last reference closes it
            key.close()
            key.close()
            connection.settimeout(30)
            assert connection.recv(1) == b""
            del held
        for operation in ("wrap", "unwrap"):
            assert_closed(failure_of(key, operation))
        assert key._connection.process.made is None
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def assert_closed(error: EnvelopeError) -> None:
    assert type(error) is KmsUnavailable
    assert error.reason == "this master key is closed"


def test_after_close_no_credentials_are_looked_for_not_even_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    key = AwsKms(KEY)
    key.close()
    key._connection.process._leave()  # as a child does
    with pytest.raises(Failed, match="closed"):
        key._connection.process.get()


@pytest.mark.slow
def test_a_client_handed_in_is_not_used_after_close(aws: Aws) -> None:
    client = boto3.client("kms", region_name="us-east-1", endpoint_url=aws.endpoint)
    key = AwsKms(KEY, client=client)
    aws.kms = (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ=="}))
    key.wrap(SECRET, CONTEXT)
    key.close()
    assert_closed(failure_of(key, "wrap"))
    assert aws.requests == ["Encrypt"]
    client.close()


def client_built_by(key: AwsKms) -> KMSClient:
    assert isinstance(key._connection, OwnConnection)
    client, _ = key._connection.process.get()
    return client


def test_a_connection_made_after_close_by_a_call_under_way_is_ended_with_it(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    key = AwsKms(KEY, endpoint=aws.endpoint)
    client = client_built_by(key)
    close = client.close
    monkeypatch.setattr(client, "close", in_turn(lambda: closed.append(",".join(aws.requests)), close))
    client.meta.events.register("before-call.kms", lambda **_: key.close())
    aws.kms = (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ=="}))
    assert key.wrap(SECRET, CONTEXT) == WrappedSecret(KEY, "", b"a")
    assert closed == ["", "Encrypt"]


def test_the_bounds_of_a_client_built_here(aws: Aws) -> None:
    key = AwsKms(KEY, endpoint=aws.endpoint)
    config: Any = client_built_by(key).meta.config  # its stubs do not know the options
    assert (config.connect_timeout, config.read_timeout) == (2.0, 5.0)
    assert config.retries["total_max_attempts"] == 1
    assert config.max_pool_connections >= 16
    key.close()


# --- credentials


def test_missing_credentials_are_no_answer_and_are_found_once_they_are_there(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    key = AwsKms(KEY, endpoint=aws.endpoint)
    error = failure_of(key, "wrap")
    assert type(error) is KmsUnavailable
    assert "credentials" in str(error)
    assert aws.requests == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    aws.kms = (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ=="}))
    assert key.wrap(SECRET, CONTEXT) == WrappedSecret(KEY, "", b"a")
    key.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "process",
    [
        "sh -c 'echo no such vault >&2; exit 1'",
        "echo '{}'",
        "echo nonsense",
        'echo \'{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", '
        '"Expiration": "2020-01-01T00:00:00Z"}\'',
    ],
    ids=["fails", "incomplete", "nonsense", "expired"],
)
def test_a_failing_source_of_credentials_is_no_answer(process: str, aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[profile broken]\ncredential_process = {process}\n")
    key = AwsKms(KEY, endpoint=aws.endpoint, profile="broken")
    assert type(failure_of(key, "wrap")) is KmsUnavailable
    assert aws.requests == []
    key.close()


def test_a_profile_that_went_missing_is_no_answer(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile staging]\nregion = us-east-1\n")
    key = AwsKms(KEY, endpoint=aws.endpoint, profile="staging")
    (tmp_path / "config").unlink()
    assert type(failure_of(key, "wrap")) is KmsUnavailable
    key.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("AccessDenied", 403, "permission to assume the role"),
        ("ExpiredToken", 400, "that ask for the role have expired"),
        ("ExpiredTokenException", 403, "that ask for the role have expired"),
        ("InvalidClientTokenId", 403, "that ask for the role have expired"),
        ("SignatureDoesNotMatch", 403, "that ask for the role have expired"),
        ("RegionDisabledException", 403, "not enabled in this region"),
        ("ValidationError", 400, "token service refused"),
        ("Throttling", 400, "token service refused"),
        ("InternalFailure", 500, "their source failed"),
        ("ServiceUnavailable", 503, "their source failed"),
    ],
)
def test_a_role_that_is_not_to_be_had_says_nothing_of_the_key(code: str, status: int, said: str, aws: Aws) -> None:
    aws.refuse_role(code, status)
    key = AwsKms(KEY, endpoint=aws.endpoint, sts_endpoint=aws.endpoint, role=ROLE)
    error = failure_of(key, "unwrap")
    assert type(error) is KmsUnavailable
    assert said in str(error)
    assert aws.requests == ["AssumeRole"], "asked more than once, or went on without the role"
    key.close()


@pytest.mark.slow
def test_a_silent_token_service_costs_one_read_time_out(aws: Aws) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sts = f"http://127.0.0.1:{silent.getsockname()[1]}"
        key = AwsKms(KEY, endpoint=aws.endpoint, sts_endpoint=sts, role=ROLE, read_timeout=0.2)
        assert type(failure_of(key, "wrap")) is KmsUnavailable
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
        key.close()


def test_threads_that_wait_for_credentials_share_one_failure(aws: Aws, tmp_path: Path) -> None:
    calls, go = tmp_path / "calls", tmp_path / "go"
    script = tmp_path / "credentials.sh"
    script.write_text(f"echo call >> {calls}\nwhile [ ! -e {go} ]; do sleep 0.02; done\nexit 1\n")
    (tmp_path / "config").write_text(f"[profile slow]\ncredential_process = sh {script}\n")
    key = AwsKms(KEY, endpoint=aws.endpoint, profile="slow")
    failures: list[EnvelopeError] = []
    threads = [threading.Thread(target=lambda: failures.append(failure_of(key, "wrap"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while (
        _innermost_functions(threads).count("wait") < 8
    ):  # a thread of their own runs the script, and they wait for it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    go.touch()
    for thread in threads:
        thread.join()
    assert [type(failure) for failure in failures] == [KmsUnavailable] * 8
    assert calls.read_text().splitlines() == ["call"]
    key.close()


def test_close_does_not_wait_for_credentials_and_no_request_is_made_when_they_come(aws: Aws, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    (tmp_path / "credentials.sh").write_text(
        f"touch {started}\n"
        f"while [ ! -e {go} ]; do sleep 0.02; done\n"
        'echo \'{"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "test"}\'\n'
    )
    (tmp_path / "config").write_text(f"[profile slow]\ncredential_process = sh {tmp_path}/credentials.sh\n")
    key = AwsKms(KEY, endpoint=aws.endpoint, profile="slow")
    failures: list[EnvelopeError] = []
    caller = threading.Thread(target=lambda: failures.append(failure_of(key, "wrap")))
    closer = threading.Thread(target=key.close)
    caller.start()
    try:
        deadline = time.monotonic() + 30
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        closer.start()
        closer.join(30)
        assert not closer.is_alive()
    finally:
        go.touch()
        caller.join()
    assert_closed(failures[0])
    assert key._connection.process.made is None
    assert aws.requests == []


def test_a_secret_that_another_key_unwrapped_stays_behind(aws: Aws, shared_key: AwsKms) -> None:
    aws.kms = (200, json.dumps({"KeyId": OTHER_KEY, "Plaintext": base64.b64encode(SECRET).decode()}))
    assert type(failure_of(shared_key, "unwrap")) is InvalidCiphertext


def test_a_fault_in_this_process_is_told_as_one_and_logged_with_its_place(
    aws: Aws, shared_key: AwsKms, caplog: pytest.LogCaptureFixture
) -> None:
    for operation, call in (("wrap", shared_key.wrap), ("unwrap", shared_key.unwrap)):
        caplog.clear()
        with pytest.raises(KmsUnavailable, match=r"^the provider failed unexpectedly$") as caught:
            call(SECRET if operation == "wrap" else WRAPPED, 5)  # type: ignore[arg-type]
        assert leaks(caught.value, Sentinels(SECRET)) == []
        assert caught.value.operation == operation
        (record,) = [record for record in caplog.records if record.name.startswith("envelope_codec")]
        assert "TypeError" in record.getMessage()
        assert '_master_key.py", line' in record.getMessage()


@pytest.mark.parametrize(
    "body", ["[]", "7", '"text"', "null", "<html>", '{"KeyId": 7}', '{"Plaintext": 7}', '{"Plaintext": "?"}']
)
def test_a_reply_that_no_kms_gives_is_not_taken_for_a_fault(aws: Aws, shared_key: AwsKms, body: str) -> None:
    for status in (200, 400, 500):
        aws.kms = (status, body)
        assert failure_of(shared_key, "unwrap").reason != "the provider failed unexpectedly"


@pytest.mark.parametrize("error", [TypeError(), KeyError("Plaintext"), AttributeError(), ValueError(), RuntimeError()])
def test_errors_of_no_table_are_faults_and_those_of_the_way_there_are_not(error: Exception) -> None:
    assert ERRORS.make_error(error, operation="wrap", key_id=KEY).reason == "the provider failed unexpectedly"
    for other in (OSError(), sdk.BotoCoreError(), sdk.UnknownSignatureVersionError(signature_version="v9")):
        assert ERRORS.make_error(other, operation="wrap", key_id=KEY).reason == "the KMS gave no usable answer"


# --- logs


@pytest.mark.slow
def test_the_log_has_what_the_error_must_not_say_and_warns_once(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    key = AwsKms(KEY, endpoint=aws.endpoint)
    aws.refuse("AccessDeniedException", 400, f"{MESSAGE}\nx-amz-security-token:tkn")
    caplog.set_level(logging.DEBUG, logger="envelope_codec.aws")
    for _ in range(3):
        failure_of(key, "unwrap")
    records = [record for record in caplog.records if record.name == "envelope_codec.aws"]
    assert [record.levelname for record in records] == ["WARNING", "DEBUG", "DEBUG"]
    for part in (KEY, "AccessDeniedException", "HTTP 400", MESSAGE):
        assert part in records[0].getMessage()
    assert "tkn" not in records[0].getMessage()
    key.close()


def test_the_log_of_a_request_that_boto3_refuses_holds_none_of_it(
    aws: Aws, shared_key: AwsKms, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KeyDenied):
        shared_key.wrap({"secret": SECRET.decode()}, CONTEXT)  # type: ignore[arg-type]
    assert "ParamValidationError" in caplog.text
    assert SECRET.decode() not in caplog.text


def test_the_log_repeats_no_header_that_could_not_be_sent() -> None:
    error = sdk.HTTPClientError(error=ValueError("Invalid header value b'hush\\nhush'"))
    assert ERRORS.describe(error) == "HTTPClientError: ValueError"
    assert describe(error) == "HTTPClientError: ValueError"


def test_secrets_and_credentials_stay_out_of_botocores_debug_log(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(SECRET).decode()
    aws.kms = (200, json.dumps({"KeyId": KEY, "CiphertextBlob": "YQ==", "Plaintext": encoded}))
    aws.sts = (
        200,
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        "<AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>hush-hush</SecretAccessKey><SessionToken>t</SessionToken>"
        "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
    )
    key = AwsKms(KEY, endpoint=aws.endpoint, sts_endpoint=aws.endpoint, role=ROLE)
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    assert aws.requests == ["AssumeRole", "Encrypt", "Decrypt"]
    assert "botocore" in caplog.text, "botocore logs nothing, so this test shows nothing"
    for secret in (SECRET.decode(), repr(SECRET), encoded, "hush-hush"):
        assert secret not in caplog.text
    key.close()


def test_what_others_do_with_botocore_is_logged_as_ever(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    aws.kms = (200, json.dumps({"Keys": [{"KeyId": "seen-in-the-log"}]}))
    boto3.client("kms", region_name="us-east-1", endpoint_url=aws.endpoint).list_keys()
    assert "seen-in-the-log" in caplog.text


def _innermost_functions(threads: list[threading.Thread]) -> list[str]:
    frames = sys._current_frames()
    return [frames[thread.ident].f_code.co_name for thread in threads if thread.ident in frames]


def _self_signed(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


USED = {"Operation": "Decrypt", "Timestamp": 1_700_000_000.5, "CloudTrailEventId": "e-1", "KmsRequestId": "r-1"}


@pytest.mark.parametrize(
    ("reply", "use"),
    [
        ({"KeyLastUsage": USED, "TrackingStartDate": 5}, LastUse(1_700_000_000.5, "Decrypt", "e-1", 5.0)),
        ({"KeyLastUsage": {}, "TrackingStartDate": 5}, LastUse(None, since=5.0)),
        ({}, LastUse(None)),
    ],
)
def test_the_last_use_is_what_aws_has_recorded(
    aws: Aws, shared_key: AwsKms, reply: dict[str, Any], use: LastUse
) -> None:
    aws.kms = (200, json.dumps({"KeyId": KEY, **reply}))
    assert shared_key.last_use(KEY) == use
    assert aws.requests == ["GetKeyLastUsage"]


def test_a_last_use_that_may_not_be_asked_for_is_a_refusal(aws: Aws, shared_key: AwsKms) -> None:
    aws.refuse("AccessDeniedException")
    with pytest.raises(KeyDenied) as caught:
        shared_key.last_use(KEY)
    assert "arn:" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_last_use_of_another_key_is_not_asked_for(aws: Aws, shared_key: AwsKms) -> None:
    with pytest.raises(EnvelopeError):
        shared_key.last_use(OTHER_KEY)
    assert aws.requests == []


def test_a_botocore_that_is_too_old_tells_no_last_use() -> None:
    class Old:
        meta = boto3.client("kms", region_name="us-east-1").meta

    old: Any = Old()
    assert AwsKms(KEY, client=old).last_use(KEY) is None
