"""Every Python and shell snippet of the documents runs as it stands, with keys, paths and addresses replaced.

The first page is followed as a newcomer would: in an empty folder, as an ordinary user where that is possible.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from devstack import TemporalServer
from temporalio.client import Client

from envelope_codec import EnvelopePlugin
from envelope_codec.cli.keygen import create_key_file, key_uri

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/vectors/*.md")])
FIRST_PAGE = ROOT / "docs" / "getting-started.md"

# What is not run here, by its first line, and why.
SERVES = "it serves until it is stopped: test_server_serve.py and test_codec_server_cli.py run it"
ELSEWHERE = {
    "az keyvault key create --vault-name example --name payloads --kty RSA --size 3072 --ops wrapKey unwrapKey": (
        "it needs an Azure subscription: the tests make such keys on a server of this repository"
    ),
    "make servers": "it installs, and serves until it is stopped: test_devstack.py runs it",
    'pip install "temporal-envelope-codec[server,aws]"   # or gcp, azure, vault: as your master keys need': SERVES,
    "make demo   # a real Temporal server, a workflow, and what the server stored of it; KMS=vault, aws, gcp "
    "or azure for another KMS": "test_demo.py runs the demo; all of this is `make test`",
}

# Names of master keys in the documents. Each becomes a key file of its own.
KEY = re.compile(
    r"arn:aws:kms:[a-z0-9-]+:[0-9]{12}:(?:key|alias)/[\w/-]+|projects/[\w/-]+/cryptoKeys/[\w-]+"
    r"|hashivault://[\w?&=:/.-]+|localfile:///[\w/.-]+"
)
APPLICATION = """
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

PIP = """
import sys
from importlib import metadata
from packaging.requirements import Requirement

assert sys.argv[1] == "install", sys.argv
known = set(metadata.metadata("temporal-envelope-codec").get_all("Provides-Extra"))
for argument in sys.argv[2:]:
    requirement = Requirement(argument)
    assert requirement.name == "temporal-envelope-codec", requirement
    assert requirement.extras <= known, requirement
"""


class Snippet(NamedTuple):
    language: str
    text: str
    saved_as: str = ""

    @property
    def begins(self) -> str:
        return self.text.splitlines()[0]


def snippets(document: Path) -> list[Snippet]:
    # What has a file's name is a file of examples/: test_third_party_provider.py compares it, and runs it.
    text = re.sub(r"<!-- file: \S+ -->\n\n```\w+\n.*?\n```\n", "", document.read_text("utf-8"), flags=re.DOTALL)
    blocks = re.findall(
        r"(?:[Ss]ave \w+ as\s`([\w.]+)`:\n\n)?^( *)```(python|sh|toml)\n(.*?)^ *```",
        text,
        re.DOTALL | re.MULTILINE,
    )
    return [
        Snippet(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE), name)
        for name, indent, language, text in blocks
    ]


CRASHES = (-signal.SIGSEGV, -signal.SIGABRT)
"""Threads of Temporal's SDK now and then crash an interpreter that is ending, whose work is done
(https://github.com/temporalio/sdk-python/issues/300). What such a program printed may be lost, so it is run again.
"""


