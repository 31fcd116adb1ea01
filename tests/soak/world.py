"""All servers and processes of a soak, and their settings."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from devstack import LocalStack, OpenBao, PostgresServer, Server, TemporalServer
from localserver import free_port

from tests.soak.datastores import Store, at, make_keystore
from tests.soak.master_keys import AWS_ENVIRONMENT, AwsKey, VaultKey
from tests.soak.process import SoakProcess
from tests.soak.sentinel import Watch
from tests.support.certificates import write_certificate
from tests.support.kms_proxy import AWS_THROTTLES, VAULT_THROTTLES, KmsProxy

WORKERS = ("worker-0", "worker-1", "worker-2")
TASK_QUEUE = "soak"


class World(contextlib.ExitStack):
    """Everything that runs, from `start` until it is closed.

    Args:
        folder: for settings, journals and logs.
        tempo: settings of the plugin that depend on how long the soak takes: leases and the like.
        options: of all our processes, such as a sabotage.

    Attributes:
        sentinel: the text that stands in every payload.
        watch: looks for it in what the proxies see.
        servers, proxies, processes: by name.
        keys: the master keys, by name.
        metrics: URLs of metrics in Prometheus's format, by the names of processes.
    """

    def __init__(self, folder: Path, tempo: Mapping[str, Any], options: Mapping[str, str]) -> None:
        super().__init__()
        self.folder = folder
        self._tempo = tempo
        self._options = options
        self.sentinel = f"soak-plaintext-{secrets.token_hex(12)}"
        self.watch = Watch(self.sentinel)
        self.temporal = TemporalServer(
            dynamic_config={
                # Tasks that failed in an outage are to go on soon after it.
                "history.workflowTaskRetryMaxInterval": '"3s"',
                "frontend.namespaceRPS": "20000",
                "frontend.namespaceCount": "20000",
            }
        )
        self.store = Store()
        self.servers: dict[str, Server] = {
            "temporal": self.temporal,
            "vault": OpenBao(),
            "aws": LocalStack(services=("kms", "sts")),
            "store": self.store,
            "keystore": PostgresServer(),
        }
        self.proxies: dict[str, KmsProxy] = {}
        self.keys: dict[str, VaultKey | AwsKey] = {}
        self.processes: dict[str, SoakProcess] = {}
        self.metrics: dict[str, str] = {}
        self.certificate = folder / "codec.crt"
        self.certificate_key = folder / "codec.key"

    def start(self) -> None:
        """Start all but the starter of workflows, and make what they need."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            for server in self.servers.values():
                self.callback(server.stop)
            list(pool.map(lambda server: server.start(), self.servers.values()))
        vault, aws, keystore = self.servers["vault"], self.servers["aws"], self.servers["keystore"]
        assert isinstance(vault, OpenBao)
        assert isinstance(aws, LocalStack)
        assert isinstance(keystore, PostgresServer)
        self.keys = {"vault": VaultKey(vault, self.folder), "aws": AwsKey(aws)}
        for key in self.keys.values():
            self.callback(key.close)
        make_keystore(keystore)
        self._add_proxy("temporal", self.temporal.address)
        self._add_proxy("vault", vault.address.removeprefix("http://"), VAULT_THROTTLES)
        self._add_proxy("aws", aws.endpoint.removeprefix("http://"), AWS_THROTTLES)
        self._add_proxy("store", self.store.url.split("/")[2])
        self._add_proxy("keystore", keystore.url.split("@")[1].split("/")[0])
        self._write_settings(keystore)
        for name in WORKERS:
            self._add_worker(name)
        self._add_codec_server()
        for process in self.processes.values():
            process.start()

    def add_process(self, name: str, module: str, *arguments: str, **environment: str) -> SoakProcess:
        """A process of this package that runs ``module``. It is not started yet."""
        command = ["-m", f"tests.soak.{module}", "--folder", str(self.folder), "--name", name, *arguments]
        return self._add(name, command, {"SOAK_SENTINEL": self.sentinel, **self._options, **environment})

    def logs(self) -> dict[str, Path]:
        """The logs of all servers and processes, by name."""
        servers = {name: server._folder / "log" for name, server in self.servers.items() if server._folder}
        return {**servers, **{name: process.log for name, process in self.processes.items()}}

    def keep_logs(self) -> None:
        """Copy the servers' logs into the folder, before their own are removed."""
        kept = self.folder / "servers"
        kept.mkdir(exist_ok=True)
        for name, server in self.servers.items():
            if server._folder and (server._folder / "log").exists():
                shutil.copy(server._folder / "log", kept / f"{name}.log")

    def renew_certificate(self) -> int:
        """Put a new certificate in the place of the codec server's. Return its serial number."""
        cert, key = self.folder / "new.crt", self.folder / "new.key"
        serial = write_certificate(cert, key)
        key.rename(self.certificate_key)
        cert.rename(self.certificate)
        return serial

    def _add_proxy(self, name: str, upstream: str, throttles: tuple[bytes, bytes] | None = None) -> None:
        def look(data: bytes) -> None:
            self.watch.look(f"on its way to or from {name}", data)

        self.proxies[name] = self.enter_context(KmsProxy(upstream, throttles, look).running())

    def _add_worker(self, name: str) -> None:
        port = free_port()
        self.add_process(name, "worker_process", "--metrics", str(port))
        self.metrics[name] = f"http://127.0.0.1:{port}/metrics"

    def _add_codec_server(self) -> None:
        write_certificate(self.certificate, self.certificate_key)
        self.codec_address = f"127.0.0.1:{free_port()}"
        command = ["-m", "envelope_codec.cli", "serve", "--config", str(self.folder / "settings.toml")]
        command += ["--listen", self.codec_address]
        command += ["--tls-cert", str(self.certificate), "--tls-key", str(self.certificate_key)]
        self._add("codec", command, {})
        self.metrics["codec"] = f"https://{self.codec_address}/metrics"

    def _add(self, name: str, command: list[str], environment: Mapping[str, str]) -> SoakProcess:
        process = SoakProcess(name, command, self.folder / name, {**AWS_ENVIRONMENT, **environment})
        self.callback(process.stop)
        self.processes[name] = process
        return process

    def _write_settings(self, keystore: PostgresServer) -> None:
        """Two files: for all who go through the proxies, and for the one who reads cold at the end."""
        where: Callable[[str], str] = lambda name: self.proxies[name].address  # noqa: E731
        self._write(
            "settings.toml",
            key=self.keys["vault"].uri(where("vault")),
            backup_keys=[self.keys["aws"].uri(where("aws"))],
            keystore=at(keystore.url, where("keystore")),
            storage=at(self.store.url, where("store")),
        )
        self._write(
            "direct.toml",
            key=self.keys["vault"].uri(),
            backup_keys=[self.keys["aws"].uri()],
            keystore=keystore.url,
            storage=self.store.url,
        )
        addresses = {"temporal": where("temporal"), "direct": self.temporal.address}
        (self.folder / "addresses.json").write_text(json.dumps(addresses))

    def _write(self, file: str, **settings: Any) -> None:
        every = {**settings, "storage_threshold": "16KiB", "require_encryption": True, **self._tempo}
        lines = [f"{name} = {json.dumps(value)}" for name, value in every.items()]
        lines += ["", "[server]", f"audit_file = {json.dumps(str(self.folder / 'audit.jsonl'))}"]
        path = self.folder / file
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
