"""What a worker serves: only what its own version began, and nothing in clear."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError

from envelope_codec import EncryptionRequired, EnvelopeConfig, __version__
from envelope_codec.cli.distributed.served import check_version, refusing_plaintext
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms


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
