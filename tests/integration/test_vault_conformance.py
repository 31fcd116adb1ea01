"""The suite that every provider has to pass, over Vault Transit on OpenBao."""

from __future__ import annotations

import pytest

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_vault import VaultHarness


@pytest.mark.usefixtures("watched")
class TestVault(ProviderConformance):
    harness_class = VaultHarness
