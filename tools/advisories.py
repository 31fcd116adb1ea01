"""Look for known vulnerabilities in what is pinned: ``python -m tools.advisories PINS…``.

Runs pip-audit over all pins of the files, each version once, whatever Python or platform it is for. It asks PyPI first,
and OSV if PyPI tells nothing. The status is 1 if a version has an advisory.

Whether advisories are to be had at all is found out with a version that has some. If they are not, this says so, and
the status is 0; with ``ENVELOPE_REQUIRE_ADVISORIES=1`` it is 1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
KNOWN = "urllib3==1.26.4"
"""A version that has advisories, and will keep them."""

_PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;]+)", re.MULTILINE)


class NoAdvisories(Exception):
    """A service does not tell of the advisories that there are. The text says why."""


def main(arguments: Sequence[str]) -> int:
    """Look, print what is found, and return the exit status."""
    pins = read_pins(Path(name).read_text("utf-8") for name in arguments)
    service = find_service()
    if service is None:
        required = os.environ.get("ENVELOPE_REQUIRE_ADVISORIES") == "1"
        print(f"{len(pins)} pinned versions were NOT looked up: no advisories are to be had here.", file=sys.stderr)
        return int(required)
    found = [line for round in in_rounds(pins) for line in tell(_ask(service, round))]
    print(*found, f"{len(pins)} pinned versions were looked up at {service}: {len(found)} advisories.", sep="\n")
    return int(bool(found))


def read_pins(texts: Iterable[str]) -> list[str]:
    """Return all pins, each once, without hashes and markers."""
    return sorted({f"{name}=={version}" for text in texts for name, version in _PIN.findall(text)})


def in_rounds(pins: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists that have one version of each name, as pip-audit takes them."""
    pending = list(pins)
    while pending:
        names: set[str] = set()
        now: list[str] = []
        later: list[str] = []
        for pin in pending:
            name = pin.partition("==")[0]
            (later if name in names else now).append(pin)
            names.add(name)
        yield now
        pending = later


def find_service() -> str | None:
    """Return the first service that knows of what there is."""
    for service in SERVICES:
        try:
            if tell(_ask(service, [KNOWN])):
                return service
            reason = "it knows of no advisory"
        except NoAdvisories as error:
            reason = str(error)
        print(f"{service}: asked for {KNOWN}, {reason}", file=sys.stderr)
    return None


def tell(report: dict[str, Any]) -> list[str]:
    """Return a line for each advisory in pip-audit's report.

    Raises:
        NoAdvisories: nothing was looked up.
    """
    pins = report["dependencies"]
    skipped = [str(pin["skip_reason"]) for pin in pins if "skip_reason" in pin]
    if pins and len(skipped) == len(pins):
        raise NoAdvisories(skipped[0])
    return [
        f"{pin['name']} {pin['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'no version'}"
        for pin in pins
        for one in pin.get("vulns", [])
    ]


def _ask(service: str, pins: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("\n".join(pins), "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--requirement", str(file)]
        command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise NoAdvisories(last[0][:200]) from None
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
