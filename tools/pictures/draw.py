"""Draw the pictures of the documents into docs/pictures. Run: ``python -m tools.pictures.draw``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.pictures.drawing import Picture
from tools.pictures.hierarchy import hierarchy
from tools.pictures.outage import Outage, outages
from tools.pictures.screen import Screen, audits
from tools.pictures.states import breaker_states, lease_states, sealing_key_states
from tools.pictures.threads import threads
from tools.pictures.travels import travels
from tools.pictures.ways import opening, sealing

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def pictures() -> list[Picture | Screen | Outage]:
    """Draw all of them."""
    return [
        hierarchy(),
        sealing(),
        opening(),
        threads(),
        sealing_key_states(),
        lease_states(),
        breaker_states(),
        travels(),
        *audits(FOLDER),
        *outages(FOLDER),
    ]


def main() -> int:
    """Write each picture, or with ``--check`` say which are not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a picture is out of date")
    check = parser.parse_args().check
    stale = []
    for picture in pictures():
        file, text = FOLDER / f"{picture.name}.svg", picture.svg()
        if not file.exists() or file.read_text("utf-8") != text:
            stale.append(file.name)
            if not check:
                file.write_text(text, "utf-8")
    print("\n".join(stale) if stale else "all pictures are up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
