"""Fixtures of several tests of the doctor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envelope_codec.cli.keygen import create_key_file, key_uri
from envelope_codec.testing import FakeKms
from tests.support.doctor_surveys import Sealer


@pytest.fixture
def uri(tmp_path: Path) -> str:
    create_key_file(tmp_path / "key.json")
    return key_uri(tmp_path / "key.json")


@pytest.fixture
async def seal() -> AsyncIterator[Sealer]:
    sealer = Sealer()
    yield sealer
    sealer.close()


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms("fakekms://main")
