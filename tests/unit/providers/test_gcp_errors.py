"""What the GCP provider makes of each error: a real gRPC server that fails as told, and Google's real client."""

from __future__ import annotations

import logging
import pickle
import socket
import socketserver
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.protobuf import any_pb2, message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]
from grpc_status import rpc_status  # type: ignore[import-untyped,unused-ignore]

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import WrappedSecret
from envelope_codec.provider import Failed
from envelope_codec_gcp import GcpKms
from envelope_codec_gcp._connection import connect
from envelope_codec_gcp._endpoint import Endpoint
from envelope_codec_gcp._errors import BY_STATUS, ERRORS, OUTAGES, REFUSALS
from envelope_codec_gcp._identity import Identity
from tests.support.frame_walker import Sentinels, leaks

NAME = "projects/secret-project/locations/global/keyRings/secret-ring/cryptoKeys/secret-key"
WRAPPED = WrappedSecret(NAME, "1", b"ciphertext")
CONTEXT = {"temporal-namespace": "default"}
SECRET = b"the secret of the test, 32 bytes"
CALLS: dict[str, Callable[[GcpKms], object]] = {
    "wrap": lambda key: key.wrap(SECRET, CONTEXT),
    "unwrap": lambda key: key.unwrap(WRAPPED, CONTEXT),
}
TOLD = f"{NAME} at 127.0.0.1 is out: SENTINEL"
Code = grpc.StatusCode
Answer = Callable[[grpc.ServicerContext], None]


