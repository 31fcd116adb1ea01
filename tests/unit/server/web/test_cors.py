"""Which origins may use the server, and the headers that tell browsers so."""

from __future__ import annotations

from starlette.datastructures import Headers

from envelope_codec.server.web.cors import Cors

PAGE = "https://cloud.temporal.io"


def test_origins_are_compared_to_the_letter() -> None:
    cors = Cors([PAGE])
    assert cors.allows(PAGE)
    assert not any(cors.allows(other) for other in (f"{PAGE}.evil.example", PAGE.upper(), "null", ""))
    assert Cors(["*"]).allows("https://any.example")
    assert not Cors(["*"]).allows("null")


def test_only_allowed_origins_get_headers() -> None:
    cors = Cors([PAGE])
    assert cors.headers(Headers({"origin": PAGE}))["Access-Control-Allow-Origin"] == PAGE
    for headers in (Headers({"origin": "https://evil.example"}), Headers({})):
        assert cors.headers(headers) == {"Vary": "Origin"}
        assert cors.preflight_headers(headers) == {}


def test_a_preflight_from_the_internet_into_a_private_network_is_answered_when_it_asks() -> None:
    cors, name = Cors([PAGE]), "Access-Control-Allow-Private-Network"
    assert name not in cors.preflight_headers(Headers({"origin": PAGE}))
    asking = Headers({"origin": PAGE, "access-control-request-private-network": "true"})
    assert cors.preflight_headers(asking)[name] == "true"
