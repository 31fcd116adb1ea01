"""The GCP provider with the GCP KMS server: versions, checksums, clients handed in, threads, forks, restarts, TLS."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import google_crc32c
import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.api_core import client_logging
from google.cloud import kms_v1
from grpc_status import rpc_status  # type: ignore[import-untyped,unused-ignore]

from envelope_codec.errors import InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import WrappedSecret
from envelope_codec.testing.listeners import closed_port
from envelope_codec_gcp import GcpKms
from tests.support.harness_gcp import HasEndpoint, State, google_client, new_key, rotate, set_state, uri_of

SERVER = Path(__file__).parents[2] / "localstack" / "gcpkms.py"
SERVICE = "google.cloud.kms.v1.KeyManagementService"
SECRET = bytes(range(32))
CONTEXT = {"temporal-namespace": "default"}
Change = Callable[[Any], None]


@pytest.fixture
def endpoint(gcp_kms_server: HasEndpoint) -> str:
    return gcp_kms_server.endpoint


@pytest.fixture
def admin(endpoint: str) -> Iterator[kms_v1.KeyManagementServiceClient]:
    with google_client(endpoint) as client:
        yield client


@pytest.fixture
def name(admin: kms_v1.KeyManagementServiceClient) -> str:
    return new_key(admin)


@pytest.fixture
def key(name: str, endpoint: str) -> Iterator[GcpKms]:
    key = GcpKms(name, endpoint=endpoint)
    yield key
    key.close()


# Versions


def test_the_primary_version_is_recorded_and_old_versions_open(
    admin: kms_v1.KeyManagementServiceClient, name: str, key: GcpKms
) -> None:
    first = key.wrap(SECRET, CONTEXT)
    assert rotate(admin, name) == "2"
    second = key.wrap(SECRET, CONTEXT)
    assert (first.key_id, first.key_version) == (name, "1")
    assert (second.key_id, second.key_version) == (name, "2")
    assert key.unwrap(first, CONTEXT).secret == key.unwrap(second, CONTEXT).secret == SECRET


def test_a_disabled_version_is_denied_and_the_others_open(
    admin: kms_v1.KeyManagementServiceClient, name: str, key: GcpKms
) -> None:
    first = key.wrap(SECRET, CONTEXT)
    rotate(admin, name)
    second = key.wrap(SECRET, CONTEXT)
    set_state(admin, f"{name}/cryptoKeyVersions/1", State.DISABLED)
    with pytest.raises(KeyDenied):
        key.unwrap(first, CONTEXT)
    assert key.unwrap(second, CONTEXT).secret == SECRET
    assert key.wrap(SECRET, CONTEXT).key_version == "2"
    set_state(admin, f"{name}/cryptoKeyVersions/1", State.ENABLED)
    assert key.unwrap(first, CONTEXT).secret == SECRET


def test_a_destroyed_version_is_denied_until_it_is_restored_and_enabled(
    admin: kms_v1.KeyManagementServiceClient, name: str, key: GcpKms
) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    version = f"{name}/cryptoKeyVersions/1"
    admin.destroy_crypto_key_version(name=version)
    for _ in range(2):
        with pytest.raises(KeyDenied):
            key.unwrap(wrapped, CONTEXT)
        with pytest.raises(KeyDenied):
            key.wrap(SECRET, CONTEXT)
        if admin.get_crypto_key_version(name=version).state == State.DESTROY_SCHEDULED:
            admin.restore_crypto_key_version(name=version)
    set_state(admin, version, State.ENABLED)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


def test_a_key_that_does_not_exist_or_is_for_signing_is_denied(
    admin: kms_v1.KeyManagementServiceClient, name: str, endpoint: str, key: GcpKms
) -> None:
    wrapped = key.wrap(SECRET, CONTEXT)
    signing = new_key(admin, purpose=kms_v1.CryptoKey.CryptoKeyPurpose.ASYMMETRIC_SIGN)
    for other in (f"{name}-2", signing):
        denied = GcpKms(other, endpoint=endpoint)
        with pytest.raises(KeyDenied):
            denied.wrap(SECRET, CONTEXT)
        with pytest.raises(KeyDenied):
            denied.unwrap(wrapped, CONTEXT)
        denied.close()


def test_the_context_is_bound_as_additional_authenticated_data(
    admin: kms_v1.KeyManagementServiceClient, name: str, key: GcpKms
) -> None:
    aad = b"envelope-codec/1 context\0\x01\x00\x12temporal-namespace\x00\x07default"
    sealed = admin.encrypt(request={"name": name, "plaintext": SECRET, "additional_authenticated_data": aad})
    assert key.unwrap(WrappedSecret(name, "1", sealed.ciphertext), CONTEXT).secret == SECRET
    wrapped = key.wrap(SECRET, CONTEXT)
    request = {"name": name, "ciphertext": wrapped.ciphertext, "additional_authenticated_data": aad}
    assert admin.decrypt(request=request).plaintext == SECRET


# Checksums


class Tampering:
    """A gRPC proxy before the server that changes requests and replies, and sees who connects."""

    def __init__(self, upstream: str) -> None:
        self.request: Change = lambda request: None
        self.reply: Change = lambda reply: None
        self.peers: set[str] = set()
        self._channel = grpc.insecure_channel(upstream)
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        messages = {
            "Encrypt": (kms_v1.EncryptRequest, kms_v1.EncryptResponse),
            "Decrypt": (kms_v1.DecryptRequest, kms_v1.DecryptResponse),
        }
        handlers = {method: self._handler(method, *pair) for method, pair in messages.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _handler(self, method: str, request_type: Any, reply_type: Any) -> grpc.RpcMethodHandler:
        upstream = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=request_type.serialize,
            response_deserializer=reply_type.deserialize,
        )

        def forward(request: Any, context: grpc.ServicerContext) -> Any:
            self.peers.add(context.peer())
            self.request(request)
            try:
                reply = upstream(request, timeout=10)
            except grpc.RpcError as error:
                status = rpc_status.from_call(error)
                if status is None:
                    context.abort(error.code(), error.details())
                context.abort_with_status(rpc_status.to_status(status))
            self.reply(reply)
            return reply

        return grpc.unary_unary_rpc_method_handler(
            forward, request_deserializer=request_type.deserialize, response_serializer=reply_type.serialize
        )

    def close(self) -> None:
        self._server.stop(0).wait()
        self._channel.close()


@pytest.fixture
def tampering(endpoint: str) -> Iterator[Tampering]:
    proxy = Tampering(endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def tampered(name: str, tampering: Tampering) -> Iterator[GcpKms]:
    key = GcpKms(name, endpoint=tampering.endpoint)
    yield key
    key.close()


def flip(field: str) -> Change:
    def change(message: Any) -> None:
        data = bytearray(getattr(message, field))
        data[-1] ^= 1
        setattr(message, field, bytes(data))

    return change


def put(field: str, value: object) -> Change:
    return lambda message: setattr(message, field, value)


def in_turn(*changes: Change) -> Change:
    def change(message: Any) -> None:
        for one in changes:
            one(message)

    return change


def other_key(message: Any) -> None:
    message.name = message.name.replace("/cryptoKeys/", "/cryptoKeys/other-")


DAMAGE: dict[str, tuple[str, str, Change]] = {
    "secret changed on the way": ("wrap", "request", flip("plaintext")),
    "context changed on the way": ("wrap", "request", flip("additional_authenticated_data")),
    "checksum of the secret changed": ("wrap", "request", put("plaintext_crc32c", 1)),
    "checksum of the secret lost": ("wrap", "request", put("plaintext_crc32c", None)),
    "checksum of the context lost": ("wrap", "request", put("additional_authenticated_data_crc32c", None)),
    "secret and its checksum lost": (
        "wrap",
        "request",
        in_turn(put("plaintext", b""), put("plaintext_crc32c", None)),
    ),
    "secret not verified": ("wrap", "reply", put("verified_plaintext_crc32c", False)),
    "context not verified": ("wrap", "reply", put("verified_additional_authenticated_data_crc32c", False)),
    "ciphertext changed on the way back": ("wrap", "reply", flip("ciphertext")),
    "checksum of the ciphertext lost on the way back": ("wrap", "reply", put("ciphertext_crc32c", None)),
    "ciphertext and its checksum lost": (
        "wrap",
        "reply",
        in_turn(put("ciphertext", b""), put("ciphertext_crc32c", 0)),
    ),
    "another key's reply": ("wrap", "reply", other_key),
    "no name": ("wrap", "reply", put("name", "")),
    "ciphertext changed on the way": ("unwrap", "request", flip("ciphertext")),
    "context changed on the way to unwrap": ("unwrap", "request", flip("additional_authenticated_data")),
    "secret changed on the way back": ("unwrap", "reply", flip("plaintext")),
    "checksum of the secret lost on the way back": ("unwrap", "reply", put("plaintext_crc32c", None)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_on_the_way_is_found_and_is_no_verdict_on_the_key(
    tampering: Tampering, tampered: GcpKms, damage: str
) -> None:
    operation, side, change = DAMAGE[damage]
    wrapped = tampered.wrap(SECRET, CONTEXT)
    assert tampered.unwrap(wrapped, CONTEXT).secret == SECRET
    setattr(tampering, side, change)
    call = tampered.wrap if operation == "wrap" else tampered.unwrap
    with pytest.raises(KmsUnavailable) as caught:
        call(SECRET if operation == "wrap" else wrapped, CONTEXT)  # type: ignore[arg-type]
    assert "damaged on the way" in caught.value.reason
    assert caught.value.operation == operation


def test_a_damaged_ciphertext_at_rest_is_invalid(tampered: GcpKms) -> None:
    """Its checksum is made here, so it holds: what is stored is bad, not the way."""
    wrapped = tampered.wrap(SECRET, CONTEXT)
    for at in (0, 10, -1):
        bad = bytearray(wrapped.ciphertext)
        bad[at] ^= 1
        with pytest.raises(InvalidCiphertext):
            tampered.unwrap(replace(wrapped, ciphertext=bytes(bad)), CONTEXT)


def test_a_call_is_never_repeated_by_the_sdk(tampering: Tampering, tampered: GcpKms) -> None:
    calls: list[object] = []

    def fail(request: Any) -> None:
        calls.append(request)
        raise RuntimeError

    tampering.request = fail
    for call in (
        lambda: tampered.wrap(SECRET, CONTEXT),
        lambda: tampered.unwrap(WrappedSecret("", "", b"x"), CONTEXT),
    ):
        calls.clear()
        with pytest.raises(KmsUnavailable):
            call()
        assert len(calls) == 1


# Clients, threads, processes


def test_a_client_handed_in_is_used_and_not_closed(
    admin: kms_v1.KeyManagementServiceClient, name: str, tampering: Tampering
) -> None:
    with google_client(tampering.endpoint) as client:
        key = GcpKms(name, client=client)
        wrapped = key.wrap(SECRET, CONTEXT)
        assert len(tampering.peers) == 1
        key.close()
        key.close()
        tampering.peers.clear()
        assert_closed(lambda: key.unwrap(wrapped, CONTEXT))
        assert tampering.peers == set()
        assert client.decrypt(name=name, ciphertext=client.encrypt(name=name, plaintext=SECRET).ciphertext)


def assert_closed(call: Callable[[], object]) -> None:
    with pytest.raises(KmsUnavailable) as caught:
        call()
    assert caught.value.reason == "this master key is closed"
    assert caught.value.__context__ is None


def test_a_client_handed_in_that_was_closed_is_an_outage(name: str, endpoint: str) -> None:
    with google_client(endpoint) as client:
        key = GcpKms(name, client=client)
        key.wrap(SECRET, CONTEXT)
    with pytest.raises(KmsUnavailable) as caught:
        key.wrap(SECRET, CONTEXT)
    assert caught.value.__context__ is None


def test_sixteen_threads_share_one_connection(name: str, tampering: Tampering, tampered: GcpKms) -> None:
    barrier = threading.Barrier(16)

    def work(number: int) -> bool:
        secret, context = bytes([number]) * 32, {**CONTEXT, "thread": str(number)}
        barrier.wait()
        return all(tampered.unwrap(tampered.wrap(secret, context), context).secret == secret for _ in range(10))

    with futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert len(tampering.peers) == 1


def test_close_ends_the_connection_and_is_final(tampering: Tampering, tampered: GcpKms) -> None:
    wrapped = tampered.wrap(SECRET, CONTEXT)
    (first,) = tampering.peers
    tampered.close()
    tampered.close()
    eventually(lambda: port_of(first) not in established_ports())
    assert_closed(lambda: tampered.unwrap(wrapped, CONTEXT))
    assert_closed(lambda: tampered.wrap(SECRET, CONTEXT))
    assert tampering.peers == {first}


def test_close_before_the_first_call_is_final(tampering: Tampering, tampered: GcpKms) -> None:
    tampered.close()
    assert_closed(lambda: tampered.wrap(SECRET, CONTEXT))
    assert tampering.peers == set()


def test_close_does_not_wait_for_a_client_that_is_being_built_and_it_is_not_kept(
    tampering: Tampering, tampered: GcpKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when google-auth looks for credentials for seconds."""
    building, go = threading.Event(), threading.Event()
    closed: list[object] = []
    build = tampered._client._build

    def slow() -> kms_v1.KeyManagementServiceClient:
        building.set()
        assert go.wait(60)
        client = build()
        close: Callable[[], None] = client.transport.close

        def close_and_note() -> None:
            closed.append(client)
            close()

        monkeypatch.setattr(client.transport, "close", close_and_note)
        return client

    monkeypatch.setattr(tampered._client, "_build", slow)
    with futures.ThreadPoolExecutor(2) as pool:
        call = pool.submit(tampered.wrap, SECRET, CONTEXT)
        assert building.wait(60)
        try:
            pool.submit(tampered.close).result(30)
        finally:
            go.set()
        assert_closed(call.result)
    assert len(closed) == 1
    assert tampering.peers == set()