class Failing(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    """Every method of every service ends as ``answer`` says."""

    def __init__(self) -> None:
        self.answer: Answer = lambda context: None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._call)

    def _call(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.answer(context)
        return b""


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Failing, str]]:
    failing = Failing()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((failing,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield failing, f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture(scope="module")
def key(running: tuple[Failing, str]) -> Iterator[GcpKms]:
    key = GcpKms(NAME, endpoint=running[1])
    yield key
    key.close()


@pytest.fixture
def failing(running: tuple[Failing, str]) -> Failing:
    return running[0]


def ends_with(code: grpc.StatusCode, text: str = TOLD, *details: message.Message) -> Answer:
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return lambda context: context.abort_with_status(rpc_status.to_status(status))


def violating(*types: str) -> error_details_pb2.PreconditionFailure:
    violation = error_details_pb2.PreconditionFailure.Violation
    return error_details_pb2.PreconditionFailure(violations=[violation(type=kind, subject=NAME) for kind in types])


def error_of(key: GcpKms, operation: str) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        CALLS[operation](key)
    error = caught.value
    assert error.operation == operation
    assert error.key_id == NAME
    assert error.retryable is isinstance(error, KmsUnavailable)
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = str(error) + "".join(traceback.format_exception_only(error)) + repr(error.args)
    for told in ("SENTINEL", "127.0.0.1", "secret-project", "secret-ring", "secret-key"):
        assert told not in shown
    assert pickle.loads(pickle.dumps(error)).reason == error.reason
    assert leaks(error, Sentinels(SECRET)) == []
    return error


STATUSES = [
    (Code.CANCELLED, KmsUnavailable, "the call to the KMS was cancelled"),
    (Code.UNKNOWN, KmsUnavailable, "the call to the KMS failed"),
    (Code.DEADLINE_EXCEEDED, KmsUnavailable, "the KMS did not answer in time"),
    (Code.NOT_FOUND, KeyDenied, "the KMS has no such key"),
    (Code.ALREADY_EXISTS, KmsUnavailable, "the call to the KMS failed"),
    (Code.PERMISSION_DENIED, KeyDenied, "the KMS refused: permission is missing"),
    (Code.RESOURCE_EXHAUSTED, KmsUnavailable, "the KMS is throttling"),
    (Code.FAILED_PRECONDITION, KeyDenied, "the key is disabled, destroyed, or not made for encryption"),
    (Code.ABORTED, KmsUnavailable, "the KMS aborted the call"),
    (Code.OUT_OF_RANGE, KmsUnavailable, "the call to the KMS failed"),
    (Code.UNIMPLEMENTED, KmsUnavailable, "the call to the KMS failed"),
    (Code.INTERNAL, KmsUnavailable, "the KMS had an internal error"),
    (Code.UNAVAILABLE, KmsUnavailable, "the KMS could not be reached"),
    (Code.DATA_LOSS, KmsUnavailable, "the call to the KMS failed"),
    (Code.UNAUTHENTICATED, KmsUnavailable, "the KMS did not take the credentials, which may have expired"),
]


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(("code", "kind", "reason"), STATUSES, ids=lambda value: getattr(value, "name", ""))
def test_a_status_becomes_one_of_the_library_s_errors(
    failing: Failing, key: GcpKms, operation: str, code: grpc.StatusCode, kind: type[EnvelopeError], reason: str
) -> None:
    failing.answer = ends_with(code)
    error = error_of(key, operation)
    assert type(error) is kind
    assert error.reason == reason


def test_the_table_above_has_every_status() -> None:
    named = {code for code, _, _ in STATUSES}
    assert named == set(Code) - {Code.OK, Code.INVALID_ARGUMENT}
    assert set(BY_STATUS) - {Code.INVALID_ARGUMENT} <= named


@pytest.mark.parametrize(
    ("operation", "kind"), [("unwrap", InvalidCiphertext), ("wrap", KeyDenied)], ids=["unwrap", "wrap"]
)
def test_an_invalid_argument_is_the_ciphertext_where_there_is_one(
    failing: Failing, key: GcpKms, operation: str, kind: type[EnvelopeError]
) -> None:
    failing.answer = ends_with(Code.INVALID_ARGUMENT, f"Decryption failed: the ciphertext is invalid. {TOLD}")
    assert type(error_of(key, operation)) is kind


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("field", ["plaintext", "ciphertext", "additional_authenticated_data"])
def test_a_checksum_that_does_not_match_is_no_invalid_ciphertext(
    failing: Failing, key: GcpKms, operation: str, field: str
) -> None:
    text = f"The checksum in field {field}_crc32c did not match the data in field {field}."
    failing.answer = ends_with(Code.INVALID_ARGUMENT, text)
    error = error_of(key, operation)
    assert type(error) is KmsUnavailable
    assert "damaged on the way" in error.reason


PRECONDITIONS = [
    *((("KEY_STATE", kind), KmsUnavailable) for kind in sorted(OUTAGES)),
    *(((kind,), KmsUnavailable) for kind in sorted(OUTAGES)),
    *((("KEY_STATE", kind), KeyDenied) for kind in sorted(REFUSALS)),
    *(((kind,), KeyDenied) for kind in sorted(REFUSALS)),
    (("KEY_DISABLED", "TIMEOUT"), KeyDenied),
    (("KEY_STATE", "A_LATER_KIND_OF_TROUBLE"), KmsUnavailable),
    (("A_LATER_STATE",), KeyDenied),
    ((), KeyDenied),
]


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(("types", "kind"), PRECONDITIONS)
def test_a_failed_precondition_is_a_refusal_unless_an_external_key_manager_is_out(
    failing: Failing, key: GcpKms, operation: str, types: tuple[str, ...], kind: type[EnvelopeError]
) -> None:
    failing.answer = ends_with(Code.FAILED_PRECONDITION, TOLD, violating(*types))
    assert type(error_of(key, operation)) is kind


def test_details_of_another_kind_are_not_taken_for_preconditions(failing: Failing, key: GcpKms) -> None:
    quota = error_details_pb2.QuotaFailure.Violation(subject=NAME, description="TIMEOUT")
    failing.answer = ends_with(
        Code.FAILED_PRECONDITION, TOLD, error_details_pb2.QuotaFailure(violations=[quota, quota])
    )
    assert type(error_of(key, "unwrap")) is KeyDenied


def test_a_perimeter_s_refusal_is_a_refusal(failing: Failing, key: GcpKms) -> None:
    reason = error_details_pb2.ErrorInfo(reason="SECURITY_POLICY_VIOLATED", domain="googleapis.com")
    failing.answer = ends_with(Code.PERMISSION_DENIED, TOLD, violating("VPC_SERVICE_CONTROLS"), reason)
    assert type(error_of(key, "unwrap")) is KeyDenied


@pytest.mark.parametrize("operation", CALLS)
def test_an_empty_reply_is_an_outage(failing: Failing, key: GcpKms, operation: str) -> None:
    failing.answer = lambda context: None
    error = error_of(key, operation)
    assert type(error) is KmsUnavailable
    assert "damaged on the way" in error.reason


def test_the_log_has_what_the_error_does_not_say(
    failing: Failing, key: GcpKms, caplog: pytest.LogCaptureFixture
) -> None:
    failing.answer = ends_with(Code.PERMISSION_DENIED)
    with caplog.at_level(logging.WARNING, logger="envelope_codec.gcp"):
        error_of(key, "unwrap")
    (record,) = [record for record in caplog.records if record.name == "envelope_codec.gcp"]
    for told in (TOLD, NAME, "unwrap", "PermissionDenied"):
        assert told in record.getMessage()


def test_a_fault_in_this_process_is_told_as_one_and_logged_with_its_place(
    key: GcpKms, caplog: pytest.LogCaptureFixture
) -> None:
    for operation, call in (("wrap", key.wrap), ("unwrap", key.unwrap)):
        caplog.clear()
        with pytest.raises(KmsUnavailable, match=r"^the provider failed unexpectedly$") as caught:
            call(SECRET if operation == "wrap" else WRAPPED, 5)  # type: ignore[arg-type]
        assert leaks(caught.value, Sentinels(SECRET)) == []
        (record,) = [record for record in caplog.records if record.name.startswith("envelope_codec")]
        assert "AttributeError" in record.getMessage()
        assert "in context_bytes" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefreshError("no token in the reply", {"refresh_token": "sesame"}), "no valid credentials"),
        (TransportError("https://user:sesame@proxy"), "the token service could not be reached"),
        (DefaultCredentialsError("file /etc/gcp.json was not found"), "no valid credentials"),
        (ValueError("sesame"), "the provider failed unexpectedly"),
        (OSError("sesame"), "the call to the KMS failed"),
    ],
)
def test_the_log_has_the_class_alone_of_what_may_quote_a_credential(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert reason in ERRORS.make_error(error, operation="wrap", key_id=NAME).reason
    assert type(error).__name__ in caplog.text
    assert "sesame" not in caplog.text
    assert ("/etc/gcp.json" in caplog.text) is isinstance(error, DefaultCredentialsError)


def test_a_ciphertext_with_a_version_that_is_none_is_invalid_before_any_call(failing: Failing, key: GcpKms) -> None:
    failing.answer = ends_with(Code.UNAVAILABLE)
    for version in ("v1", "0", "01", "-1", "1\n", "\u00b2"):
        with pytest.raises(InvalidCiphertext):
            key.unwrap(WrappedSecret(NAME, version, b"ciphertext"), CONTEXT)
    with pytest.raises(KmsUnavailable):
        key.unwrap(WrappedSecret(NAME, "", b"ciphertext"), CONTEXT)


@pytest.mark.parametrize("operation", CALLS)
def test_a_server_that_is_slow_is_given_up_after_the_time_out(
    failing: Failing, running: tuple[Failing, str], operation: str
) -> None:
    over = threading.Event()

    def slow(context: grpc.ServicerContext) -> None:
        over.wait(20)

    failing.answer = slow
    key = GcpKms(NAME, endpoint=running[1], timeout=0.2)
    try:
        assert error_of(key, operation).reason == "the KMS did not answer in time"
    finally:
        over.set()
        key.close()


def test_an_address_that_does_not_finish_connecting_is_given_up_after_the_connect_time_out() -> None:
    """The kernel accepts the connection and nobody answers. gRPC by itself would try for 20 seconds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        key = GcpKms(NAME, endpoint=f"127.0.0.1:{listener.getsockname()[1]}", connect_timeout=0.2, timeout=15)
        assert error_of(key, "unwrap").reason == "the KMS could not be reached"
        key.close()


def test_credentials_that_are_missing_are_an_outage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    key = GcpKms(NAME)
    assert error_of(key, "wrap").reason == "no valid credentials for the KMS could be obtained"


def test_after_close_no_credentials_are_looked_for_not_even_in_a_forked_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    client = connect(Endpoint(), Identity(), connect_timeout=1, token_timeout=1)
    client.close()
    with pytest.raises(Failed, match="closed"):
        client.get()
    client._leave()  # as in a child
    with pytest.raises(Failed, match="closed"):
        client.get()


@pytest.mark.parametrize("text", ["", "{}", "not JSON", '{"type": "service_account"}'])
@pytest.mark.filterwarnings("ignore:The load_credentials_from_file method is deprecated:DeprecationWarning")
def test_a_credentials_file_that_holds_none_is_an_outage(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(text)
    assert (
        error_of(GcpKms(NAME, credentials=file), "wrap").reason
        == "the credentials file can't be used: it is none, or lacks a part"
    )


HTTP2_SETTINGS = bytes.fromhex("000000040000000000")
HTTP2_SETTINGS_ACK = bytes.fromhex("000000040100000000")


def http2_headers_only(status: str) -> bytes:
    """A HEADERS frame for stream 1 that ends it, with ``:status`` (HPACK's static name 8) and nothing else."""
    block = b"\x08\x03" + status.encode()
    return len(block).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + block


@contextmanager
def proxy_answering(status: str) -> Iterator[str]:
    """``HOST:PORT`` of an HTTP/2 server that knows nothing of gRPC and answers its first request with ``status``."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            self.wfile.write(HTTP2_SETTINGS + HTTP2_SETTINGS_ACK)
            while head := self.rfile.read(9):
                self.rfile.read(int.from_bytes(head[:3], "big"))
                if head[3] == 1:
                    self.wfile.write(http2_headers_only(status))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", ["403", "404", "401", "400", "503"])
def test_a_proxy_that_refuses_in_the_kms_s_place_is_an_outage(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """gRPC turns HTTP's 403 into PERMISSION_DENIED, which would pass for the KMS withdrawing the key."""
    with proxy_answering(status) as address:
        key = GcpKms(NAME, endpoint=address)
        error = error_of(key, "unwrap")
        key.close()
    assert type(error) is KmsUnavailable
    assert error.reason == "something between here and the KMS answered in its place"
    assert status in caplog.text
