"""Tokens over HTTP: who is believed, by which keys, and that nobody else gets in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from temporalio.api.common.v1 import Payload

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.server import ServerConfig, create_app
from envelope_codec.server.auth.authenticator import Authenticator
from envelope_codec.server.auth.token_file import make_token
from envelope_codec.testing import FakeKms
from tests.support.codec_server import PLAIN, CodecServer, refused, returned, sealed, serving
from tests.support.introspection_server import introspecting
from tests.support.token_issuer import AUDIENCE, Issuer, Key, issuing, private_pem

KEY = FakeKms()
RULES = [
    {"claims": {"email": "*@example.com"}, "namespaces": ["a", "a-*"]},
    {"claims": {"groups": "ops"}, "namespaces": "*", "verbs": ["decode", "encode", "download"]},
]
ADA: dict[str, Any] = {"email": "ada@example.com"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        running.keys = [Key("rsa", "RS256"), Key("ed", "EdDSA"), Key("first")]
        yield running


@pytest.fixture(scope="module")
def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodecServer]:
    audit = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    settings = ServerConfig(auth=[issuer.settings], rules=RULES, peers={"a": "b"}, audit_file=str(audit))
    with serving(KEY, settings) as running:
        yield running


@pytest.fixture
async def a() -> Payload:
    return (await sealed(KEY, "a"))[0]


@pytest.fixture
async def c() -> Payload:
    return (await sealed(KEY, "c"))[0]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_token_by_any_of_the_keys_is_believed(server: CodecServer, issuer: Issuer, a: Payload, number: int) -> None:
    headers = {"Authorization": f"bearer {issuer.token(issuer.keys[number], **ADA)}"}
    assert returned(server.post("/decode", [a], headers)) == [PLAIN]
    line = server.lines()[-1]
    assert (line["subject"], line["email"], line["issuer"]) == ("ada", ADA["email"], issuer.name)


def test_a_request_without_a_token_is_told_to_bring_one(server: CodecServer, a: Payload) -> None:
    response = refused(server.post("/decode", [a]), 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert (server.lines()[-1]["subject"], server.lines()[-1]["error"]) == ("", "unauthenticated")
    # Nothing of the body is looked at before.
    refused(server.post("/decode", b"{"), 401, "unauthenticated")


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": NOW - 3_600}, "The token has expired."),
        ({"nbf": NOW + 3_600}, "The token is not valid yet."),
        ({"iat": NOW + 3_600}, "The token is not valid yet."),
        ({"aud": "another"}, "The token was made for another audience."),
        ({"aud": []}, "The token lacks exp, iss, aud or sub."),
        ({"aud": None}, "The token lacks exp, iss, aud or sub."),
        ({"exp": None}, "The token lacks exp, iss, aud or sub."),
        ({"sub": None}, "The token lacks exp, iss, aud or sub."),
        ({"sub": ""}, "The token lacks exp, iss, aud or sub."),
        ({"sub": 7}, ""),
        ({"iss": None}, ""),
        ({"iss": "https://evil.example.com/"}, ""),
        ({"iss": "https://login.example.com"}, ""),
        ({"exp": "soon"}, ""),
        ({"exp": True}, "The token has expired."),
    ],
)
def test_what_a_token_says_must_be_right(
    server: CodecServer, issuer: Issuer, a: Payload, claims: dict[str, Any], said: str
) -> None:
    given = {**issuer.claims(**ADA), **claims}
    token = jwt.api_jws.encode(
        json.dumps({name: value for name, value in given.items() if value is not None}).encode(),
        issuer.keys[-1].private,
        "ES256",
        {"kid": "first"},
    )
    response = refused(server.post("/decode", [a], {"Authorization": f"Bearer {token}"}), 401, "invalid_token")
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert response.json()["message"] == (said or "The token is no JWT that this server can take.")


def test_clocks_may_differ_a_little(server: CodecServer, issuer: Issuer, a: Payload) -> None:
    assert returned(server.post("/decode", [a], issuer.bearer(**ADA, exp=int(time.time()) - 5))) == [PLAIN]
    assert returned(server.post("/decode", [a], issuer.bearer(**ADA, nbf=int(time.time()) + 10))) == [PLAIN]
    assert returned(server.post("/decode", [a], issuer.bearer(**ADA, aud=["x", AUDIENCE]))) == [PLAIN]


def segment(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def forged(issuer: Issuer) -> dict[str, str]:
    """Tokens that say what they should and are signed by nobody who may."""
    claims = issuer.claims(**ADA, groups=["ops"])
    ours, rsa = issuer.keys[-1], Key("rsa", "RS256")
    good = issuer.token(**ADA)
    head, middle, signature = good.split(".")

    def by_secret(secret: bytes, kid: str, algorithm: str = "HS256") -> str:
        text = f"{segment({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{segment(claims)}"
        mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    none = {"alg": "none", "typ": "JWT", "kid": ours.kid}
    return {
        "alg none": f"{segment(none)}.{segment(claims)}.",
        "alg None": f"{segment({**none, 'alg': 'None'})}.{segment(claims)}.",
        "alg none, signed": f"{segment(none)}.{segment(claims)}.{signature}",
        "no alg": f"{segment({'kid': ours.kid})}.{segment(claims)}.{signature}",
        "HS256 with the public key": by_secret(ours.public_pem, ours.kid),
        "HS256 with the public RSA key": by_secret(rsa.public_pem, rsa.kid),
        "HS256 with the JWK": by_secret(json.dumps(ours.jwk).encode(), ours.kid),
        "HS256 with nothing": by_secret(b"", ours.kid),
        "HS256 named ES256": by_secret(ours.public_pem, ours.kid, "ES256"),
        "another key": issuer.token(Key("another"), {"kid": ours.kid}, **ADA),
        "another kind of key": issuer.token(Key("another", "EdDSA"), {"kid": ours.kid}, **ADA),
        "RS512 for an RS256 key": jwt.encode(claims, rsa.private, "RS512", {"kid": rsa.kid}),
        "no kid": issuer.token(headers={"kid": None}, **ADA),
        "unknown kid": issuer.token(headers={"kid": "../../etc/passwd"}, **ADA),
        "jwk in the header": issuer.token(Key("mine"), {"jwk": Key("mine").jwk}, **ADA),
        "jku in the header": issuer.token(Key("mine"), {"jku": "http://127.0.0.1:1/"}, **ADA),
        "critical extension": issuer.token(
            headers={"crit": ["http://example.com/x"], "http://example.com/x": 1}, **ADA
        ),
        "changed": f"{head}.{segment({**claims, 'sub': 'bob'})}.{signature}",
        "cut": f"{head}.{middle}.{signature[:-4]}",
        "no signature": f"{head}.{middle}.",
        "two parts": f"{head}.{middle}",
        "four parts": f"{good}.x",
        "no JSON": f"{head}.AAAA.{signature}",
        "list": f"{head}.{segment([])}.{signature}",
        "dots": "...",
        "nothing much": "x",
        "kid of another kind": f"{segment({'alg': 'ES256', 'kid': 7})}.{middle}.{signature}",
        "deep": f"{segment({'alg': 'ES256'})}.{base64.urlsafe_b64encode(b'[' * 5_000).decode()}.{signature}",
    }


@pytest.mark.parametrize("kind", list(forged(Issuer())))
def test_no_forged_token_gets_in(server: CodecServer, issuer: Issuer, a: Payload, kind: str) -> None:
    for namespace in ("a", None):
        headers = {"Authorization": f"Bearer {forged(issuer)[kind]}"}
        response = server.post("/decode", [a], {**headers, **({"X-Namespace": namespace} if namespace else {})})
        refused(response, 401, "invalid_token")
    assert (server.lines()[-1]["subject"], server.lines()[-1]["opened"]) == ("", 0)
    assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]


@pytest.mark.parametrize("value", ["", "Bearer", "Basic YTpi", "Token x", "x" * 5_000])
def test_the_header_must_hold_a_bearer_token(server: CodecServer, a: Payload, value: str) -> None:
    refused(server.post("/decode", [a], {"Authorization": value}), 401, "invalid_token")


def test_two_tokens_are_one_too_many(server: CodecServer, issuer: Issuer, a: Payload) -> None:
    headers = [("Authorization", f"Bearer {issuer.token(**ADA)}")] * 2 + [("Content-Type", "application/json")]
    refused(server.http.post("/decode", content=b"{}", headers=headers), 401, "invalid_token")


def test_the_namespace_in_the_envelope_is_what_counts(
    server: CodecServer, issuer: Issuer, a: Payload, c: Payload
) -> None:
    ada = issuer.bearer(**ADA)
    for path, headers in [
        ("/decode", {"X-Namespace": "a"}),
        ("/a/decode", {}),
        ("/decode", {}),
        ("/a/decode", {"X-Namespace": "c"}),
    ]:
        refused(server.post(path, [c], {**ada, **headers}), 403, "not_allowed")
        line = server.lines()[-1]
        assert (line["denied"], line["opened"], line["namespaces"], line["key_ids"]) == (1, 0, ["c"], [])
    # Also once others have had the key fetched.
    assert returned(server.post("/decode", [a, c], issuer.bearer(groups=["ops"]))) == [PLAIN, PLAIN]
    refused(server.post("/decode", [c], ada), 403, "not_allowed")
    response = server.post("/decode", [a, c], {**ada, "X-Namespace": "a"})
    assert returned(response) == [PLAIN, c]
    assert response.headers["x-envelope-failed"] == "1"
    assert (server.lines()[-1]["denied"], server.lines()[-1]["opened"]) == (1, 1)


def test_the_namespace_of_the_request_counts_too(server: CodecServer, issuer: Issuer, a: Payload) -> None:
    ada = issuer.bearer(**ADA)
    refused(server.post("/decode", [a], {**ada, "X-Namespace": "c"}), 403, "not_allowed")
    refused(server.post("/c/decode", [a], {**ada, "X-Namespace": "a"}), 403, "not_allowed")
    assert returned(server.post("/a/decode", [a], {**ada, "X-Namespace": "c"})) == [PLAIN]  # the path wins
    assert server.lines()[-3]["namespace"] == "c"


async def test_readers_may_read_what_their_peers_sealed(server: CodecServer, issuer: Issuer) -> None:
    [envelope] = await sealed(KEY, "b")
    assert returned(server.post("/decode", [envelope], {**issuer.bearer(**ADA), "X-Namespace": "a"})) == [PLAIN]
    refused(server.post("/decode", [envelope], issuer.bearer(email="x@example.org")), 403, "not_allowed")


def test_verbs_are_allowed_one_by_one(server: CodecServer, issuer: Issuer) -> None:
    refused(server.post("/a/encode", [PLAIN], issuer.bearer(**ADA)), 403, "not_allowed")
    assert returned(server.post("/a/encode", [PLAIN], issuer.bearer(groups=["ops"]))) != [PLAIN]


def test_what_is_not_ours_passes_for_those_alone_who_may_read_somewhere(server: CodecServer, issuer: Issuer) -> None:
    assert returned(server.post("/decode", [PLAIN], issuer.bearer(**ADA))) == [PLAIN]
    refused(server.post("/decode", [PLAIN], issuer.bearer(email="x@example.org")), 403, "not_allowed")
    refused(server.post("/decode", [PLAIN], issuer.bearer(**ADA, email_verified=False)), 403, "not_allowed")


def test_an_id_token_adds_the_address_of_the_same_subject(server: CodecServer, issuer: Issuer, a: Payload) -> None:
    access = issuer.bearer()
    refused(server.post("/decode", [a], access), 403, "not_allowed")

    def extra(**claims: Any) -> str:
        response = server.post("/decode", [a], {**access, "Authorization-Extras": issuer.token(**claims)})
        line = server.lines()[-1]
        assert line["status"] == response.status_code
        assert (response.status_code == 200) is (line["id_token"] == "used")
        assert line["email"] == (claims.get("email") if response.status_code == 200 else "")
        return str(line["id_token"])

    assert extra(**ADA) == "used"
    assert extra(**ADA, sub="bob") == "of another subject"
    assert extra(**ADA, aud="web-ui") == "InvalidAudienceError"
    assert extra(**ADA, exp=NOW - 3_600) == "ExpiredSignatureError"
    assert extra(**ADA, iss="https://evil.example.com") == "InvalidIssuerError"
    for bad in ("x", f"{segment({'alg': 'none'})}.{segment(issuer.claims(**ADA))}."):
        refused(server.post("/decode", [a], {**access, "Authorization-Extras": bad}), 403, "not_allowed")
    # By itself it is nobody's right.
    alone = {"Authorization-Extras": issuer.token(**ADA)}
    refused(server.post("/decode", [a], alone), 401, "unauthenticated")
    # And what it says of scopes counts for nothing.
    assert returned(server.post("/decode", [a], {**issuer.bearer(**ADA), "Authorization-Extras": "x"})) == [PLAIN]


def test_an_id_token_has_an_audience_of_its_own(issuer: Issuer, a: Payload) -> None:
    auth = {**issuer.settings, "id_token_audience": "web-ui"}
    with serving(KEY, ServerConfig(auth=[auth], rules=RULES)) as server:
        extras = {"Authorization-Extras": issuer.token(**ADA, aud="web-ui")}
        assert returned(server.post("/decode", [a], {**issuer.bearer(), **extras})) == [PLAIN]
        refused(server.post("/decode", [a], issuer.bearer(**ADA, aud="web-ui")), 401, "invalid_token")


def test_tokens_of_two_issuers_are_told_apart(a: Payload) -> None:
    with issuing("https://one.example.com") as one, issuing("https://two.example.com") as two:
        two.keys = [Key("second")]
        rules = [{"claims": {"iss": one.name, "email": "*@example.com"}, "namespaces": "a"}]
        with serving(KEY, ServerConfig(auth=[one.settings, two.settings], rules=rules)) as server:
            assert returned(server.post("/decode", [a], one.bearer(**ADA))) == [PLAIN]
            refused(server.post("/decode", [a], two.bearer(**ADA)), 403, "not_allowed")
            forged = {"Authorization": f"Bearer {two.token(**ADA, iss=one.name)}"}
            refused(server.post("/decode", [a], forged), 401, "invalid_token")
            extras = {"Authorization-Extras": two.token(**ADA)}
            refused(server.post("/decode", [a], {**one.bearer(), **extras}), 403, "not_allowed")


def test_an_unknown_kid_is_looked_for_once(a: Payload) -> None:
    with issuing() as issuer, serving(KEY, ServerConfig(auth=[issuer.settings], rules=RULES)) as server:
        assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]
        assert issuer.fetches == 1
        for number in range(20):
            token = issuer.token(headers={"kid": f"made up {number}"}, **ADA)
            refused(server.post("/decode", [a], {"Authorization": f"Bearer {token}"}), 401, "invalid_token")
        assert issuer.fetches == 2


def test_new_keys_are_followed_and_old_ones_go(a: Payload) -> None:
    with issuing() as issuer, serving(KEY, ServerConfig(auth=[issuer.settings], rules=RULES)) as server:
        before = issuer.bearer(**ADA)
        assert returned(server.post("/decode", [a], before)) == [PLAIN]
        issuer.keys = [Key("second")]
        assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]
        refused(server.post("/decode", [a], before), 401, "invalid_token")
        assert issuer.fetches == 2


def test_many_first_requests_fetch_the_keys_once(a: Payload) -> None:
    with issuing() as issuer, serving(KEY, ServerConfig(auth=[issuer.settings], rules=RULES)) as server:
        bearer = issuer.bearer(**ADA)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: server.post("/decode", [a], bearer), range(8)))
        assert all(returned(answer) == [PLAIN] for answer in answers)
        assert issuer.fetches == 1


def test_keys_that_are_known_go_on_while_there_are_no_others(a: Payload) -> None:
    with issuing() as issuer, serving(KEY, ServerConfig(auth=[issuer.settings], rules=RULES)) as server:
        assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]
        issuer.down = True
        assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]
        # A key that is not known may be a new one: nobody can tell.
        token = issuer.token(headers={"kid": "new"}, **ADA)
        refused(server.post("/decode", [a], {"Authorization": f"Bearer {token}"}), 503, "keys_unavailable")
        assert returned(server.post("/decode", [a], issuer.bearer(**ADA))) == [PLAIN]


def test_without_any_keys_nobody_is_refused_for_good(a: Payload) -> None:
    with issuing() as issuer:
        issuer.down = True
        with serving(KEY, ServerConfig(auth=[issuer.settings], rules=RULES)) as server:
            response = refused(server.post("/decode", [a], issuer.bearer(**ADA)), 503, "keys_unavailable")
            assert response.headers["retry-after"] == "5"
            assert issuer.jwks_url not in response.text


SECRET = b"0123456789abcdef0123456789abcdef"


def test_keys_come_from_files_as_well(tmp_path: Path, a: Payload) -> None:
    issuer, ed = Issuer(), Key("ed", "EdDSA")
    pem, jwks, secret = tmp_path / "key.pem", tmp_path / "jwks.json", tmp_path / "secret"
    pem.write_bytes(issuer.keys[0].public_pem)
    jwks.write_text(json.dumps({"keys": [ed.jwk, {"kty": "oct", "kid": "s", "k": segment("x")}]}))
    secret.write_bytes(SECRET + b"\n")
    by_secret = jwt.encode(issuer.claims(**ADA), SECRET, "HS256")
    cases = [
        ({"key_file": str(pem)}, issuer.token(headers={"kid": None}, **ADA), issuer.token(ed, **ADA)),
        ({"key_file": str(jwks)}, issuer.token(ed, **ADA), issuer.token(ed, {"kid": None}, **ADA)),
        ({"secret_file": str(secret)}, by_secret, issuer.token(**ADA)),
        ({"key_file": str(pem)}, issuer.token(**ADA), by_secret),
    ]
    for keys, good, bad in cases:
        auth = {"issuer": issuer.name, "audience": AUDIENCE, **keys}
        with serving(KEY, ServerConfig(auth=[auth], rules=RULES)) as server:
            assert returned(server.post("/decode", [a], {"Authorization": f"Bearer {good}"})) == [PLAIN]
            refused(server.post("/decode", [a], {"Authorization": f"Bearer {bad}"}), 401, "invalid_token")


def test_files_that_hold_no_such_key_are_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    public, private = Key("first").public_pem, private_pem(Key("first"))
    short = json.dumps({"keys": [{"kty": "oct", "kid": "s", "k": "AAAA"}]}).encode()
    for setting, data, said in [
        ("key_file", None, "can't read"),
        ("key_file", b"nothing", "holds no JWKS, and no public key or certificate in PEM"),
        ("key_file", private, "holds no JWKS, and no public key"),
        ("key_file", b"{}", "is no JWKS with public keys"),
        ("key_file", short, "is no JWKS with public keys"),
        ("secret_file", b"short", "holds no secret of 32 bytes or more"),
        ("secret_file", public, "holds no secret"),
    ]:
        file.unlink(missing_ok=True)
        if data is not None:
            file.write_bytes(data)
        settings = ServerConfig(auth=[{"issuer": "i", "audience": "a", setting: str(file)}], rules=RULES)
        with pytest.raises(ConfigurationError, match=f"server.auth: .*{said}"):
            create_app(EnvelopeConfig(key=KEY), settings)


def test_no_token_is_in_the_audit_trail_nor_what_it_would_forge_there(server: CodecServer, issuer: Issuer) -> None:
    name = 'x"}\n{"verb": "forged"}\r\u2028'
    token = issuer.token(sub=name, email=f"{name}@example.com")
    response = server.post("/decode", [PLAIN], {"Authorization": f"Bearer {token}"})
    assert returned(response) == [PLAIN]
    assert server._audit is not None
    text = server._audit.read_text()
    assert token not in text
    assert token.split(".")[2] not in text
    assert "Ada" not in text
    line = server.lines()[-1]
    assert (line["subject"], line["email"], line["verb"]) == (name, f"{name}@example.com", "decode")
    assert all(json.loads(line)["event"] == "request" for line in text.split("\n")[:-1])
    assert text.isascii()


def test_what_every_line_holds(server: CodecServer, issuer: Issuer, a: Payload) -> None:
    server.post("/a/decode", [a, PLAIN], issuer.bearer(**ADA))
    line = server.lines()[-1]
    ms, moment = line.pop("ms"), line.pop("time")
    assert ms > 0
    assert moment.endswith("Z")
    assert len(line.pop("request_id")) == 32
    assert line == {
        "event": "request",
        "level": "info",
        "client": "127.0.0.1",
        "verb": "decode",
        "namespace": "a",
        "issuer": issuer.name,
        "subject": "ada",
        "email": ADA["email"],
        "payloads": 2,
        "opened": 1,
        "sealed": 0,
        "passed": 1,
        "denied": 0,
        "failed": {},
        "namespaces": ["a"],
        "key_ids": [KEY.key_id],
        "status": 200,
        "error": "",
    }


async def test_a_line_stays_short_whatever_the_payloads_name(server: CodecServer, issuer: Issuer) -> None:
    envelopes = [envelope for n in range(20) for envelope in await sealed(KEY, f"{n}-{'x' * 900}")]
    refused(server.post("/decode", envelopes, issuer.bearer(**ADA)), 403, "not_allowed")
    line = server.lines()[-1]
    assert line["denied"] == 20
    assert len(line["namespaces"]) == 17
    assert line["namespaces"][-1] == "and 4 more"
    assert all(len(name) <= 201 for name in line["namespaces"])


async def test_temporal_cloud_s_tokens_are_believed_under_its_keys(a: Payload, tmp_path: Path) -> None:
    """With its issuer, audience and claim; its JWKS is a file here, since tests reach no network."""
    cloud = Issuer("https://login.tmprl.cloud/")
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [key.jwk for key in cloud.keys]}))
    auth = {"issuer": "temporal-cloud", "key_file": str(file)}
    claims: dict[str, Any] = {
        "aud": ["https://saas-api.tmprl.cloud", "https://prod-tmprl.us.auth0.com/userinfo"],
        "https://saas-api.tmprl.cloud/user/email": ADA["email"],
    }
    with serving(KEY, ServerConfig(auth=[auth], rules=RULES, audit_file=str(tmp_path / "audit"))) as server:
        assert returned(server.post("/decode", [a], cloud.bearer(**claims))) == [PLAIN]
        assert server.lines()[-1]["email"] == ADA["email"]
        refused(server.post("/decode", [a], cloud.bearer(**{**claims, "aud": "x"})), 401, "invalid_token")


def test_callers_with_tokens_of_every_kind(issuer: Issuer, a: Payload, tmp_path: Path) -> None:
    token, entry = make_token("nightly-report")
    (tmp_path / "tokens").write_text(f"{entry}\n")
    by_id = {"believe": "id-token", "id_token_audience": "web-ui", "issuer": issuer.name, "jwks_url": issuer.jwks_url}
    rules = [
        {"claims": {"iss": "token-file", "sub": "nightly-*"}, "namespaces": "a"},
        {"claims": {"iss": [issuer.name, "https://opaque.example.com/"], "email": "*@example.com"}, "namespaces": "a"},
    ]
    with introspecting() as endpoint:
        settings = ServerConfig(
            auth=[by_id, endpoint.settings(tmp_path)],
            token_files=str(tmp_path / "tokens"),
            rules=rules,
            audit_file=str(tmp_path / "audit"),
            origins="http://localhost:8233",
            address_rate_limit="5/day",
        )
        machine = {"Authorization": f"Bearer {token}"}
        opaque = endpoint.know("opaque", **ADA)
        person = {"Authorization": "Bearer x", "Authorization-Extras": issuer.token(**ADA, aud="web-ui")}
        with serving(KEY, settings) as server:
            for headers in (machine, opaque, person):
                assert returned(server.post("/decode", [a], headers)) == [PLAIN]
            who = [(line["issuer"], line["subject"], line.get("id_token", "")) for line in server.lines()]
            assert who == [
                ("token-file", "nightly-report", ""),
                ("https://opaque.example.com/", "ada", ""),
                (issuer.name, "ada", "believed"),
            ]
            assert token not in (tmp_path / "audit").read_text()
            endpoint.know("stranger", email="x@example.org")
            refused(server.post("/decode", [a], {"Authorization": "Bearer stranger"}), 403, "not_allowed")
            endpoint.down = True
            refused(server.post("/decode", [a], {"Authorization": "Bearer new"}), 503, "introspection_unavailable")
            page = {"Authorization": "Bearer new", "Origin": "http://localhost:8233"}
            refused(server.post("/decode", [a], page), 424, "introspection_unavailable")
            for _ in range(3):
                server.post("/decode", [a])
            refused(server.post("/decode", [a], {"Authorization": "Bearer y"}), 429, "too_many_from_address")
            # Who was believed here still comes in, by any header that is believed.
            for headers in (machine, opaque, person):
                assert returned(server.post("/decode", [a], headers)) == [PLAIN]
            other = {**person, "Authorization-Extras": issuer.token(**ADA, aud="web-ui", jti="another")}
            assert returned(server.post("/decode", [a], other)) == [PLAIN]
            schemes = server.http.get("/openapi.json").json()["components"]["securitySchemes"]
            assert {each["type"] for each in schemes.values()} == {"http", "apiKey"}
            (tmp_path / "tokens").write_text("")
            refused(server.post("/decode", [a], machine), 401, "invalid_token")


def test_without_issuers_there_is_nobody_to_tell(tmp_path: Path) -> None:
    with serving(KEY, ServerConfig(audit_file=str(tmp_path / "audit"))) as server:
        assert returned(server.post("/decode", [PLAIN], {"Authorization": "Bearer x"})) == [PLAIN]
        assert (server.lines()[-1]["subject"], server.lines()[-1]["issuer"]) == ("", "")
    assert Authenticator([])._issuers == {}
