"""What a worker serves: only what its own version began, and nothing in clear."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError

from envelope_codec import EncryptionRequired, EnvelopeConfig, __version__
from envelope_codec.cli.distributed.served import check_version, refusing_plaintext
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.proxied import NAME, seal_as_proxy


def test_another_version_is_refused() -> None:
    check_version(__version__)
    with pytest.raises(ApplicationError, match="run one version") as raised:
        check_version("0.0.0")
    assert raised.value.non_retryable
    assert __version__ in str(raised.value)


async def test_what_anybody_could_have_begun_is_refused() -> None:
    """Whoever can write to Temporal, and holds no key, neither begins work nor answers in a worker's place."""
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
    settings = EnvelopeConfig(key=FakeKms())
    assert await EnvelopeCodec(settings, namespace="default").decode([plain]) == [plain]
    with pytest.raises(EncryptionRequired):
        await EnvelopeCodec(refusing_plaintext(settings), namespace="default").decode([plain])
    unsealed = EnvelopeConfig(key=FakeKms(), sealing=False)
    assert refusing_plaintext(unsealed) is unsealed


async def test_what_temporals_proxy_sealed_is_refused() -> None:
    """Such a payload is bound to nothing, so that one from elsewhere could begin work."""
    proxy = FakeKms()
    listed: Any = {"key": FakeKms(), "temporal_proxy_keys": {NAME: [proxy]}}
    settings = EnvelopeConfig(**listed, namespaces={"own": listed})
    for namespace in ("default", "own"):
        with pytest.raises(EncryptionRequired):
            await EnvelopeCodec(refusing_plaintext(settings), namespace=namespace).decode([seal_as_proxy(proxy)])
    assert proxy.unwraps == 0
