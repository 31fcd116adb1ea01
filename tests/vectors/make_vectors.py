"""Writes the test vectors: ``python -m tests.vectors.make_vectors [FOLDER]``, by default into this folder.

It knows nothing of `envelope_codec`. The same run gives the same bytes; vectors that were published never change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.vectors import compressed_vectors, good_vectors, keystore_vectors, malformed_vectors, tampered_vectors

FILES = {
    "good-modes": good_vectors.modes,
    "good-recipients": good_vectors.recipients,
    "good-contexts": good_vectors.contexts,
    "good-payloads": good_vectors.payloads,
    "good-compressed": compressed_vectors.accepted,
    "good-keystore": keystore_vectors.accepted,
    "bad-metadata": malformed_vectors.metadata_rules,
    "bad-records": malformed_vectors.record_rules,
    "bad-bounds": malformed_vectors.bounds,
    "bad-changed": tampered_vectors.changed,
    "bad-ids": tampered_vectors.ids,
    "bad-keys": tampered_vectors.keys,
    "bad-configuration": tampered_vectors.configuration,
    "bad-order": tampered_vectors.order,
    "bad-warm": tampered_vectors.warm,
    "bad-compressed": compressed_vectors.refused,
    "bad-keystore": keystore_vectors.refused,
    "untouched": good_vectors.untouched,
}


def main(folder: Path) -> None:
    for name, vectors in FILES.items():
        text = json.dumps({"envelope": 1, "vectors": vectors()}, indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
