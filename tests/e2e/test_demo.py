"""The command ``envelope-codec demo``, as people run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from devstack import AzureKeyVaultServer, GcpKmsServer, LocalStack, OpenBao, Server, ServerMissing
from temporalio.api.history.v1 import History

from envelope_codec.envelope import parse
from envelope_codec.temporal.payload_walk import payloads_in
from tests.support.demo_runs import ROOT, TOOL, assert_nothing_left, demo_environment, processes_of, run

RUN = [*TOOL, "demo"]
SERVER_OF: dict[str, type[Server] | None] = {
    "local": None,
    "vault": OpenBao,
    "aws": LocalStack,
    "gcp": GcpKmsServer,
    "azure": AzureKeyVaultServer,
}

environment = pytest.fixture(demo_environment)


def fact(output: str, label: str) -> str:
    """What the demo printed beside ``label``."""
    (found,) = re.findall(rf"^  {re.escape(label)} +(.*)$", output, re.MULTILINE)
    return str(found)


def require(server: type[Server] | None) -> None:
    try:
        if server is not None and server not in (GcpKmsServer, AzureKeyVaultServer):
            server()._command()
    except ServerMissing as missing:
        if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.mark.parametrize("kms", SERVER_OF)
def test_prints_what_is_so_and_leaves_nothing_behind(kms: str, environment: Mapping[str, str], tmp_path: Path) -> None:
    require(SERVER_OF[kms])
    saved = tmp_path / "history"
    done = run(environment, "--kms", kms, "--history", str(saved))
    assert (done.returncode, done.stderr) == (0, "")
    assert_nothing_left(environment)

    output = done.stdout
    assert max(map(len, output.splitlines())) <= 100
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output), "no escape sequences where there is no terminal"

    payloads = list(payloads_in(History.FromString(saved.read_bytes())))
    envelopes = [parse(payload.metadata, payload.data) for payload in payloads]
    assert len(payloads) >= 200
    assert None not in envelopes
    record = envelopes[0].record  # type: ignore[union-attr]
    assert fact(output, "encoding") == "binary/envelope-v1"
    assert f"0000  {payloads[0].data[:8].hex(' ')}  {payloads[0].data[8:16].hex(' ')}  |" in output
    assert fact(output, "encryption-key-id") == record.recipients[0].key_id
    assert fact(output, "record id") == record.id.hex()
    assert fact(output, "context") == "temporal-namespace = default"
    assert fact(output, "recipient 1 key id") == record.recipients[0].key_id
    assert fact(output, "recipient 1 wrapped") == f"{len(record.recipients[0].ciphertext)} bytes"
    assert fact(output, f"stored payloads ({len(payloads)})") == "not found"
    assert fact(output, "stored histories (1)") == "not found"
    assert fact(output, "the server's database") == "not found"
    assert output.endswith("\nNo plaintext was found.\n")

    sealed, opened = map(int, re.fullmatch(r"(\d+) sealed, (\d+) opened", fact(output, "payloads")).groups())  # type: ignore[union-attr]
    assert sealed >= 200
    assert opened >= 200
    assert fact(output, "KMS calls").startswith("2 (1 wrap, 1 unwrap;")


def test_fails_where_plaintext_is_found(environment: Mapping[str, str]) -> None:
    done = run(environment, "--without-plugin")
    assert done.returncode == 1, done.stderr
    assert_nothing_left(environment)
    assert fact(done.stdout, "encoding") == "json/plain"
    name = re.search(r'"name": "(Marigold Quill [0-9a-f]+)"', done.stdout)
    assert name
    for place in (r"stored payloads \(\d+\)", r"stored histories \(1\)", "the server's database"):
        assert re.search(rf"^  {place} +FOUND: {name[1]}, ", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\nPLAINTEXT WAS FOUND.\n")


@pytest.fixture
def demo(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*RUN, "--kms", "vault"], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "start"), (signal.SIGTERM, "workflow")])
def test_signal_stops_everything(
    number: int, moment: str, demo: subprocess.Popen[str], environment: Mapping[str, str]
) -> None:
    require(OpenBao)
    if moment == "start":
        while not any("-dev-listen-address" in command for command in processes_of(environment).values()):
            assert demo.poll() is None
    else:
        assert demo.stdout is not None
        assert any(line.startswith("Temporal dev server") for line in demo.stdout)
    while demo.poll() is None:
        demo.send_signal(number)  # an impatient user
        time.sleep(0.05)
    _, complaint = demo.communicate()
    assert demo.returncode == 128 + number
    assert complaint == "envelope-codec: interrupted; everything is stopped and removed\n"
    assert_nothing_left(environment)


def test_says_what_is_missing_outside_a_checkout(tmp_path: Path, environment: Mapping[str, str]) -> None:
    (tmp_path / "envelope_codec").symlink_to(ROOT / "envelope_codec")
    script = "import envelope_codec; envelope_codec.__file__ = '/nowhere/envelope_codec/__init__.py'; "
    command = [sys.executable, "-c", f"{script}from envelope_codec.cli import main; main()", "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "clone the repository and run `make demo`" in done.stderr
