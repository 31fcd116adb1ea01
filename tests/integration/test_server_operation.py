"""Running the server: health, readiness, metrics, its page and description, TLS."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.x509 import load_der_x509_certificate
from prometheus_client.parser import text_string_to_metric_families
from temporalio.api.common.v1 import Payload

from envelope_codec import ConfigurationError, EnvelopeConfig, NamespaceKeys, Unwrapped
from envelope_codec.envelope import NAME_DATA_KEY, Purpose, Recipient, build_record, record_head
from envelope_codec.errors import KeyDenied
from envelope_codec.server import ServerConfig
from envelope_codec.server.readiness import Probes, Readiness
from envelope_codec.server.web.certificate import check_certificate
from envelope_codec.testing import FakeKms
from tests.support.certificates import write_certificate
from tests.support.codec_server import PLAIN, CodecServer, refused, returned, sealed, serving, until

KEY = FakeKms()


@pytest.fixture(scope="module")
def server() -> Iterator[CodecServer]:
    with serving(KEY, ServerConfig(origins="http://localhost:8233", prefix="/codec")) as running:
        yield running


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/", "/codec/healthz", "/codec"])
def test_pages_are_there_for_everyone_and_no_script_can_be_in_them(server: CodecServer, path: str) -> None:
    response = server.http.get(path)
    assert response.status_code == 200
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    assert "server" not in response.headers
    head = server.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    refused(server.http.post(path, content=b"{}"), 405, "wrong_method")


def test_health_is_of_the_process_alone(server: CodecServer) -> None:
    assert server.http.get("/healthz").json() == {"status": "ok"}


# --- readiness -------------------------------------------------------------------------------------------------------


def test_a_server_is_ready_while_its_keys_unwrap_what_they_wrapped() -> None:
    key = FakeKms()
    with serving(key) as server:
        assert server.http.get("/readyz").json() == {
            "status": "ready",
            "keys": {"proved": 1, "unproved": 0, "failed": 0},
        }
        asked = key.unwraps
        for _ in range(5):
            assert server.http.get("/readyz").status_code == 200
        assert (key.wraps, key.unwraps) == (1, asked)  # for some seconds
        server.service.stopping = True
        response = server.http.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "stopping")
        assert server.http.get("/healthz").status_code == 200
        assert "not ready" in server.http.get("/").text


def test_a_server_whose_kms_is_out_is_not_ready() -> None:
    key = FakeKms()
    key.down = True
    with serving(key) as server:
        response = server.http.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "not ready", "keys": {"proved": 0, "unproved": 0, "failed": 1}}
        assert response.headers["retry-after"] == "5"
        assert key.key_id not in response.text
        assert server.http.get("/healthz").status_code == 200
        key.down = False
        server.service.probes._until = 0.0
        assert server.http.get("/readyz").status_code == 200


class Hand:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_probes_are_asked_anew_after_some_seconds() -> None:
    key, clock = FakeKms(), Hand()
    probes = Probes(EnvelopeConfig(key=key), "default", clock=clock)
    assert await probes.check() == Readiness(proved=1)
    key.denied = True
    clock.now += 9
    assert await probes.check() == Readiness(proved=1)
    clock.now += 2
    assert await probes.check() == Readiness(failed=1)
    key.denied = False
    clock.now += 1
    assert await probes.check() == Readiness(failed=1)
    clock.now += 2  # after a bad finding, sooner
    assert await probes.check() == Readiness(proved=1)
    assert (key.wraps, key.unwraps) == (1, 3)
    probes.close()
    clock.now += 20
    assert await probes.check() == Readiness(failed=1)


class ReadsOnly(FakeKms):
    def wrap(self, secret: bytes, context: Any) -> Any:
        raise KeyDenied("the role may not encrypt", operation="wrap", key_id=self.key_id)


class Forgetful(FakeKms):
    def unwrap(self, wrapped: Any, context: Any) -> Unwrapped:
        return Unwrapped(bytes(32), "1")


async def test_who_may_not_wrap_proves_nothing_and_is_ready() -> None:
    probes = Probes(EnvelopeConfig(key=ReadsOnly()), "default")
    assert await probes.check() == Readiness(unproved=1)
    assert Readiness(unproved=1).ready
    probes.close()


async def test_one_tenant_s_key_takes_the_server_from_nobody_else() -> None:
    down = FakeKms()
    down.down = True
    config = EnvelopeConfig(
        key=FakeKms(),
        namespaces={
            "billing": NamespaceKeys(key=down),
            "team-*": NamespaceKeys(key=Forgetful()),
            "reader-?": NamespaceKeys(key=ReadsOnly()),
            "backed": NamespaceKeys(key=down, backup_keys=(FakeKms(),)),
        },
    )
    probes = Probes(config, "default")
    assert await probes.check() == Readiness(proved=2, unproved=1, failed=2)
    assert Readiness(proved=1, failed=9).ready
    assert not Readiness(unproved=9, failed=1).ready
    probes.close()


# --- metrics ---------------------------------------------------------------------------------------------------------


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_metrics_count_requests_payloads_and_kms_calls() -> None:
    key = FakeKms()
    envelopes = await sealed(key, "made-up-namespace", PLAIN, PLAIN)
    with serving(key) as server:
        returned(server.post("/decode", [*envelopes, PLAIN]))
        refused(server.post("/decode", b"{"), 400, "malformed")
        response = server.http.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        found = samples(response.text)
    for status in (200, 400):
        labels = f"error_type=,http_request_method=POST,http_response_status_code={status},http_route=/decode"
        assert found[f"http_server_request_duration_seconds_count{{{labels}}}"] == 1
    payloads = "envelope_codec_payloads_total"
    assert found[f"{payloads}{{error_type=,namespace=other,operation=open}}"] == 2
    assert found[f"{payloads}{{error_type=,namespace=,operation=pass}}"] == 1
    where = f"key_id={key.key_id},operation=unwrap,provider=testing"
    assert found[f"envelope_codec_kms_calls_total{{error_type=,{where}}}"] == 1
    assert found["envelope_codec_keys_cached{}"] == 1
    assert found[f"envelope_codec_breaker_open{{key_id={key.key_id}}}"] == 0
    # What callers make up is no label: it would fill the memory.
    assert "made-up" not in response.text


def test_metrics_are_for_those_whom_the_settings_name() -> None:
    far = {"X-Forwarded-For": "192.0.2.1"}
    with serving(KEY, ServerConfig(trusted_proxies="127.0.0.1")) as server:
        assert server.http.get("/metrics").status_code == 200
        refused(server.http.get("/metrics", headers=far), 403, "not_allowed")
    with serving(KEY, ServerConfig(trusted_proxies="127.0.0.1", metrics="everyone")) as server:
        assert server.http.get("/metrics", headers=far).status_code == 200
    with serving(KEY, ServerConfig(metrics="off")) as server:
        refused(server.http.get("/metrics"), 404, "not_found")


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_how_to_connect(server: CodecServer) -> None:
    response = server.http.get("/")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'sha256-" in policy
    assert response.headers["x-frame-options"] == "DENY"
    text = response.text
    assert text.count("<script") == 1
    assert not re.findall(r'(?:src|href)="', text)
    assert "temporal-envelope-codec 0." in text
    assert f"--codec-endpoint {server.url}/codec" in text
    assert f"--ui-codec-endpoint {server.url}/codec" in text
    assert "--codec-auth" not in text
    with serving(KEY, ServerConfig(url="https://codec.example.com/x/")) as other:
        assert "--codec-endpoint https://codec.example.com/x<" in other.http.get("/").text


def test_the_page_says_whether_the_browser_s_origin_is_allowed(server: CodecServer) -> None:
    def verdict(params: dict[str, str] | None = None, **headers: str) -> tuple[bool, bool]:
        text = server.http.get("/", params=params, headers=headers).text
        return 'class="yes">may<' in text, 'class="no">may not<' in text

    assert verdict() == (False, False)
    assert verdict(Referer="http://localhost:8233/namespaces/default/workflows") == (True, False)
    assert verdict(Referer="http://localhost:8234/") == (False, True)
    assert verdict(Origin="http://localhost:8233") == (True, False)
    assert verdict(Referer=f"{server.url}/") == (False, False)  # the form's own
    assert verdict({"origin": "http://localhost:8233/"}) == (True, False)
    assert verdict({"origin": "https://cloud.temporal.io"}, Referer="http://localhost:8233/") == (False, True)


@pytest.mark.parametrize("evil", ['"><script>alert(1)</script>', "'onload='x", "http://a/<b>"])
def test_nothing_that_a_browser_sends_becomes_html(server: CodecServer, evil: str) -> None:
    for response in (
        server.http.get("/", params={"origin": evil}),
        server.http.get("/", headers={"Referer": f"http://{evil}/"}),
        server.http.get("/", headers={"Origin": evil}),
    ):
        assert response.status_code == 200
        assert response.text.count("<script") == 1
        assert '<b>"' not in response.text
        assert evil not in response.text
    response = server.http.get("/", headers={"Host": evil})  # which is no name of the server, whatever it is
    assert (response.status_code, response.json()["error"]) == (403, "host_not_allowed")
    assert evil not in response.text


# --- the description -------------------------------------------------------------------------------------------------


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_description_is_of_what_there_is(server: CodecServer) -> None:
    document = server.http.get("/openapi.json").json()
    assert set(references(document)) == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    for path, operations in document["paths"].items():
        for method in ("get", "post"):
            response = server.http.request(method, path.replace("{namespace}", "shop"), headers={"X-Namespace": "shop"})
            assert (response.status_code != 405) is (method in operations), (method, path)
            if method in operations:
                assert str(response.status_code) in operations[method]["responses"], (method, path)
    assert "securitySchemes" not in document["components"]


def test_every_refusal_is_described() -> None:
    from envelope_codec import server as server_package
    from envelope_codec.server.pages.openapi import _REFUSALS

    folder = Path(server_package.__file__).parent
    texts = [path.read_text() for path in folder.rglob("*.py")]
    statuses = {status for text in texts for status in re.findall(r"(?:Refusal\(|: \()\s*(\d{3}),", text)}
    assert {"400", "401", "403", "404", "405", "408", "413", "415", "429", "500", "503"} == statuses
    assert statuses - {"500"} | {"424"} == set(_REFUSALS)


# --- TLS -------------------------------------------------------------------------------------------------------------


def serial(server: CodecServer) -> int:
    host, port = server.url.split("//")[1].split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    return load_der_x509_certificate(ssl.PEM_cert_to_DER_cert(pem)).serial_number


def test_the_certificate_is_followed_when_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("envelope_codec.server.run._CERTIFICATE_SECONDS", 0)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first = write_certificate(cert, key)
    trusted = ssl.create_default_context(cafile=str(cert))
    with serving(KEY, ServerConfig(tls_cert=str(cert), tls_key=str(key)), verify=trusted) as server:
        assert server.url.startswith("https://")
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]
        assert serial(server) == first
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
        (tmp_path / "new").mkdir()
        second = write_certificate(tmp_path / "new" / "cert", tmp_path / "new" / "key")
        (tmp_path / "new" / "cert").replace(cert)  # in the middle of its renewal
        until(lambda: "has changed and can't be loaded" in caplog.text)
        assert serial(server) == first
        (tmp_path / "new" / "key").replace(key)
        until(lambda: serial(server) == second)
        assert returned(server.post("/decode", [PLAIN])) == [PLAIN]  # connections from before go on


def test_certificates_that_can_t_be_used_are_named(tmp_path: Path) -> None:
    cert, key, other = tmp_path / "cert", tmp_path / "key", tmp_path / "other"
    write_certificate(cert, other)
    write_certificate(cert, key)
    check_certificate(str(cert), str(key))
    with pytest.raises(ConfigurationError, match=r"server\.tls_cert: .* can't be used: .*MISMATCH"):
        check_certificate(str(cert), str(other))
    with pytest.raises(ConfigurationError, match=r"server\.tls_cert: .* can't be used: No such file"):
        check_certificate(str(tmp_path / "gone"), str(key))
    write_certificate(cert, key, b"secret")
    with pytest.raises(ConfigurationError, match=r"server\.tls_cert: .* can't be used: "):  # and nobody is asked
        check_certificate(str(cert), str(key))


async def test_callers_can_t_add_series_by_what_they_make_up() -> None:
    """Paths, methods, namespaces of requests and of envelopes, and key ids in these."""
    key = FakeKms()
    config = EnvelopeConfig(key=key, namespaces={"prod": NamespaceKeys(key=key)})

    async def make_up(server: CodecServer, name: str) -> None:
        server.post(f"/{name}/decode", await sealed(key, name, PLAIN))
        server.post(f"/{name}/encode", [PLAIN])
        server.post("/decode", [foreign_envelope(name)], {"X-Namespace": name})
        server.http.request(name, f"/{name}")
        server.http.get(f"/{name}/{name}")
        server.http.post(f"/{name}/decode", content=b"{", headers={"X-Request-Id": name})

    with serving(config, ServerConfig()) as server:
        returned(server.post("/decode", await sealed(key, "prod", PLAIN)))
        await make_up(server, "MADE-UP")
        server.http.get("/metrics")
        first = server.http.get("/metrics").text
        for number in range(20):
            await make_up(server, f"MADE-UP-{number}")
        then = server.http.get("/metrics").text
    assert "made-up" not in then.lower()
    assert series(then) == series(first)
    assert any("prod" in labels for _, labels in series(then))
    assert any("other" in labels for _, labels in series(then))


def series(text: str) -> set[tuple[str, tuple[str, ...]]]:
    """The series of a page of metrics: names, and values of labels."""
    return {
        (sample.name, tuple(sample.labels.values()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def foreign_envelope(name: str) -> Payload:
    """An envelope of a namespace and a master key that nobody has, which takes no key to make."""
    head = record_head(Purpose.WRAPPING_KEY, 1, {"temporal-namespace": name})
    record = build_record(head, os.urandom(32), [Recipient(f"fakekms://{name}", "1", b"\0" * 60)])
    return Payload(metadata={**record.metadata, NAME_DATA_KEY: os.urandom(40)}, data=os.urandom(60))