def run_program(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and once more if it crashed there. ``how`` is for `subprocess.run`."""
    for _ in range(2):
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, **how
        )
        if done.returncode not in CRASHES:
            break
    return done


class Sandbox:
    """A folder of a user of ours: an application, a key, settings, a server that has run a workflow or two."""

    def __init__(self, folder: Path, server: TemporalServer) -> None:
        self.folder = folder
        self._server = server
        self._keys: dict[str, str] = {}
        (folder / "bin").mkdir()
        python = shlex.quote(sys.executable)
        self._tool("envelope-codec", f'exec {python} -m envelope_codec.cli "$@"')
        self._tool("python", f'exec {python} "$@"')
        # The server is there already.
        self._tool("temporal", f'[ "$1" = server ] || exec {shlex.quote(_program("temporal"))} "$@"')
        # What is not published yet can't be installed: it is seen to be a requirement that this version meets.
        self._tool("pip", f'exec {python} {shlex.quote(str(folder / "pip.py"))} "$@"')
        (folder / "pip.py").write_text(PIP, "utf-8")

    def add_application(self) -> None:
        """What the documents take to be there already."""
        package = self.folder / "my_app"
        package.mkdir()
        (package / "__init__.py").write_text(APPLICATION, "utf-8")
        (package / "codec.py").write_text(
            f"import sys\nsys.path.append({str(ROOT)!r})\nfrom tests.support.static_key_codec import *\n"
            "def static_key():\n    return StaticKeyCodec({'key': bytes(32)}, 'key')\n",
            "utf-8",
        )

    def _tool(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)

    def key(self, name: str) -> str:
        """The URI of the key file that stands for a master key of the documents."""
        if name not in self._keys:
            path = self.folder / f"key-{len(self._keys)}.json"
            create_key_file(path)
            self._keys[name] = key_uri(path)
        return self._keys[name]

    def replaced(self, text: str) -> str:
        text = text.replace("/etc/envelope", str(self.folder / "etc")).replace("localhost:7233", self._server.address)
        text = text.replace("/var/lib/envelope", str(self.folder / "var"))
        return KEY.sub(lambda found: found[0] if str(self.folder) in found[0] else self.key(found[0]), text)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        (self.folder / "etc").mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "TEMPORAL_ADDRESS": self._server.address,
            "ENVELOPE_CODEC_KEY": self.key("the key in the environment"),
        }
        return run_program(command, cwd=self.folder, env=environment)

    def execute(self, snippet: Snippet) -> None:
        text = self.replaced(snippet.text)
        if snippet.language == "toml":
            self.settings(text)
            return
        made_by_hand = self.folder / "etc" / "key.json"
        if snippet.language == "python" and str(made_by_hand) in text and not made_by_hand.exists():
            made_by_hand.parent.mkdir(exist_ok=True)
            create_key_file(made_by_hand)
        if "@workflow.defn" in text:  # a module to save
            (self.folder / "my_app" / "__init__.py").write_text(text, "utf-8")
        name = "snippet.py" if snippet.language == "python" else "snippet.sh"
        (self.folder / name).write_text(text, "utf-8")
        done = self.run([sys.executable, name] if snippet.language == "python" else ["bash", "-euo", "pipefail", name])
        # A doctor that finds something has been run as well.
        accepted = (0, 1) if "envelope-codec doctor" in text else (0,)
        assert done.returncode in accepted, f"{snippet.text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr

    def settings(self, text: str) -> None:
        (self.folder / "envelope.toml").write_text(text, "utf-8")


def _program(name: str) -> str:
    from localserver import find_program

    found = find_program(name)
    assert found is not None
    return found


@pytest.fixture
async def sandbox(tmp_path: Path, temporal_server: TemporalServer) -> Sandbox:
    """With histories of two workflows, as documents take them to be there."""
    made = Sandbox(tmp_path, temporal_server)
    made.add_application()
    uri = made.key("the key in the environment")
    made.settings(f'key = "{uri}"\n')
    done = await asyncio.to_thread(
        made.run,
        [sys.executable, "-c", WORKFLOWS.format(uri=uri, address=temporal_server.address, queue=tmp_path.name)],
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "histories").mkdir()
    with EnvelopePlugin(uri) as plugin:
        client = await Client.connect(temporal_server.address, plugins=[plugin])
        for name in ("history.json", "histories/greeting.json"):
            history = await client.get_workflow_handle("greeting").fetch_history()
            (tmp_path / name).write_text(json.dumps(json.loads(history.to_json())), "utf-8")
    return made


WORKFLOWS = """
import asyncio
import os
from envelope_codec import EnvelopePlugin
from my_app import Greet, greet
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

async def main():
    with EnvelopePlugin({uri!r}, startup_jitter=0) as plugin:
        client = await Client.connect({address!r}, plugins=[plugin])
        async with Worker(client, task_queue={queue!r}, workflows=[Greet], activities=[greet]):
            for name in ("greeting", "order-7"):
                await client.execute_workflow(
                    Greet.run, "Ada", id=name, task_queue={queue!r},
                    id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
                )

asyncio.run(main())
os._exit(0)  # a thread of the SDK may abort an interpreter that ends: temporalio/sdk-python#300
"""


@pytest.mark.parametrize(
    "document",
    [
        document
        for document in DOCUMENTS
        if document != FIRST_PAGE and any(s.language != "toml" for s in snippets(document))
    ],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
async def test_every_snippet_runs(document: Path, sandbox: Sandbox) -> None:
    for snippet in snippets(document):
        if snippet.begins not in ELSEWHERE:
            await asyncio.to_thread(sandbox.execute, snippet)


def _ordinary_user() -> dict[str, Any]:
    """Arguments of `subprocess.run` that give up being root; none where root alone can run this Python."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        probe = subprocess.run([sys.executable, "-c", "import envelope_codec"], cwd="/", capture_output=True, **user)
    except OSError:
        return {}
    return user if probe.returncode == 0 else {}


@pytest.fixture
def newcomer(temporal_server: TemporalServer) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp())  # not below pytest's own, where other users may not go
    folder.chmod(0o755)
    try:
        yield Sandbox(folder, temporal_server)
    finally:
        shutil.rmtree(folder)


async def test_the_first_page_is_all_that_a_newcomer_needs(newcomer: Sandbox) -> None:
    user = _ordinary_user()
    work = newcomer.folder / "work"
    work.mkdir()
    if user:
        shutil.chown(work, user["user"], user["group"])
    environment = {"PATH": f"{newcomer.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(work), "LANG": "C.UTF-8"}
    environment["TEMPORAL_ADDRESS"] = newcomer._server.address
    printed = ""
    for snippet in snippets(FIRST_PAGE):
        if snippet.begins in ELSEWHERE:
            continue
        assert not re.search(r"(?<![\w:/.])/\w", snippet.text), "a path that may not be an ordinary user's to write"
        text = newcomer.replaced(snippet.text)
        for key in newcomer.folder.glob("key-*.json") if user else ():
            shutil.chown(key, user["user"], user["group"])
        if snippet.saved_as:
            (work / snippet.saved_as).write_text(text, "utf-8")
            continue
        assert snippet.language != "toml"
        command = (
            [sys.executable, "-c", text] if snippet.language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        )
        done = await asyncio.to_thread(run_program, command, cwd=work, env=environment, **user)
        printed += done.stdout
        assert done.returncode in ((0, 1) if "doctor" in text else (0,)), f"{text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
    assert "Hello, Ada" in printed
    assert "key URI:  localfile:///" in printed
    assert "in clear" in printed


def test_what_is_not_run_is_there() -> None:
    """So that a line which changes is looked at."""
    begins = {snippet.begins for document in DOCUMENTS for snippet in snippets(document)}
    assert set(ELSEWHERE) <= begins
