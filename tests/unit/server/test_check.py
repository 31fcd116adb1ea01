"""The check of the server's settings tries keys and issuers, and says what it found."""

from __future__ import annotations

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig, KmsUnavailable
from envelope_codec.server import ServerConfig
from envelope_codec.server.check import check
from envelope_codec.testing import FakeKms
from tests.support.token_issuer import issuing


def test_keys_that_work_are_counted() -> None:
    assert check(EnvelopeConfig(key=FakeKms()), ServerConfig()) == (["master keys: 1 unwrap what they wrapped"], True)


def test_a_key_that_fails_is_a_problem() -> None:
    kms = FakeKms()
    kms.fail_next(*[KmsUnavailable("the KMS did not answer")] * 10)
    lines, well = check(EnvelopeConfig(key=kms, timeout=0.1), ServerConfig())
    assert lines == ["master keys: 1 of 1 do not work; `envelope-codec doctor` says why"]
    assert not well


def test_issuers_are_asked_for_their_keys() -> None:
    with issuing() as issuer:
        server = ServerConfig(auth=[issuer.settings], rules=[{"namespaces": "*"}])
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
        assert (lines[1:], well) == ([f"issuer {issuer.name}: its keys are known"], True)
        issuer.down = True
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
        assert not well
        assert "gives no keys, so nobody with its tokens is let in: it is answered with status 503" in lines[1]


def test_a_certificate_that_can_not_be_loaded_ends_it() -> None:
    server = ServerConfig(tls_cert="missing.pem", tls_key="missing.key")
    with pytest.raises(ConfigurationError, match=r"server\.tls_cert: 'missing\.pem'"):
        check(EnvelopeConfig(key=FakeKms()), server)
