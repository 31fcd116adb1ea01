"""What paths ask for."""

from __future__ import annotations

import pytest

from envelope_codec.server.web.refusal import Refusal
from envelope_codec.server.web.route import LONGEST_NAMESPACE, Route, parse_namespace


@pytest.mark.parametrize(
    ("path", "prefix", "route"),
    [
        (b"/decode", "", Route("decode", None, None)),
        (b"//decode?x=/encode", "", Route("decode", None, None)),
        (b"/orders/encode", "", Route("encode", "orders", None)),
        (b"/codec/decode", "/codec", Route("decode", None, None)),
        (b"/codec/orders/download", "/codec", Route("download", "orders", None)),
        (b"/any/thing/orders/decode", "", Route("decode", "orders", None)),
        (b"/a%2Fb/decode", "", Route("decode", "a/b", None)),
        (b"/", "", Route(None, None, "")),
        (b"/codec/readyz", "/codec", Route(None, None, "readyz")),
        (b"/openapi.json", "", Route(None, None, "openapi.json")),
        (b"/orders/readyz", "", None),
        (b"/unknown", "", None),
    ],
)
def test_a_path_has_a_verb_and_perhaps_a_namespace_or_is_a_page(path: bytes, prefix: str, route: Route | None) -> None:
    assert Route.parse(path, prefix) == route


@pytest.mark.parametrize("name", [b"", b"\xff", b"a\nb", b"x" * (LONGEST_NAMESPACE + 1)])
def test_what_can_be_no_namespace_is_refused(name: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        parse_namespace(name)
    assert (raised.value.status, raised.value.code) == (400, "bad_namespace")