def test_close_ends_calls_that_are_under_way(tampering: Tampering, tampered: GcpKms) -> None:
    arrived, over = threading.Event(), threading.Event()

    def hold(request: Any) -> None:
        arrived.set()
        over.wait(60)

    tampering.request = hold
    with futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(tampered.wrap, SECRET, CONTEXT)
        assert arrived.wait(60)
        tampered.close()
        cancelled = call.exception()
        assert isinstance(cancelled, KmsUnavailable)
        assert cancelled.reason == "the call to the KMS was cancelled"
        over.set()


# Logs


BODIES = "google.cloud.kms_v1.services.key_management_service.transports.grpc"
SPELLINGS = [
    base64.b64encode(SECRET).decode().rstrip("="),
    base64.urlsafe_b64encode(SECRET).decode().rstrip("="),
    SECRET.hex(),
    repr(SECRET)[2:-1],
    repr(SECRET.decode())[1:-1],
    SECRET.decode(),
]
LOGGED_SECRET = json.dumps(SECRET.decode())[1:-1]


class Seen(logging.Handler):
    """What a handler may write of a record: its line, all of its attributes, and Google's structured form."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def text(self) -> str:
        structured = client_logging.StructuredLogFormatter()
        return "\n".join(
            part
            for record in self.records
            for part in (record.getMessage(), str(vars(record)), structured.format(record))
        )


@pytest.fixture
def seen() -> Iterator[Seen]:
    """At level DEBUG on the logger ``google``, which passes nothing on to the root logger."""
    handler, logger = Seen(), logging.getLogger("google")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


def holds_the_secret(text: str) -> bool:
    return any(spelling in text for spelling in (*SPELLINGS, LOGGED_SECRET))


def test_no_secret_reaches_the_debug_log_of_google_s_sdk(seen: Seen, endpoint: str, name: str) -> None:
    seen.records.clear()
    key = GcpKms(name, endpoint=endpoint)
    wrapped = key.wrap(SECRET, CONTEXT)
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    with pytest.raises(InvalidCiphertext):
        key.unwrap(wrapped, {})
    key.close()
    assert [record for record in seen.records if record.name == BODIES] == []
    assert not holds_the_secret(seen.text())


def test_no_secret_reaches_the_debug_log_through_a_client_handed_in(
    seen: Seen, admin: kms_v1.KeyManagementServiceClient, name: str
) -> None:
    seen.records.clear()
    key = GcpKms(name, client=admin)
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    assert not holds_the_secret(seen.text())


def test_what_others_do_with_google_s_sdk_is_logged_as_ever(
    seen: Seen, admin: kms_v1.KeyManagementServiceClient, name: str, key: GcpKms
) -> None:
    """Which also shows that the tests above would see a secret, and that the SDK logs in the thread that calls."""
    assert key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET
    with pytest.raises(InvalidCiphertext):
        key.unwrap(WrappedSecret(name, "1", b"x"), CONTEXT)
    seen.records.clear()
    admin.decrypt(name=name, ciphertext=admin.encrypt(name=name, plaintext=SECRET).ciphertext)
    assert [record.name for record in seen.records] == [BODIES] * 4
    assert {record.thread for record in seen.records} == {threading.get_ident()}
    for record in seen.records[0], seen.records[3]:
        assert holds_the_secret(str(vars(record)))


def test_what_others_do_meanwhile_is_logged_as_ever(
    seen: Seen, admin: kms_v1.KeyManagementServiceClient, name: str, tampering: Tampering, tampered: GcpKms
) -> None:
    def ask_for_the_key(request: Any) -> None:
        admin.get_crypto_key(name=name)

    tampering.request = ask_for_the_key  # in a thread of the proxy
    seen.records.clear()
    tampered.wrap(SECRET, CONTEXT)
    logged = [record for record in seen.records if record.name == BODIES]
    assert [record.__dict__["rpcName"].rpartition("/")[2] for record in logged] == ["GetCryptoKey"] * 2
    assert threading.get_ident() not in {record.thread for record in logged}


LOGGING = """
import sys
from envelope_codec_gcp import GcpKms
key, context = GcpKms.from_uri(sys.argv[1]), {"temporal-namespace": "default"}
secret = bytes.fromhex(sys.argv[2])
assert key.unwrap(key.wrap(secret, context), context).secret == secret
key._client.get().encrypt(name=key.key_id, plaintext=b"of others")
"""


def test_no_secret_is_printed_where_the_environment_turns_on_the_sdk_s_log(name: str, endpoint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, uri_of(name, endpoint), SECRET.hex()],
        env={**os.environ, "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    printed = done.stdout + done.stderr
    assert base64.b64encode(b"of others").decode() in printed, "the SDK printed nothing, so this shows nothing"
    assert not holds_the_secret(printed)


def port_of(peer: str) -> int:
    return int(peer.rpartition(":")[2])


def established_ports() -> set[int]:
    """Local ports of this machine's open TCP connections."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "01":
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


