"""The suite that every provider has to pass, over Azure Key Vault on the server of this repository."""

from __future__ import annotations

import pytest

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_azure import AzureHarness, AzureHsmHarness


@pytest.mark.usefixtures("watched")
class TestAzure(ProviderConformance):
    harness_class = AzureHarness


@pytest.mark.usefixtures("watched")
class TestAzureHsm(ProviderConformance):
    harness_class = AzureHsmHarness
