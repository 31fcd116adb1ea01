"""The issuers of the codec server, as the doctor asks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.cli.doctor import issuers as doctor_issuers
from envelope_codec.cli.keys.call import Deadline
from envelope_codec.server import ServerConfig
from tests.support.server_settings import settings
from tests.support.token_issuer import issuing


async def test_the_doctor_asks_the_issuers_of_the_codec_server(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    with issuing() as issuer:
        file.write_text('key = "x"\n' + settings(issuer.jwks_url))
        for server in (
            doctor_issuers.load_server(None, str(file), {}),
            doctor_issuers.load_server(None, None, {"ENVELOPE_CODEC_FILE": str(file)}),
        ):
            assert await doctor_issuers.issuer_findings(server, Deadline(30)) == []
        issuer.down = True
        [found] = await doctor_issuers.issuer_findings(doctor_issuers.load_server(None, str(file), {}), Deadline(30))
        assert (found.level.value, found.code.value) == ("problem", "issuer-keys-unavailable")
        assert found.subject == issuer.name
        assert found.words == "it is answered with status 503"
    [late] = await doctor_issuers.issuer_findings(doctor_issuers.load_server(None, str(file), {}), Deadline(0))
    assert late.code.value == "no-answer-in-time"


def test_the_doctor_knows_whether_there_is_a_codec_server(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text('key = "x"\n')
    assert doctor_issuers.load_server("key", None, {"ENVELOPE_CODEC_SERVER_URL": "http://x"}) is None
    assert doctor_issuers.load_server(None, str(file), {"ENVELOPE_CODEC_SERVER_URL": "http://x"}) is None
    assert doctor_issuers.load_server(None, None, {"ENVELOPE_CODEC_KEY": "x"}) is None
    assert doctor_issuers.load_server(None, None, {"ENVELOPE_CODEC_SERVER_URL": "http://x"}) == ServerConfig(
        url="http://x"
    )
    file.write_text('key = "x"\n[server]\nlistn = "x"\n')
    with pytest.raises(ConfigurationError, match="did you mean listen"):
        doctor_issuers.load_server(None, str(file), {})


async def test_without_the_extra_the_doctor_says_that_it_did_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'jwt'", name="jwt")

    monkeypatch.setattr("envelope_codec.server.import_module", missing)
    server = ServerConfig(auth=[{"issuer": "temporal-cloud"}], rules=[{"namespaces": "*"}])
    [found] = await doctor_issuers.issuer_findings(server, Deadline(30))
    assert (found.level.value, found.code.value) == ("advice", "issuers-not-asked")


async def test_a_setting_whose_error_speaks_of_an_extra_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(name: str) -> Any:
        raise ConfigurationError("auth[0].audience names an extra claim")

    monkeypatch.setattr(doctor_issuers, "load", wrong)
    server = ServerConfig(auth=[{"issuer": "temporal-cloud"}], rules=[{"namespaces": "*"}])
    [found] = await doctor_issuers.issuer_findings(server, Deadline(30))
    assert (found.level.value, found.code.value) == ("problem", "configuration-invalid")
