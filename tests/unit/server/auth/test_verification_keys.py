"""Which keys of a JWKS count."""

from __future__ import annotations

import pytest
from jwt.exceptions import PyJWKSetError

from envelope_codec.server.auth.verification_keys import Jwks, SingleKey
from tests.support.token_issuer import Key


async def test_keys_are_found_by_their_ids() -> None:
    keys = Jwks.parse({"keys": [Key("a").jwk, {**Key("b").jwk, "use": "enc"}, {**Key("c").jwk, "kid": ""}]})
    assert await keys.find("a") is not None
    assert [await keys.find(kid) for kid in ("b", "c", "", None)] == [None] * 4
    assert await SingleKey("key").find("any") == "key"


@pytest.mark.parametrize("document", [None, [], {"keys": [{**Key("a").jwk, "kid": ""}]}])
def test_a_document_without_keys_is_an_error(document: object) -> None:
    with pytest.raises(PyJWKSetError):
        Jwks.parse(document)
