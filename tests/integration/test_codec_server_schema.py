"""The server keeps to its own description: schemathesis makes requests from it, and compares the answers with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.support.codec_server import CodecServer, serving
from tests.support.token_issuer import Issuer, issuing

RULES = [{"namespaces": "*", "verbs": ["decode", "encode", "download"]}]
OPERATIONS = {
    f"{method} {path}"
    for method, paths in {
        "POST": [f"{prefix}/{verb}" for prefix in ("", "/{namespace}") for verb in ("decode", "encode", "download")],
        "GET": ["/healthz", "/readyz", "/openapi.json"],
    }.items()
    for path in paths
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def server(issuer: Issuer) -> Iterator[CodecServer]:
    with serving(FakeKms(), ServerConfig(auth=[issuer.settings], rules=RULES, rate_limit="off")) as running:
        yield running


@pytest.fixture(scope="module")
def described(server: CodecServer) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_answers_are_as_described(described: schemathesis.BaseSchema, issuer: Issuer, name: str) -> None:
    """To requests that fit the description, and to those that do not."""
    method, path = name.split(" ")
    operation = described[path][method]
    fits = operation.as_strategy(generation_mode=GenerationMode("positive"))
    kinds = fits | operation.as_strategy(generation_mode=GenerationMode("negative"))
    bearer = issuer.bearer()

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=kinds)
    def check(case: schemathesis.Case[Any]) -> None:
        # Not that all which is not described is refused: queries that it does not know are nothing to it, and the JSON
        # of protobuf has more forms than a schema tells (test_codec_server_hostile.py says which bodies are refused).
        case.call_and_validate(headers=bearer, excluded_checks=[negative_data_rejection])

    check()


def test_all_of_the_server_is_described(server: CodecServer) -> None:
    document = server.http.get("/openapi.json").json()
    found = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert found == OPERATIONS
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert "200" in operation["responses"], path
            answer = httpx.request(method, server.url + path.replace("{namespace}", "a"), timeout=30)
            assert str(answer.status_code) in operation["responses"], (path, answer.text)
