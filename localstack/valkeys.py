"""Several Valkey servers that work together: a cluster, and a service that a sentinel looks after. With passwords."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

from datastores import ValkeyServer
from localserver import LOOPBACK, ServerFailed
from serverprocess import ServerProcess

PASSWORD = "open-sesame"  # of the servers
SENTINEL_PASSWORD = "another-sesame"
SERVICE = "payloads"

_SLOTS = 16_384
_SECONDS = 60.0  # for a group to become ready
_GIVE_UP_MILLISECONDS = 700  # until a server that does not answer counts as failed


class ValkeyNode(ValkeyServer):
    """One server of a group.

    Args:
        options: further ones of its command line.
    """

    password = PASSWORD

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    @property
    def port(self) -> int:
        return self._port("redis")

    def ask(self, *words: str) -> Any:
        """Send one command, and return the reply. An error's text is raised as a `ServerFailed`."""
        with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
            replies = connection.makefile("rb")
            for command in (("AUTH", self.password), words):
                parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
                connection.sendall(f"*{len(command)}\r\n{''.join(parts)}".encode())
                reply = _read_reply(replies)
            return reply

    def kill(self) -> None:
        """End it at once, as a machine that fails does. Its address stays free."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process._popen.wait()

    def _command(self) -> Sequence[str]:
        passwords = ("--requirepass", self.password, "--masterauth", self.password)
        return [*super()._command(), *passwords, "--repl-diskless-sync-delay", "0", *self._options]

    def _ready(self, process: ServerProcess) -> bool:
        return bool(self.ask("PING") == "PONG")


class ValkeyClusterNode(ValkeyNode):
    """One server of a cluster.

    Args:
        announced: the port that the cluster tells its clients, if it is not the server's own.
    """

    def __init__(self, announced: int | None = None) -> None:
        super().__init__()
        self._announced = announced

    @property
    def bus(self) -> int:
        return self._port("bus")

    def _command(self) -> Sequence[str]:
        options = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--appendonly", "no"]
        options += ["--cluster-node-timeout", str(_GIVE_UP_MILLISECONDS), "--cluster-announce-ip", LOOPBACK]
        options += ["--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"]
        if self._announced is not None:
            options += ["--cluster-announce-port", str(self._announced)]
        return [*super()._command(), *options]


class ValkeySentinel(ValkeyNode):
    """One sentinel, whose word is enough.

    Args:
        primary: of the service, at the beginning.
    """

    password = SENTINEL_PASSWORD

    def __init__(self, primary: ValkeyNode) -> None:
        super().__init__()
        self._primary = primary

    def _command(self) -> Sequence[str]:
        assert self._folder is not None
        lines = [
            *(f"port {self.port}", f"bind {LOOPBACK}", f"dir {self._folder}", f"requirepass {self.password}"),
            f"sentinel monitor {SERVICE} {LOOPBACK} {self._primary.port} 1",
            f"sentinel auth-pass {SERVICE} {self._primary.password}",
            f"sentinel down-after-milliseconds {SERVICE} {_GIVE_UP_MILLISECONDS}",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        file = self._folder / "sentinel.conf"
        file.write_text("".join(f"{line}\n" for line in lines))
        return [super()._command()[0], str(file), "--sentinel"]


class ValkeyCluster:
    """A Redis Cluster of three primaries. The first has a replica, if that is wanted."""

    def __init__(self, *, replica: bool = False) -> None:
        self.primaries = [ValkeyClusterNode() for _ in range(3)]
        self.replicas = [ValkeyClusterNode()] if replica else []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        where = ",".join(f"{LOOPBACK}:{node.port}" for node in self.primaries)
        return f"redis+cluster://:{PASSWORD}@{where}"

    def __enter__(self) -> ValkeyCluster:
        with ExitStack() as stack:
            nodes = [stack.enter_context(node) for node in (*self.primaries, *self.replicas)]
            share, rest = divmod(_SLOTS, len(self.primaries))
            for number, node in enumerate(self.primaries):
                end = (number + 1) * share + (rest if number == len(self.primaries) - 1 else 0) - 1
                node.ask("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(end))
            for number, node in enumerate(nodes):
                node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
                first = nodes[0]
                node.ask("CLUSTER", "MEET", LOOPBACK, str(first.port), str(first.bus))
            wait_until(lambda: all(_knows(node, len(nodes)) for node in nodes))
            for node in self.replicas:
                node.ask("CLUSTER", "REPLICATE", self.primaries[0].ask("CLUSTER", "MYID"))
                wait_until(lambda node=node: "master_link_status:up" in node.ask("INFO", "replication"))  # type: ignore[misc]
            wait_until(lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class ValkeyService:
    """A primary, a replica, and a sentinel that makes the replica primary when the primary fails."""

    def __init__(self) -> None:
        self.primary = ValkeyNode()
        self.replica = ValkeyNode("--replicaof", LOOPBACK, str(self.primary.port))
        self.sentinel = ValkeySentinel(self.primary)
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        where = f"redis+sentinel://:{PASSWORD}@{LOOPBACK}:{self.sentinel.port}/{SERVICE}/0"
        return f"{where}?sentinel_password={SENTINEL_PASSWORD}"

    def __enter__(self) -> ValkeyService:
        with ExitStack() as stack:
            for server in (self.primary, self.replica, self.sentinel):
                stack.enter_context(server)
            wait_until(lambda: "master_link_status:up" in self.replica.ask("INFO", "replication"))
            wait_until(lambda: len(self.sentinel.ask("SENTINEL", "REPLICAS", SERVICE)) == 1)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until ``holds`` says so. A command that is refused, or not answered, says no.

    Raises:
        ServerFailed: it took too long.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        with contextlib.suppress(ServerFailed, OSError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise ServerFailed("a group of Valkey servers did not become ready")
        time.sleep(0.02)


def _knows(node: ValkeyNode, count: int) -> bool:
    known = node.ask("CLUSTER", "NODES").splitlines()
    return len(known) == count and not any("handshake" in line for line in known)


def _read_reply(replies: BinaryIO) -> Any:
    line = replies.readline()
    kind, rest = line[:1], line[1:].strip().decode()
    if kind == b"-":
        raise ServerFailed(f"Valkey refused a command: {rest}")
    if kind in (b"$", b"="):
        size = int(rest)
        return None if size < 0 else replies.read(size + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [_read_reply(replies) for _ in range(int(rest))]
    if kind == b":":
        return int(rest)
    if kind != b"+":
        raise ServerFailed("Valkey ended the connection")
    return rest
