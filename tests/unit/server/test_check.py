"""The check of the server's settings tries keys and issuers, and says what it found."""

from __future__ import annotations

from pathlib import Path

from envelope_codec import EnvelopeConfig, KmsUnavailable
from envelope_codec.server import ServerConfig
from envelope_codec.server.auth.token_file import make_token
from envelope_codec.server.check import check
from envelope_codec.testing import FakeKms
from tests.support.codec_server import serving
from tests.support.introspection_server import introspecting
from tests.support.token_issuer import issuing

SERVER = ServerConfig(listen="127.0.0.1:0")


def test_keys_that_work_are_counted() -> None:
    assert check(EnvelopeConfig(key=FakeKms()), SERVER) == (
        ["master keys: 1 unwrap what they wrapped"],
        True,
    )


def test_a_key_that_fails_is_a_problem() -> None:
    kms = FakeKms()
    kms.fail_next(*[KmsUnavailable("the KMS did not answer")] * 10)
    lines, well = check(EnvelopeConfig(key=kms, timeout=0.1), SERVER)
    assert lines == ["master keys: 1 of 1 do not work; `envelope-codec doctor` says why"]
    assert not well


def test_issuers_are_asked_for_their_keys() -> None:
    with issuing() as issuer:
        server = ServerConfig(listen="127.0.0.1:0", auth=[issuer.settings], rules=[{"namespaces": "*"}])
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
        assert (lines[1:], well) == ([f"issuer {issuer.name}: its keys are known"], True)
        issuer.down = True
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
        assert not well
        assert "gives no keys, so nobody with its tokens is let in: it is answered with status 503" in lines[1]


def test_all_that_keeps_it_from_starting_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("garbage\n")
    server = ServerConfig(
        tls_cert="missing.pem",
        tls_key="missing.key",
        listen="192.0.2.1:8081",
        audit_file=str(tmp_path / "none" / "audit"),
        token_files=[str(tmp_path / "tokens"), "missing-tokens"],
        storage="no_such_module:storage",
        auth=[
            {"issuer": "https://a/", "audience": "a", "key_file": "missing-keys"},
            {
                "issuer": "https://b/",
                "audience": "b",
                "introspection_url": "https://b/introspect",
                "introspection_client_id": "c",
                "introspection_secret_file": "missing-secret",
            },
        ],
        rules=[{"claims": {"iss": "*"}, "namespaces": "*"}],
    )
    lines, well = check(EnvelopeConfig(key=FakeKms()), server)
    assert not well
    for said in (
        "server.listen: can't listen on 192.0.2.1:8081",
        "server.tls_cert: 'missing.pem'",
        "server.audit_file: can't open",
        "'missing-keys'",
        "'missing-secret'",
        "server.token_files: line 1",
        "'missing-tokens'",
        "server.storage: 'no_such_module:storage'",
    ):
        assert sum(said in line for line in lines) == 1, (said, lines)


def test_an_address_in_use_may_be_the_running_server_s(tmp_path: Path) -> None:
    entry = make_token("report")[1]
    ended = make_token("ended", 1)[1]
    (tmp_path / "tokens").write_text(f"{entry}\n{ended}\n")
    with serving(FakeKms()) as running:
        address = running.url.removeprefix("http://")
        server = ServerConfig(listen=address, token_files=str(tmp_path / "tokens"), rules=[{"namespaces": "*"}])
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
    assert well
    assert lines[:2] == [
        f"listen: {address} is in use; by this server, if it runs",
        f"token file {tmp_path / 'tokens'}: 2 tokens, 1 of which have ended",
    ]


def test_an_issuer_is_asked_whether_it_tells_whose_a_token_is(tmp_path: Path) -> None:
    with introspecting() as endpoint:
        rules = [{"namespaces": "*"}]
        server = ServerConfig(listen="127.0.0.1:0", auth=[endpoint.settings(tmp_path)], rules=rules)
        lines, well = check(EnvelopeConfig(key=FakeKms()), server)
        assert (lines[1:], well) == (["issuer https://opaque.example.com/: it tells whose a token is"], True)
        wrong = [endpoint.settings(tmp_path, introspection_client_id="somebody else")]
        lines, well = check(EnvelopeConfig(key=FakeKms()), ServerConfig(listen="127.0.0.1:0", auth=wrong, rules=rules))
        assert not well
        assert "status 401 (is introspection_client_id right" in lines[1]
