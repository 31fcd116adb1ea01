"""What integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.watch import Watch, watching


@pytest.fixture
def watched() -> Iterator[Watch]:
    """No library logs a key, a secret or a credential at any level, and no error that leaves ours holds one."""
    with watching() as watch:
        yield watch
    assert watch.found() == []
