"""How views reach a terminal, a file or a program."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from envelope_codec.cli.doctor.watch.judgement import judge
from envelope_codec.cli.doctor.watch.screen import Board, open_screen
from envelope_codec.cli.doctor.watch.view import View
from tests.support.terminal import RUN
from tests.support.told_metrics import lease, overview

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


def view(since: float) -> View:
    seen = overview(lease(since, 0))
    return View(datetime(2026, 1, 2, tzinfo=timezone.utc), [], seen, judge(seen, []))


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Has standard output be a terminal of 70 columns, and returns what was written there so far."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 70, 0, 0))
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    os.set_blocking(ours, False)

    def written() -> str:
        found = bytearray()
        with suppress(BlockingIOError):
            while piece := os.read(ours, 65_536):
                found += piece
        return found.decode().replace("\r\n", "\n")

    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield written
    os.close(ours)


def test_a_file_gets_one_block_after_another_without_a_move_of_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen(as_json=False) as screen:
        for since in (1, 2, 3):
            screen.show(view(since))
    printed = capsys.readouterr().out
    blocks = printed.split("\n\n2026-")
    assert len(blocks) == 3
    assert all("Leases" in block for block in blocks)
    assert "\x1b" not in printed


def test_a_program_gets_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen(as_json=True) as screen:
        for since in (1, 2):
            screen.show(view(since))
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["leases"][0]["since_success"] for document in documents] == [1, 2]


def test_a_terminal_is_drawn_in_place_and_keeps_what_it_showed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        with open_screen(as_json=False) as screen:
            for since in (101, 102):
                screen.show(view(since))
            drawn = written()
        left = written()
    assert drawn.startswith("\x1b[?1049h")  # the terminal's other screen
    assert "101 s" in drawn
    assert "\x1b[?1049l" in left
    after = left.partition("\x1b[?1049l")[2]
    assert "102 s" in after
    assert "101 s" not in after


def test_a_terminal_that_is_resized_is_drawn_for_its_new_size() -> None:
    console, board = Console(file=io.StringIO(), width=70), Board(view(101))
    for width in (70, 40):
        console.width = width
        with console.capture() as captured:
            console.print(board)
        assert width - 10 < max(map(len, captured.get().splitlines())) <= width


def test_no_colour_is_no_live_display_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        monkeypatch.setenv("NO_COLOR", "1")
        with open_screen(as_json=False) as screen:
            for since in (101, 102):
                screen.show(view(since))
        shown = written()
    assert shown.count("Leases") == 2
    assert "\x1b" not in shown


def test_ctrl_c_is_how_it_ends() -> None:
    with worker(lease(400, 3_500)) as address:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*RUN, "doctor", "--watch", "--metrics", address, "--every", "0.1"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(TERM="xterm-256color"),
            cwd=ROOT,
        )
        os.close(theirs)
        seen = bytearray()
        while b"Leases" not in seen:
            assert select.select([ours], [], [], SECONDS)[0]
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # Linux says so that the other side is closed
            while piece := os.read(ours, 65_536):
                seen += piece
        assert process.wait(SECONDS) == 0
        os.close(ours)
    assert b"Traceback" not in seen
    assert b"Leases" in seen.rpartition(b"\x1b[?1049l")[2]


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
