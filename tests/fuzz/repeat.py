"""Try single inputs: ``python -m tests.fuzz.repeat TARGET FILE...``. It needs no fuzzer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.fuzz.target import NAMES, load


def main() -> None:
    parser = argparse.ArgumentParser(description="Try inputs of a target, and show what does not hold.")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    chosen = parser.parse_args()
    target = load(chosen.target)
    for path in chosen.files:
        target.check(path.read_bytes())
        print(f"{path}: all holds")


if __name__ == "__main__":
    main()
