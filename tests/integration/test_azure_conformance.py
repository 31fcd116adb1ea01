"""The suite that every provider has to pass, over Azure Key Vault on the server of this repository."""

from __future__ import annotations

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_azure import AzureHarness, AzureHsmHarness


class TestAzure(ProviderConformance):
    harness_class = AzureHarness


class TestAzureHsm(ProviderConformance):
    harness_class = AzureHsmHarness
