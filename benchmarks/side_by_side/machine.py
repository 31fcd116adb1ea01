"""What machine the figures are of."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path


def describe() -> dict[str, str]:
    """Return its description by what each part is."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count() or "?"),
        "memory": _memory(),
        "operating system": _system(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "day": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }


def load() -> str:
    """Return how many processes wanted a core in the last minute: on a quiet machine, about as many as are measured."""
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    virtual = " (a virtual machine)" if re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.M) else ""
    return (found[1].strip() if found else platform.processor() or platform.machine()) + virtual


def _memory() -> str:
    found = re.search(r"^MemTotal:\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return f"{int(found[1]) / 2**20:.0f} GiB" if found else "unknown"


def _system() -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release"), re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name[1]}, {kernel}" if name else kernel


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
