"""The suite that every provider has to pass, over key files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envelope_codec.errors import EnvelopeError, KmsUnavailable
from envelope_codec.kms import MasterKey
from envelope_codec.testing.conformance import ProviderConformance
from tests.support.harness_local import LocalHarness, path_of

SECRET = bytes(range(32))
CONTEXT = {"temporal-namespace": "default"}


@pytest.mark.usefixtures("watched")
class TestLocal(ProviderConformance):
    harness_class = LocalHarness

    def test_the_key_file_that_is_gone_is_unavailable(self, uri: str, key: MasterKey) -> None:
        """What a server that gives no answer is elsewhere."""
        wrapped = key.wrap(SECRET, CONTEXT)
        path_of(uri).unlink()
        calls: dict[str, Callable[[], object]] = {
            "unwrap": lambda: key.unwrap(wrapped, CONTEXT),
            "wrap": lambda: key.wrap(SECRET, CONTEXT),
        }
        for operation, call in calls.items():
            with pytest.raises(EnvelopeError) as caught:
                call()
            assert type(caught.value) is KmsUnavailable
            assert caught.value.operation == operation
            for unsaid in (uri, key.key_id, str(path_of(uri))):
                assert unsaid not in str(caught.value)
