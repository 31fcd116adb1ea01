"""No test leaves threads to the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envelope_codec._process import living
from envelope_codec.keys.keyring import Keyring


@pytest.fixture(autouse=True)
def closed_keyrings() -> Iterator[None]:
    """Closes the keyrings that a test has left open."""
    yield
    for keyring in living(Keyring):
        keyring.close()
