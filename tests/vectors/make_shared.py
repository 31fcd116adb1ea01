"""Writes the vectors of sharing: ``python -m tests.vectors.make_shared [FOLDER]``, by default into ``shared/``.

It knows nothing of `envelope_codec`. The same run gives the same bytes; vectors that were published never change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.vectors import shared_keys

FILES = {"good-shared": shared_keys.good, "bad-shared": shared_keys.bad}


def main(folder: Path) -> None:
    for name, vectors in FILES.items():
        document = {"sharing": 1, "auth": shared_keys.auth(), "vectors": vectors()}
        text = json.dumps(document, indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "shared")
