"""The tests that every provider has to pass, with pytest.

A provider is registered by one class in a test module of its own::

    from envelope_codec.testing.conformance import ProviderConformance


    class TestMyKms(ProviderConformance):
        harness_class = MyHarness

`Harness` says what ``MyHarness`` has to do. It is called once for all tests of the class. If it has parameters, their
names are those of pytest fixtures (of the session or the class), whose values it gets.
"""

from __future__ import annotations

import pytest

_PARTS = ("checks", "ciphertexts", "closing", "contexts", "key_ids", "life", "network", "round_trips")
# Before the import, so that a failed test shows the values that it compared.
pytest.register_assert_rewrite(*(f"{__name__}._{part}" for part in _PARTS))

from envelope_codec.testing.conformance._harness import Harness  # noqa: E402
from envelope_codec.testing.conformance._suite import ProviderConformance  # noqa: E402

__all__ = ["Harness", "ProviderConformance"]
