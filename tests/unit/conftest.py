"""No test leaves threads to the next, or depends on speed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from envelope_codec._process import living
from envelope_codec.keys.keyring import Keyring

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


@pytest.fixture(autouse=True)
def closed_keyrings() -> Iterator[None]:
    """Closes the keyrings that a test has left open."""
    yield
    for keyring in living(Keyring):
        keyring.close()
