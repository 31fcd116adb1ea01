"""Prometheus as a real server on this machine, which scrapes and judges every second."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from localserver import LOOPBACK, Server, ServerMissing, find_program, http_status
from serverprocess import ServerProcess

_ABSENT = "no Prometheus: put `prometheus` and `promtool` on PATH (on Debian: apt install prometheus)"


def find_promtool() -> str:
    """Return the path of promtool.

    Raises:
        ServerMissing: there is none.
    """
    program = find_program("promtool")
    if program is None:
        raise ServerMissing(_ABSENT)
    return program


class PrometheusServer(Server):
    """Prometheus, which keeps what it scrapes in its scratch folder.

    Args:
        targets: ``HOST:PORT`` of what it scrapes, by the name of the job.
        rules: the text of a file of rules.
        every: seconds from one scrape, and one judgement, to the next.
    """

    name = "Prometheus"

    def __init__(self, targets: Mapping[str, Sequence[str]], rules: str, every: float = 1.0) -> None:
        super().__init__()
        self._targets = targets
        self._rules = rules
        self._every = every

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self._port('http')}"

    @property
    def summary(self) -> str:
        return self.address

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer of its HTTP API, such as that of ``query`` or ``query_range``."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port("http"), timeout=30)
        try:
            body = urlencode(parameters)
            connection.request("POST", f"/api/v1/{path}", body, {"Content-Type": "application/x-www-form-urlencoded"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer["status"] != "success":
            raise RuntimeError(f"Prometheus answers {path} with {answer.get('error')}")
        return answer["data"]

    def _command(self) -> Sequence[str]:
        program = find_program("prometheus")
        if program is None:
            raise ServerMissing(_ABSENT)
        assert self._folder is not None
        (self._folder / "rules.yaml").write_text(self._rules, "utf-8")
        config = self._folder / "prometheus.yaml"
        config.write_text(self._config(self._folder), "utf-8")
        return [
            *(program, f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"),
            *(f"--web.listen-address={LOOPBACK}:{self._port('http')}", "--log.level=warn"),
            "--query.lookback-delta=10s",
        ]

    def _config(self, folder: Path) -> str:
        every = f"{self._every * 1000:.0f}ms"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in self._targets.items()
        ]
        return json.dumps(  # which is YAML as well
            {
                "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
                "rule_files": [str(folder / "rules.yaml")],
                "scrape_configs": jobs,
            }
        )

    def _ready(self, process: ServerProcess) -> bool:
        return http_status("GET", self._port("http"), "/-/ready") == 200
