"""With everything logged at DEBUG, no log, reply, audit line or metric holds a key, a credential or plaintext.

The conformance suites of the providers are watched as well. Those and this go through every failure that the harness
of a provider, store or keystore can bring about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext, StorageDriverStoreContext

from envelope_codec import EnvelopeConfig, EnvelopeError
from envelope_codec.keystore import parse_keystore_url
from envelope_codec.server import ServerConfig
from envelope_codec.server.auth.token_file import make_token
from envelope_codec.storage.driver import EnvelopeDriver
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from tests.support.codec_server import CodecServer, returned, serving
from tests.support.frame_walker import leaks
from tests.support.harness_stores import KINDS, aws_environment, new_id
from tests.support.watch import Watch, watching

DATA = b"sealed, as far as a store can tell"
TEXT = "marigold-in-plaintext"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=f'"{TEXT}"'.encode())
LIBRARIES = {
    "azblob": "azure",
    "gs": "urllib3",
    "mongodb": "pymongo",
    "postgresql": "sqlalchemy",
    "sqlite": "sqlalchemy",
    "s3": "botocore",
}
"""Which logs at DEBUG, so that its silence shows nothing. redis logs nothing."""


@pytest.fixture
def watch() -> Iterator[Watch]:
    with aws_environment(), watching(errors=False) as watch:
        watch.secrets.add(TEXT.encode())
        yield watch
    assert watch.found() == []


# --- stores and keystores ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_no_store_logs_plaintext_or_a_key(kind: str, stores: Any, keystores: Any, watch: Watch) -> None:
    url = await stores[kind].place()
    settings = {"keystore": await keystores[kind].place()} if kind not in ("azblob", "gs") else {}
    codec = EnvelopeCodec(EnvelopeConfig(key=FakeKms(), storage=url, **settings))
    pool = Pool(parse_store_url(url))
    driver = EnvelopeDriver(pool, codec)
    sealed = await codec.encode([PLAIN, PLAIN])
    claims = await driver.store(StorageDriverStoreContext(), sealed)
    found = await driver.retrieve(StorageDriverRetrieveContext(), claims)
    assert await codec.decode(found) == [PLAIN, PLAIN]
    for bad in (StorageDriverClaim({}), StorageDriverClaim({"envelope": claims[0].claim_data["envelope"][:-8]})):
        with suppress(EnvelopeError):
            await driver.retrieve(StorageDriverRetrieveContext(), [bad])
    with suppress(EnvelopeError):
        await driver.store(StorageDriverStoreContext(), [PLAIN])
    await pool.aclose()
    codec.close()
    if kind in LIBRARIES:
        assert [name for name in watch.names if name.startswith(LIBRARIES[kind])], "it logs nothing"


async def failures_of(store: Any, key: Any) -> list[BaseException]:
    """What each call of a store or keystore raises."""
    raised: list[BaseException] = []
    row = (key, DATA) if isinstance(key, str) else (key, DATA, None)
    for call in (store.check, partial(store.get, key), partial(store.put, *row)):
        try:
            await call()
        except EnvelopeError as error:
            raised.append(error)
    await store.close()
    return raised


@pytest.mark.parametrize("kind", KINDS)
async def test_no_failure_of_a_store_or_keystore_tells_a_password(
    kind: str, stores: Any, keystores: Any, watch: Watch
) -> None:
    harnesses: list[tuple[Any, Any, Any]] = [(stores[kind], parse_store_url, new_id())]
    if kind not in ("azblob", "gs"):
        harnesses.append((keystores[kind], parse_keystore_url, bytes.fromhex(new_id() * 2)))
    codec = EnvelopeCodec(FakeKms())
    sealed = await codec.encode([PLAIN])
    for what, url in (await stores[kind].refusing()).items():
        driver = EnvelopeDriver(Pool(parse_store_url(url)), codec)
        with pytest.raises(EnvelopeError) as caught:
            await driver.store(StorageDriverStoreContext(), sealed)
        assert leaks(caught.value, watch.secrets) == [], what
        await driver.pool.aclose()
    codec.close()
    for harness, parse, key in harnesses:
        for what, url in (await harness.refusing()).items():
            errors = await failures_of(parse(url).open(), key)
            assert errors, what
            assert not watch.secrets.found("".join(f"{error!r}{error}" for error in errors))


# --- the codec server -------------------------------------------------------------------------------------------------


class Served:
    """A server with a caller, and what it has said beside what it opened."""

    def __init__(self, server: CodecServer, token: str) -> None:
        self.server = server
        self.caller = {"Authorization": f"Bearer {token}"}
        self.said: list[str] = []

    def ask(self, method: str, path: str, headers: dict[str, str], content: bytes | None = None) -> None:
        headers = {"Content-Type": "application/json", **headers}
        response = self.server.http.request(method, path, headers=headers, content=content)
        self.said += [str(response.status_code), str(dict(response.headers)), response.text]


async def test_no_reply_of_the_server_and_no_line_of_its_audit_and_log_says_what_it_should_not(
    watch: Watch, tmp_path: Path
) -> None:
    key = FakeKms()
    token, entry = make_token("machine")
    watch.secrets.add(token.encode())
    (tmp_path / "tokens").write_text(f"{entry}\n")
    settings = ServerConfig(
        token_files=str(tmp_path / "tokens"),
        rules=[{"claims": {"sub": "machine"}, "namespaces": "a", "verbs": ["decode", "encode"]}],
        audit_file=str(tmp_path / "audit"),
        origins="http://localhost:8233",
    )
    codec = EnvelopeCodec(key, namespace="a")
    [sealed] = await codec.encode([PLAIN])
    codec.close()
    broken = Payload(metadata=sealed.metadata, data=sealed.data[:-1] + b"\0")
    in_clear = json.dumps({"payloads": [{"metadata": {"encoding": TEXT}, "data": TEXT}]}).encode()
    with serving(key, settings) as server:
        served = Served(server, token)
        named = {**served.caller, "X-Namespace": "a"}
        opened = server.post("/decode", [sealed], named)
        assert returned(opened) == [PLAIN]
        served.said.append(str(dict(opened.headers)))
        closed = server.post("/encode", [PLAIN], named)
        assert returned(closed)[0].metadata["encoding"] == b"binary/envelope-v1"
        served.said += [str(dict(closed.headers)), closed.text]
        for path in ("/decode", "/encode"):
            for headers in ({}, {"Authorization": f"Bearer {token}x"}, served.caller, {**named, "X-Namespace": "b"}):
                served.ask("POST", path, headers, in_clear[:-2])  # no JSON
                served.ask("POST", path, headers, TEXT.encode() * 100)
            served.ask("PUT", path, named, in_clear)
            served.ask("POST", path, {**named, "Content-Type": "text/plain"}, in_clear)
        failed = server.post("/decode", [broken], named)
        served.said += [str(dict(failed.headers)), failed.text]
        key.denied = True
        served.ask("POST", "/encode", named, json.dumps({"payloads": [{"data": quote(TEXT)}]}).encode())
        for path in ("/", "/metrics", "/readyz", "/healthz", "/openapi.json", "/nowhere"):
            served.ask("GET", path, named)
    assert "429" not in served.said
    audited = (tmp_path / "audit").read_text()
    assert len(audited.splitlines()) > 10
    assert [line for line in audited.splitlines() if watch.secrets.found(line)] == []
    assert [said for said in served.said if watch.secrets.found(said)] == []
    assert [name for name in watch.names if name.startswith(("httpx", "httpcore", "uvicorn"))]
