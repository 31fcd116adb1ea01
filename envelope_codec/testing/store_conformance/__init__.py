"""The tests that every store has to pass, with pytest.

A store is registered by one class in a test module of its own::

    from envelope_codec.testing.store_conformance import StoreConformance


    class TestMyStore(StoreConformance):
        harness_class = MyHarness

`StoreHarness` says what ``MyHarness`` has to do. It is called once for all tests of the class. If it has parameters,
their names are those of pytest fixtures (of the session or the class), whose values it gets.
"""

from __future__ import annotations

import pytest

# Before the import, so that a failed test shows the values that it compared.
pytest.register_assert_rewrite(f"{__name__}._suite")

from envelope_codec.testing.store_conformance._harness import StoreHarness  # noqa: E402
from envelope_codec.testing.store_conformance._suite import StoreConformance  # noqa: E402

__all__ = ["StoreConformance", "StoreHarness"]
