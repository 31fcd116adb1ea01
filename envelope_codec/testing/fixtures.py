"""Fixtures for pytest. A ``conftest.py`` takes them with ``pytest_plugins = ["envelope_codec.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from envelope_codec.plugin import EnvelopePlugin
from envelope_codec.testing import FakeKms


@pytest.fixture
def fake_kms() -> FakeKms:
    """Return a master key in memory, with faults to inject. It is this test's own."""
    return FakeKms()


@pytest.fixture
def envelope_settings() -> Mapping[str, Any]:
    """Return the settings of `envelope_plugin`. Define a fixture of this name to have others."""
    return {"require_encryption": True, "startup_jitter": 0}


@pytest.fixture
def envelope_plugin(fake_kms: FakeKms, envelope_settings: Mapping[str, Any]) -> Iterator[EnvelopePlugin]:
    """Yield a plugin with the key `fake_kms` and with `envelope_settings`, and close it after the test."""
    with EnvelopePlugin(fake_kms, **envelope_settings) as plugin:
        yield plugin
