"""How views reach a terminal, a file or a program."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.terminal import RUN, run_on_terminal
from tests.support.told_metrics import lease

ROOT = Path(__file__).resolve().parents[5]
SECONDS = 60.0


@contextmanager
def worker(text: str) -> Iterator[str]:
    """The address of metrics that are this text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(SECONDS)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENVELOPE_CODEC_", "TEMPORAL_"))}
    return {**kept, **more}


def watch(address: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, "doctor", "--watch", "--metrics", address, "--every", "0.1", *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(),
        cwd=ROOT,
    )


def test_a_file_gets_one_block_after_another_without_a_move_of_the_cursor() -> None:
    with worker(lease(10, 0)) as address:
        done = watch(address, "--count", "3")
    assert (done.returncode, done.stderr) == (0, "")
    blocks = done.stdout.split("\n\n20")
    assert len(blocks) == 3
    assert all("Leases" in block for block in blocks)
    assert "\x1b" not in done.stdout


def test_a_program_gets_one_document_a_line() -> None:
    with worker(lease(400, 3_500)) as address:
        done = watch(address, "--count", "2", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["leases"][0]["stage"] for document in documents] == ["grace", "grace"]


def test_a_terminal_is_drawn_in_place_and_keeps_what_it_showed_last() -> None:
    with worker(lease(10, 0)) as address:
        shown = run_on_terminal(
            ["doctor", "--watch", "--metrics", address, "--every", "0.1", "--count", "2"],
            environment(COLUMNS="70", LINES="30"),
        )
    assert shown.status == 0
    drawn, _, left = shown.text.rpartition("\x1b[?1049l")  # the end of the terminal's other screen
    assert drawn.startswith("\x1b[?1049h")
    assert "Leases" in drawn
    assert "Leases" in left


def test_no_colour_is_no_live_display_either() -> None:
    with worker(lease(10, 0)) as address:
        shown = run_on_terminal(
            ["doctor", "--watch", "--metrics", address, "--every", "0.1", "--count", "2"], environment(NO_COLOR="1")
        )
    assert shown.text.count("Leases") == 2
    assert "\x1b" not in shown.text


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_is_how_it_ends(terminal: bool) -> None:
    with worker(lease(400, 3_500)) as address:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*RUN, "doctor", "--watch", "--metrics", address, "--every", "0.1"],
            stdin=theirs,
            stdout=theirs if terminal else subprocess.PIPE,
            stderr=theirs,
            env=environment(TERM="xterm-256color"),
            cwd=ROOT,
        )
        os.close(theirs)
        reader = ours if terminal else process.stdout.fileno() if process.stdout else -1
        seen = bytearray()
        deadline = time.monotonic() + SECONDS
        while b"Leases" not in seen:
            assert time.monotonic() < deadline
            seen += os.read(reader, 65_536)
        process.send_signal(signal.SIGINT)
        try:
            while piece := os.read(reader, 65_536):
                seen += piece
        except OSError:  # Linux says so that the other side is closed
            pass
        assert process.wait(SECONDS) == 0
        os.close(ours)
        if process.stdout:
            process.stdout.close()
    assert b"Traceback" not in seen
    assert seen.endswith(b"\x1b[?25h") is False


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    with worker(lease(10, 0)) as address:
        process = subprocess.Popen(
            [*RUN, "doctor", "--watch", "--metrics", address, "--every", "0.1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=ROOT,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        process.wait(SECONDS)
    assert b"Traceback" not in said
    assert sys.executable
