"""What the benchmark of a real worker counts and computes. It is not run here."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import worker
from benchmarks.worker_documents import POOL, read_documents, write_documents
from benchmarks.worker_turns import Turn
from benchmarks.worker_usage import cpu_of_group, forget_peak_memory, peak_memory, usage_of_this_process
from benchmarks.worker_variants import REFERENCE
from benchmarks.worker_workflow import ACTIVITIES

TURN = Turn(cpu=2, server_cpu=4, wire=1_000, history_bytes=500, history_rows=10, rate=20, memory=100)


def test_a_row_is_the_median_of_the_ratios_of_single_rounds() -> None:
    turns = {
        (1024, REFERENCE): [TURN, replace(TURN, cpu=20), replace(TURN, cpu=4)],
        (1024, "sealed"): [replace(TURN, cpu=3), replace(TURN, cpu=22), replace(TURN, cpu=4)],
    }
    theirs, ours = worker.rows(turns)
    assert theirs["cpu"] == {"median": 1, "low": 1, "high": 1, "absolute": 4}
    assert (ours["size"], ours["variant"]) == (1024, "sealed")
    assert ours["cpu"] == {"median": 1.1, "low": 1, "high": 1.5, "absolute": 4}
    assert json.loads(json.dumps(ours)) == ours


def test_bytes_of_connections_to_one_server_are_counted_and_no_file_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        host, port = server.getsockname()
        address = f"{host}:{port}"
        with socket.create_connection(server.getsockname()) as client, socket.create_connection(other.getsockname()):
            there, _ = server.accept()
            before = usage_of_this_process(address)
            files = len(list(Path("/proc/self/fd").iterdir()))
            client.sendall(bytes(1_000))
            assert there.recv(1_000, socket.MSG_WAITALL) == bytes(1_000)
            there.sendall(bytes(70))
            assert client.recv(70, socket.MSG_WAITALL) == bytes(70)
            end = time.monotonic() + 20
            while (after := usage_of_this_process(address)).sent - before.sent < 1_000 and time.monotonic() < end:
                pass  # until the acknowledgement is here
            assert (after.sent - before.sent, after.received - before.received) == (1_000, 70)
            assert len(list(Path("/proc/self/fd").iterdir())) == files
            there.close()


def test_processor_time_and_peak_of_memory() -> None:
    before = cpu_of_group(os.getpgid(0))
    assert before > 0
    large = bytes(64 << 20)
    assert peak_memory() > len(large)
    peak = peak_memory()
    del large
    forget_peak_memory()
    assert peak_memory() < peak
    assert cpu_of_group(os.getpgid(0)) >= before


@pytest.mark.parametrize("size", [1 << 10, 10 << 10])
def test_documents_differ_and_have_their_size(size: int, tmp_path: Path) -> None:
    write_documents(tmp_path, [size])
    documents = read_documents(tmp_path, size)
    assert POOL == ACTIVITIES + 1
    assert [document["number"] for document in documents] == list(range(POOL))
    texts = {json.dumps(document, separators=(",", ":")) for document in documents}
    assert len(texts) == POOL
    assert all(size <= len(text) < size + 300 for text in texts)
