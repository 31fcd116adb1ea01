"""Writes the vectors of keystore rows: ``python -m tests.vectors.make_rows [FOLDER]``, by default into ``rows/``.

It knows nothing of `envelope_codec`. The same run gives the same bytes; vectors that were published never change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.vectors import keystore_rows

FILES = {"good-rows": keystore_rows.good, "bad-rows": keystore_rows.bad}


def main(folder: Path) -> None:
    for name, vectors in FILES.items():
        text = json.dumps({"keystore_row": 1, "vectors": vectors()}, indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "rows")
