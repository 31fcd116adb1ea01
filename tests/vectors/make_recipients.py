"""Writes the vectors for recipients: ``python -m tests.vectors.make_recipients [FOLDER]``, by default ``recipients/``.

It knows nothing of `envelope_codec`. The same run gives the same bytes; vectors that were published never change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.vectors import azure_recipients


def main(folder: Path) -> None:
    made = {"envelope": 1, "vault": azure_recipients.vault(), "vectors": azure_recipients.vectors()}
    text = json.dumps(made, indent=1, ensure_ascii=True)
    (folder / "azure-rsa.json").write_text(text + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "recipients")
