"""The suite that every provider has to pass, over Vault Transit on OpenBao."""

from __future__ import annotations

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_vault import VaultHarness


class TestVault(ProviderConformance):
    harness_class = VaultHarness
