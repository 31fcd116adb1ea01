"""The tests that every keystore has to pass, with pytest.

A keystore is registered by one class in a test module of its own::

    from envelope_codec.testing.keystore_conformance import KeystoreConformance


    class TestMyKeystore(KeystoreConformance):
        harness_class = MyHarness

``MyHarness`` does for keystores what `envelope_codec.testing.store_conformance.StoreHarness` says of stores: it is
called once for all tests of the class, and its parameters name fixtures.
"""

from __future__ import annotations

import pytest

# Before the import, so that a failed test shows the values that it compared.
pytest.register_assert_rewrite(f"{__name__}._suite")

from envelope_codec.testing.keystore_conformance._suite import KeystoreConformance  # noqa: E402

__all__ = ["KeystoreConformance"]
