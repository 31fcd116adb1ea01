"""The source checkout around this package, if there is one: the demo starts its servers with a script in it."""

from __future__ import annotations

from pathlib import Path

import envelope_codec

DEVSTACK = Path(envelope_codec.__file__).resolve().parent.parent / "localstack"
"""The folder of the script ``devstack.py``. An installed package has none."""


def is_checkout() -> bool:
    """Whether this package is imported from a source checkout."""
    return (DEVSTACK / "devstack.py").is_file()
