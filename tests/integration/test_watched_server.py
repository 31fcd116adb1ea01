"""``doctor --watch`` reads what a real codec server tells."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.cli.doctor.watch.endpoint import Endpoint
from envelope_codec.cli.doctor.watch.judgement import judge
from envelope_codec.cli.doctor.watch.overview import Overview, overview_of
from envelope_codec.cli.doctor.watch.scrape import parse_address
from envelope_codec.server import ServerConfig
from envelope_codec.testing import FakeKms
from tests.support.codec_server import PLAIN, refused, returned, sealed, serving


def overview(endpoint: Endpoint) -> Overview:
    assert endpoint.change is not None, endpoint.trouble
    return overview_of([endpoint.change], 300.0)


def alerts(endpoint: Endpoint) -> Mapping[str, str]:
    return {one.alert: one.text for one in judge(overview(endpoint), [endpoint])}


async def test_requests_calls_and_payloads_of_a_codec_server_are_seen() -> None:
    key = FakeKms()
    envelopes = await sealed(key, "default", PLAIN, PLAIN)
    with serving(key) as server:
        endpoint = Endpoint(parse_address(server.url))
        returned(server.post("/decode", [*envelopes, PLAIN]))
        await endpoint.tell()
        for _ in range(2):
            returned(server.post("/decode", [*envelopes, PLAIN]))
        refused(server.post("/decode", b"{"), 400, "malformed")
        await endpoint.tell()
        seen = overview(endpoint)
        assert seen.requests.by_status["200"] == 2 * seen.requests.by_status["400"]
        assert (seen.requests.p99 or 0) > 0
        assert {calls.operation for calls in seen.kms} >= {"unwrap"}
        assert sum(one.opened for one in seen.payloads) == 2 * sum(one.passed for one in seen.payloads) > 0
        assert [lease.stage.value for lease in seen.leases] == ["live"]
        assert alerts(endpoint) == {}

        key.denied = True
        await endpoint.tell()
        refused_of_another = await sealed(FakeKms(key.key_id), "default", PLAIN)
        server.post("/decode", refused_of_another)
        await endpoint.tell()
        assert "EnvelopeKeyDenied" in alerts(endpoint)


async def test_a_codec_server_that_keeps_its_metrics_to_itself_is_a_problem() -> None:
    with serving(FakeKms(), ServerConfig(metrics="off")) as server:
        endpoint = Endpoint(parse_address(server.url))
        await endpoint.tell()
    assert endpoint.trouble == "answers with status 404"
