"""The snippets of the documents run as they stand there, with only key, path and address replaced."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = """
from datetime import timedelta
from temporalio import activity, workflow

@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}"

@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))
"""


def snippets(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def key_uri(tmp_path: Path) -> str:
    """The URI of a key file that the documents' own commands made."""
    path = tmp_path / "key.json"
    [commands] = [text for text in snippets("docs/providers.md", "sh") if "keygen" in text]
    for line in commands.splitlines():
        command = line.partition("#")[0].replace("/etc/envelope/key.json", shlex.quote(str(path)))
        command = command.replace("envelope-codec", f"{shlex.quote(sys.executable)} -m envelope_codec.cli", 1)
        subprocess.run(shlex.split(command), check=True, capture_output=True)
    assert path.stat().st_mode & 0o777 == 0o600
    return f"localfile://{path}"


def run(code: str, folder: Path, **environment: str) -> str:
    (folder / "snippet.py").write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "snippet.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def replaced(code: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in code, old
        code = code.replace(old, new)
    return code


def test_the_readmes_first_example_runs(temporal_server: Any, key_uri: str, tmp_path: Path) -> None:
    (tmp_path / "my_app.py").write_text(APP, "utf-8")
    arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    code = snippets("README.md", "python")[0]
    code = replaced(code, {"localhost:7233": temporal_server.address, arn: key_uri})
    assert run(code, tmp_path) == "Hello, Ada\n"


def test_the_readmes_other_examples_run(key_uri: str, tmp_path: Path) -> None:
    others = snippets("README.md", "python")[1:]
    assert others
    (tmp_path / "envelope.toml").write_text(f'key = "{key_uri}"\n', "utf-8")
    for code in others:
        code = replaced(code, {"localfile:///etc/envelope/key.json": key_uri})
        run(code, tmp_path, ENVELOPE_CODEC_KEY=key_uri, VAULT_ADDR="http://127.0.0.1:1", VAULT_TOKEN="none")