FORKING = """
import os, sys, threading
from envelope_codec_gcp import GcpKms
uri, context = sys.argv[1], {"temporal-namespace": "default"}
key = GcpKms.from_uri(uri)
wrapped = key.wrap(b"s" * 32, context)
over = threading.Event()
def busy():
    while not over.is_set():
        key.unwrap(wrapped, context)
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads:
    thread.start()
child = os.fork()
if not child:
    assert key.unwrap(wrapped, context).secret == b"s" * 32
    key.close()
    os._exit(0)
ended = os.waitpid(child, 0)[1]
over.set()
for thread in threads:
    thread.join()
assert key.unwrap(wrapped, context).secret == b"s" * 32
sys.exit(ended != 0)
"""


def test_a_forked_child_makes_its_own_connection_while_the_parent_s_is_in_use(name: str, tampering: Tampering) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    command = [sys.executable, "-c", FORKING, uri_of(name, tampering.endpoint)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            assert process.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert len(tampering.peers) == 2


def test_proxies_of_the_environment_are_not_used_on_loopback(
    monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str
) -> None:
    with closed_port() as nowhere:
        for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(variable, f"http://{nowhere}")
        key = GcpKms(name, endpoint=endpoint)
        assert key.wrap(SECRET, CONTEXT).key_id == name
        key.close()


@contextmanager
def own_server(port: int, state: Path) -> Iterator[int]:
    command = [sys.executable, str(SERVER), "--port", str(port), "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline()
            assert process.stdout.readline() == "ready\n"
            yield int(address.rpartition(":")[2])
        finally:
            process.terminate()
    assert process.returncode == 0


def test_calls_succeed_again_soon_after_the_server_is_back(tmp_path: Path) -> None:
    state = tmp_path / "keys.json"
    with own_server(0, state) as port:
        with google_client(f"127.0.0.1:{port}") as admin:
            name = new_key(admin)
        key = GcpKms(name, endpoint=f"127.0.0.1:{port}")
        wrapped = key.wrap(SECRET, CONTEXT)
    with pytest.raises(KmsUnavailable):
        key.unwrap(wrapped, CONTEXT)
    with own_server(port, state):
        eventually(lambda: opens(key, wrapped))
    key.close()


def opens(key: GcpKms, wrapped: WrappedSecret) -> bool:
    try:
        return key.unwrap(wrapped, CONTEXT).secret == SECRET
    except KmsUnavailable:
        return False


# TLS and credentials


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A certificate for 127.0.0.1 that signed itself, and its private key (PEM)."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file, private_pem(private)


def private_pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextmanager
def tls_server(certificate: tuple[Path, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what stood in the ``authorization`` header of each Encrypt."""
    seen: list[str] = []

    def encrypt(request: kms_v1.EncryptRequest, context: grpc.ServicerContext) -> kms_v1.EncryptResponse:
        seen.append(str(dict(context.invocation_metadata()).get("authorization")))
        return kms_v1.EncryptResponse(
            name=f"{request.name}/cryptoKeyVersions/1",
            ciphertext=b"sealed",
            ciphertext_crc32c=google_crc32c.value(b"sealed"),
            verified_plaintext_crc32c=True,
            verified_additional_authenticated_data_crc32c=True,
        )

    handler = grpc.unary_unary_rpc_method_handler(
        encrypt, kms_v1.EncryptRequest.deserialize, kms_v1.EncryptResponse.serialize
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Encrypt": handler}),))
    chain = certificate[0].read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(certificate[1], chain)]))
    server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        server.stop(0).wait()


WRAPPING = """
import sys
from envelope_codec.errors import EnvelopeError
from envelope_codec_gcp import GcpKms
try:
    print(GcpKms.from_uri(sys.argv[1]).wrap(bytes(32), {"temporal-namespace": "default"}).ciphertext.decode())
except EnvelopeError as error:
    print(type(error).__name__, error, sep=": ")
"""


def wrap_elsewhere(uri: str, roots: Path | None, **environment: str) -> str:
    """Wrap in another process, because gRPC reads its root certificates once in each; returns what came of it."""
    settings = {**os.environ, **environment}
    settings.pop("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", None)
    if roots is not None:
        settings["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(roots)
    command = [sys.executable, "-c", WRAPPING, uri]
    return subprocess.run(command, check=True, timeout=60, env=settings, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    """Credentials that need no token service: google-auth signs a token by itself."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": private_pem(private).decode(),
        "client_email": "worker@test.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    file = tmp_path / "service-account.json"
    file.write_text(json.dumps(account))
    return file


@pytest.fixture
def no_token_service(tmp_path: Path) -> Iterator[Path]:
    """Workload identity whose token service is down."""
    subject = tmp_path / "subject-token"
    subject.write_text("token")
    with closed_port() as nowhere:
        account = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"http://{nowhere}/token",
            "credential_source": {"file": str(subject)},
        }
        file = tmp_path / "external-account.json"
        file.write_text(json.dumps(account))
        yield file


NAME = "projects/test/locations/global/keyRings/test/cryptoKeys/k"


def test_tls_carries_the_credentials_of_the_file(certificate: tuple[Path, bytes], service_account: Path) -> None:
    with tls_server(certificate) as (address, seen):
        uri = uri_of(NAME, address, insecure="false", credentials=service_account)
        assert wrap_elsewhere(uri, certificate[0]) == "sealed"
    (authorization,) = seen
    assert authorization.startswith("Bearer ey")


def test_tls_carries_application_default_credentials(certificate: tuple[Path, bytes], service_account: Path) -> None:
    with tls_server(certificate) as (address, seen):
        uri = uri_of(NAME, address, insecure="false")
        outcome = wrap_elsewhere(uri, certificate[0], GOOGLE_APPLICATION_CREDENTIALS=str(service_account))
        assert outcome == "sealed"
    assert seen[0].startswith("Bearer ey")


def test_a_certificate_that_is_not_trusted_is_an_outage_and_gets_no_credentials(
    certificate: tuple[Path, bytes], service_account: Path
) -> None:
    with tls_server(certificate) as (address, seen):
        uri = uri_of(NAME, address, insecure="false", credentials=service_account)
        assert wrap_elsewhere(uri, None) == "KmsUnavailable: the KMS could not be reached"
    assert seen == []


def test_a_token_service_that_is_down_is_an_outage(certificate: tuple[Path, bytes], no_token_service: Path) -> None:
    with tls_server(certificate) as (address, seen):
        uri = uri_of(NAME, address, insecure="false", credentials=no_token_service)
        assert wrap_elsewhere(uri, certificate[0]).startswith("KmsUnavailable: ")
    assert seen == []
