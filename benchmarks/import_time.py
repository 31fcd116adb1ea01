"""What importing the library costs over importing temporalio: the best of several runs, each in a process of its own.

Run: ``python benchmarks/import_time.py [--check]``; with ``--check`` it fails if the first figure is over its bar.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

RUNS = 7
BAR = 0.15
MEASURE = """
import time, temporalio.client, temporalio.worker
begun = time.process_time()
{statement}
print(time.process_time() - begun)
"""


def seconds(statement: str) -> float:
    """Processor time of ``statement``, with temporalio's client and worker imported already."""
    command = [sys.executable, "-c", MEASURE.format(statement=statement)]
    return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(RUNS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="fail if the first figure is over its bar")
    check = parser.parse_args().check
    library = seconds("import envelope_codec")
    print(f"import envelope_codec: {library:.3f} s over temporalio  (bar {BAR})")
    print(f"from envelope_codec import EnvelopePlugin: {seconds('from envelope_codec import EnvelopePlugin'):.3f} s")
    return 1 if check and library > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
