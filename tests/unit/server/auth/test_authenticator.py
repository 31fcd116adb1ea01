"""Who makes a request, by its tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from envelope_codec.server.auth.authenticator import Authenticator
from envelope_codec.server.auth.issuer import Issuer as IssuerSettings
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.web.refusal import Refusal
from tests.support.token_issuer import AUDIENCE, Issuer, Key


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def authenticator(issuer: Issuer, tmp_path: Path) -> Authenticator:
    file = tmp_path / "key.pem"
    file.write_bytes(issuer.keys[0].public_pem)
    settings = {"issuer": issuer.name, "audience": (AUDIENCE,), "key_file": str(file)}
    return Authenticator([IssuerSettings.model_validate(settings)])


async def refusal(authenticator: Authenticator, headers: dict[str, str]) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await authenticator.authenticate(Headers(headers))
    return raised.value


async def test_without_issuers_callers_have_no_name() -> None:
    assert await Authenticator([]).authenticate(Headers({})) == Principal()


async def test_a_valid_token_names_its_subject(authenticator: Authenticator, issuer: Issuer) -> None:
    principal = await authenticator.authenticate(Headers(issuer.bearer(groups=["dev"])))
    assert (principal.issuer, principal.subject) == (issuer.name, "ada")
    assert principal.claims["groups"] == ["dev"]
    assert await authenticator.check() == {}


async def test_each_defect_is_named(authenticator: Authenticator, issuer: Issuer) -> None:
    assert (await refusal(authenticator, {})).code == "unauthenticated"
    assert (await refusal(authenticator, {"authorization": "Basic x"})).code == "invalid_token"
    for claims, said in (
        ({"exp": 1}, "expired"),
        ({"nbf": 2**40}, "not valid yet"),
        ({"aud": "another"}, "another audience"),
        ({"sub": None}, "lacks"),
        ({"iss": "unknown"}, "no JWT that this server can take"),
    ):
        assert said in (await refusal(authenticator, issuer.bearer(**claims))).message
    forged = f"Bearer {issuer.token(Key('another'))}"
    assert "does not verify" in (await refusal(authenticator, {"authorization": forged})).message


async def test_an_id_token_adds_claims_and_never_spoils_a_request(authenticator: Authenticator, issuer: Issuer) -> None:
    access = issuer.bearer()
    for extra, result in (
        (issuer.token(email="a@example.com"), "used"),
        (issuer.token(sub="eve"), "of another subject"),
        ("garbage", "DecodeError"),
    ):
        headers = Headers({**access, "Authorization-Extras": f"Bearer {extra}"})
        principal = await authenticator.authenticate(headers)
        assert principal.id_token == result
        assert principal.email == ("a@example.com" if result == "used" else "")
