"""What a process has used so far: processor time, memory, bytes on its connections. Linux only."""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_TCP_INFO_BYTES = 120  # offset of tcpi_bytes_acked in `struct tcp_info` (linux/tcp.h); tcpi_bytes_received follows it


@dataclass(frozen=True)
class Usage:
    """Of this process since its start.

    Attributes:
        cpu: seconds of processor time.
        sent: bytes, and `received`: bytes, over connections to the server. TLS and HTTP/2 count, TCP and IP do not.
    """

    cpu: float
    sent: int
    received: int


def usage_of_this_process(address: str) -> Usage:
    """Return what was used, with the bytes of the connections to ``address`` that are open now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    sent, received = _bytes_to(address)
    return Usage(used.ru_utime + used.ru_stime, sent, received)


def forget_peak_memory() -> None:
    """Let the kernel take the peak anew, from what is used now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_memory() -> int:
    """Return the bytes of resident memory at the peak."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no peak of memory")


def cpu_of_group(group: int) -> float:
    """Return the seconds of processor time of all processes in a process group that run now."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "stat").read_text("utf-8", "replace")
        except OSError:  # it has ended
            continue
        fields = line.rpartition(")")[2].split()  # the name before it may hold anything
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def _bytes_to(address: str) -> tuple[int, int]:
    """Ask the kernel, which counts for each connection. So nothing has to stand between the process and the server."""
    host, _, port = address.rpartition(":")
    sent = received = 0
    for connection in _sockets():
        with connection:
            try:
                if connection.getpeername()[:2] != (host, int(port)):
                    continue
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            except OSError:  # not connected, or no TCP
                continue
            acked, got = struct.unpack_from("=QQ", info, _TCP_INFO_BYTES)
            sent, received = sent + acked, received + got
    return sent, received


def _sockets() -> Iterator[socket.socket]:
    """Give a copy of each socket that the process has open."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            copy = os.dup(number)
        except OSError:  # closed meanwhile
            continue
        yield socket.socket(fileno=copy)
