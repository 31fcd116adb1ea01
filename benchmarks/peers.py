"""This library beside others: processor time, time at a slow KMS, KMS calls and overhead, peak memory.

All are called as payload codecs, on the same payloads, in one process, by turns. In place of AWS KMS boto3's own client
is answered in this process. Run in the environment that ``make bench`` makes:
``python benchmarks/peers.py time|latency|calls|memory [--quick] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import calls, latency, memory, processor_time
from benchmarks.side_by_side.entrants import find_entrants
from benchmarks.side_by_side.own import FLOOR

_PACKAGES = (
    *("temporalio", "cryptography", "boto3", "protobuf", "zstandard"),
    *("aws-encryption-sdk", "aws-cryptographic-material-providers", "tink"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("time", "latency", "calls", "memory"))
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured to FILE too")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    entrants, missing = find_entrants()
    rows = _measure(chosen.what, chosen.quick)
    for row in rows:
        print(
            *(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
        )
    for name, reason in missing.items():
        print(f"not measured: {name}: {reason}")
    if chosen.json:
        said = {
            "name": f"peers-{chosen.what}",
            "rows": rows,
            "missing": missing,
            "versions": _versions(),
            "entrants": [
                {"name": entrant.name, "setup": entrant.setup, "source": entrant.source} for entrant in entrants
            ],
        }
        chosen.json.write_text(json.dumps(said, indent=1), "utf-8")
    return 0


def _measure(what: str, quick: bool) -> list[dict[str, Any]]:
    entrants, _ = find_entrants()
    if what == "time":
        rounds, seconds = (5, 0.004) if quick else (45, 0.01)
        return asyncio.run(processor_time.measure(entrants, rounds=rounds, seconds=seconds))
    entrants = [entrant for entrant in entrants if entrant.name != FLOOR]  # it has no KMS
    if what == "latency":
        return asyncio.run(latency.measure(entrants, rounds=2 if quick else 5))
    if what == "calls":
        return asyncio.run(calls.measure(entrants, seconds=1.0 if quick else 8.0))
    return memory.measure(entrants[:2] if quick else entrants)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
