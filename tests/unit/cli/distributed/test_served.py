"""What a worker serves: only what its own version began."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError

from envelope_codec import __version__
from envelope_codec.cli.distributed.served import check_version


def test_another_version_is_refused() -> None:
    check_version(__version__)
    with pytest.raises(ApplicationError, match="run one version") as raised:
        check_version("0.0.0")
    assert raised.value.non_retryable
    assert __version__ in str(raised.value)
