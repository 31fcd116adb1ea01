"""The suite that every provider has to pass, over AWS KMS on LocalStack."""

from __future__ import annotations

import pytest

from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_aws import AwsHarness


@pytest.mark.usefixtures("watched")
class TestAws(ProviderConformance):
    harness_class = AwsHarness
