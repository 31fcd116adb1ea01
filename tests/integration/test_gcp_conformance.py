"""The suite that every provider has to pass, over Google Cloud KMS on the server of this repository."""

from __future__ import annotations

import pytest

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_gcp import GcpHarness


@pytest.mark.usefixtures("watched")
class TestGcp(ProviderConformance):
    harness_class = GcpHarness
