"""Who makes a request, by its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from envelope_codec.server.auth.authenticator import Authenticator
from envelope_codec.server.auth.issuer import Issuer as IssuerSettings
from envelope_codec.server.auth.principal import Principal
from envelope_codec.server.auth.token_file import make_token
from envelope_codec.server.web.refusal import Refusal
from tests.support.introspection_server import introspecting
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


WEB_UI = "web-ui"


def by_id_token(issuer: Issuer, file: Path, **changes: Any) -> IssuerSettings:
    file.write_bytes(issuer.keys[0].public_pem)
    told = {"issuer": issuer.name, "believe": "id-token", "id_token_audience": WEB_UI, "key_file": str(file)}
    return IssuerSettings.model_validate({**told, **changes})


def extras(issuer: Issuer, **claims: Any) -> str:
    return issuer.token(**{"aud": WEB_UI, "email": "ada@example.com", **claims})


async def test_an_id_token_is_believed_where_the_settings_say_so(issuer: Issuer, tmp_path: Path) -> None:
    authenticator = Authenticator([by_id_token(issuer, tmp_path / "key")])
    for authorization in ({"Authorization": "Bearer opaque"}, {}, issuer.bearer(sub="eve", email="eve@example.com")):
        principal = await authenticator.authenticate(Headers({**authorization, "Authorization-Extras": extras(issuer)}))
        assert (principal.subject, principal.email, principal.id_token) == ("ada", "ada@example.com", "believed")


async def test_by_an_id_token_nobody_else_gets_in(issuer: Issuer, tmp_path: Path) -> None:
    authenticator = Authenticator([by_id_token(issuer, tmp_path / "key")])
    opaque = {"Authorization": "Bearer opaque"}
    for wrong in (
        extras(issuer, aud=AUDIENCE),  # as an access token of this issuer has
        extras(issuer, exp=1),
        extras(issuer, sub=None),
        extras(issuer, iss="https://evil.example.com/"),
        issuer.token(Key("another"), aud=WEB_UI),
        "garbage",
        "",
    ):
        assert (await refusal(authenticator, {**opaque, "Authorization-Extras": wrong})).code == "invalid_token"
    assert (await refusal(authenticator, opaque)).code == "invalid_token"
    assert (await refusal(authenticator, {})).code == "unauthenticated"
    assert (await refusal(authenticator, issuer.bearer(aud=WEB_UI))).code == "invalid_token"  # in the other header
    two = Headers(raw=[(b"authorization-extras", extras(issuer).encode())] * 2)
    with pytest.raises(Refusal):
        await authenticator.authenticate(two)


async def test_no_other_token_for_the_client_passes_as_an_id_token(issuer: Issuer, tmp_path: Path) -> None:
    authenticator = Authenticator([by_id_token(issuer, tmp_path / "key")])
    logout: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    for wrong in (
        extras(issuer, headers={"typ": "at+jwt"}),
        extras(issuer, headers={"typ": "application/AT+JWT"}),
        extras(issuer, headers={"typ": "logout+jwt"}),
        extras(issuer, events=logout),
    ):
        assert (await refusal(authenticator, {"Authorization-Extras": wrong})).code == "invalid_token"


async def test_a_wrong_access_token_is_not_made_good_by_an_id_token(issuer: Issuer, tmp_path: Path) -> None:
    other = Issuer("https://other.example.com/")
    other.keys = [Key("other")]
    (tmp_path / "other").write_bytes(other.keys[0].public_pem)
    told = {"issuer": other.name, "audience": AUDIENCE, "key_file": str(tmp_path / "other")}
    authenticator = Authenticator([by_id_token(issuer, tmp_path / "key"), IssuerSettings.model_validate(told)])
    id_token = {"Authorization-Extras": extras(issuer)}
    assert "expired" in (await refusal(authenticator, {**other.bearer(exp=1), **id_token})).message
    found = await authenticator.authenticate(Headers({**other.bearer(sub="bob"), **id_token}))
    assert (found.issuer, found.subject, found.id_token) == (other.name, "bob", "of another issuer")
    found = await authenticator.authenticate(Headers({"Authorization": "Bearer x", **id_token}))
    assert (found.issuer, found.subject) == (issuer.name, "ada")


async def test_an_opaque_token_is_its_issuer_s_to_tell_and_no_jwt_is_shown_to_it(tmp_path: Path) -> None:
    stranger = Issuer("https://stranger.example.com/")
    with introspecting() as endpoint:
        authenticator = Authenticator([IssuerSettings.model_validate(endpoint.settings(tmp_path))])
        headers = endpoint.know("opaque", email="ada@example.com")
        found = await authenticator.authenticate(Headers(headers))
        assert (found.issuer, found.subject, found.email) == ("https://opaque.example.com/", "ada", "ada@example.com")
        assert found.claims["iss"] == found.issuer
        assert (await refusal(authenticator, stranger.bearer())).code == "invalid_token"
        assert (await refusal(authenticator, {"Authorization": f"Bearer {make_token('x')[0]}"})).code == "invalid_token"
        assert endpoint.asked == ["opaque"]
        named = stranger.token(iss="https://opaque.example.com/")
        assert "not valid" in (await refusal(authenticator, {"Authorization": f"Bearer {named}"})).message
        assert endpoint.asked == ["opaque", named]
        for unreadable in (
            stranger.token(headers={"crit": ["exp"]}),  # PyJWT reads no such header
            stranger.bearer()["Authorization"].removeprefix("Bearer ") + "!",
            stranger.token() + ".",
        ):
            assert (await refusal(authenticator, {"Authorization": f"Bearer {unreadable}"})).code == "invalid_token"
        assert endpoint.asked == ["opaque", named]
        endpoint.down = True
        outage = await refusal(authenticator, {"Authorization": "Bearer another"})
        assert (outage.status, outage.code) == (503, "introspection_unavailable")
        authenticator.close()


async def test_a_static_token_names_a_machine(issuer: Issuer, authenticator: Authenticator, tmp_path: Path) -> None:
    token, entry = make_token("report")
    ended, second = make_token("ended", 1)
    file = tmp_path / "tokens"
    file.write_text(f"{entry}\n{second}\n")
    both = Authenticator([by_id_token(issuer, tmp_path / "key2")], [str(file)])
    bearer = {"Authorization": f"Bearer {token}"}
    # An ID token adds nothing to it.
    found = await both.authenticate(Headers({**bearer, "Authorization-Extras": extras(issuer)}))
    assert found == Principal("token-file", "report", {"iss": "token-file", "sub": "report"})
    assert "expired" in (await refusal(both, {"Authorization": f"Bearer {ended}"})).message
    wrong = {"Authorization": f"Bearer {make_token('report')[0]}", "Authorization-Extras": extras(issuer)}
    assert "none that this server knows" in (await refusal(both, wrong)).message
    assert (await refusal(authenticator, bearer)).code == "invalid_token"
    file.unlink()
    outage = await refusal(both, bearer)
    assert (outage.status, outage.code) == (503, "tokens_unavailable")
