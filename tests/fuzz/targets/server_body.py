"""The body of a request to the codec server, in the process: its application is called as a server calls it.

- The answer is one of those that are documented. The server does not fail, and logs no error.
- A body that is taken is read as protobuf's own parser reads it. What is rendered is read again as it was.
- What is opened is what was sealed, to the byte. What can't be opened comes back as it was.
- What is sealed for a namespace opens again, and holds no plaintext.
- Whatever is opened costs the KMS a bounded number of calls.
"""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads

from envelope_codec.config import EnvelopeConfig
from envelope_codec.server import ServerConfig, create_app
from envelope_codec.server.application import CodecServer
from envelope_codec.server.payloads.protobuf_json import parse_payloads, render_payloads
from envelope_codec.server.web.refusal import Refusal
from envelope_codec.temporal.sealed_payload import is_sealed, strip
from tests.fuzz.built_envelope import BuiltEnvelope, build_envelope, envelope_form, sealed_form
from tests.fuzz.built_record import record_form
from tests.fuzz.event_loop import run
from tests.fuzz.known_key import MOST_CALLS, KnownKms
from tests.fuzz.quiet_place import folder
from tests.fuzz.sections import Sections, join
from tests.fuzz.target import Target
from tests.vectors.vector_files import load

BUILT, ENCODE, DOWNLOAD, PRESERVE, WITHOUT_NAMESPACE, PLAIN = 1, 2, 4, 8, 16, 32
MAX_PAYLOADS = 8
_STATUS = {200, 400, 404, 413, 415, 429}
_EACH_APP = 5_000  # inputs: leases and counters by key id would grow for ever
_SENTINEL = b"plaintext of the fuzzer"

_errors: list[str] = []


class _Errors(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            _errors.append(record.getMessage())


_HANDLER = _Errors()


class _Apps:
    """The application, made anew from time to time."""

    def __init__(self) -> None:
        self.kms = KnownKms()
        self._app: CodecServer | None = None
        self._uses = 0

    def get(self) -> CodecServer:
        self._uses += 1
        if self._app is None or self._uses % _EACH_APP == 0:
            run(self._renew())
        assert self._app is not None
        return self._app

    async def _renew(self) -> None:
        if self._app is not None:
            self._app.service.stop()
        store = folder() / "store"
        store.mkdir(exist_ok=True)
        keys = EnvelopeConfig(
            key=self.kms, storage=f"file://{store}", lease="365d", max_payload="64KiB", cache_size=64, refusal_ttl=0
        )
        server = ServerConfig(
            rate_limit="off",
            refused_rate_limit="off",
            max_payloads=MAX_PAYLOADS,
            audit_file="/dev/null",
            body_limit="64KiB",
        )
        self._app = create_app(keys, server)


@lru_cache(maxsize=1)
def _apps() -> _Apps:
    return _Apps()


def check(data: bytes) -> None:
    given = Sections(data)
    built: list[BuiltEnvelope] = []
    if given.flags & BUILT:
        built = [build_envelope(section) for section in given.after(2)[:MAX_PAYLOADS]]
        body = _body_of([Payload(metadata=one.metadata, data=one.data) for one in built])
    elif given.flags & PLAIN:
        body = _body_of([_plain(section) for section in given.after(2)[:MAX_PAYLOADS]])
    else:
        body = given[1]
    asked = _check_parsing(body)
    verb = "encode" if given.flags & ENCODE else "download" if given.flags & DOWNLOAD else "decode"
    namespace = None if given.flags & WITHOUT_NAMESPACE else given[0] or b"fuzz"
    query = b"preserveStorageRefs=true" if given.flags & PRESERVE else b""
    kms = _apps().kms
    before = kms.calls
    status, reply = post(f"/{verb}", body, namespace, query)
    assert kms.calls - before <= MOST_CALLS * (len(asked or ()) + 1), "it asked the KMS too often"
    if status != 200:
        assert json.loads(reply).keys() == {"error", "message", "request_id"}
        return
    assert asked is not None, "a body was answered that can't be parsed"
    answered = list(json_format.Parse(reply, Payloads()).payloads)
    if verb == "encode":
        _check_sealed(asked, answered, reply, namespace)
    elif verb == "decode":
        _check_opened(asked, answered, built)


def _check_parsing(body: bytes) -> list[Payload] | None:
    try:
        parsed = parse_payloads(body, MAX_PAYLOADS)
    except Refusal:
        return None
    assert parsed == list(json_format.Parse(body.decode(), Payloads()).payloads)
    assert parse_payloads(render_payloads(parsed), MAX_PAYLOADS) == parsed
    return parsed


def _check_opened(asked: list[Payload], answered: list[Payload], built: list[BuiltEnvelope]) -> None:
    assert len(asked) == len(answered)
    for number, (before, after) in enumerate(zip(asked, answered, strict=True)):
        if before == after or not built:
            continue
        content = built[number].content
        assert content is not None, "nothing was sealed, and something came out"
        expected = _parsed(content)
        expected.DiscardUnknownFields()  # JSON has no place for them
        if expected.metadata.get("encoding") != b"binary/zstd-payload-v1":
            strip(expected.metadata)
            assert after == expected, "something else came out than was sealed"


def _check_sealed(asked: list[Payload], answered: list[Payload], reply: bytes, namespace: bytes | None) -> None:
    assert len(asked) == len(answered)
    assert b64encode(_SENTINEL) not in reply
    for before, after in zip(asked, answered, strict=True):
        assert before == after or is_sealed(after)
    status, opened = post("/decode", reply, namespace, b"")
    assert status == 200
    for before, after in zip(asked, json_format.Parse(opened, Payloads()).payloads, strict=True):
        expected = Payload()
        expected.CopyFrom(before)
        strip(expected.metadata)
        assert after == expected or before in answered


def post(path: str, body: bytes, namespace: bytes | None, query: bytes) -> tuple[int, bytes]:
    """Return status and body of the server's answer."""
    app = _apps().get()
    headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")]
    if namespace is not None:
        headers.append((b"x-namespace", namespace))
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"},
        **{"path": path, "raw_path": path.encode(), "root_path": "", "query_string": query, "headers": headers},
        **{"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)},
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    _errors.clear()
    log = logging.getLogger("envelope_codec")
    log.addHandler(_HANDLER)
    try:
        run(asyncio.wait_for(app(scope, receive, send), 30))
    finally:
        log.removeHandler(_HANDLER)
    assert not _errors, _errors
    status = sent[0]["status"]
    assert status in _STATUS, status
    return status, b"".join(message.get("body", b"") for message in sent)


def _parsed(content: bytes) -> Payload:
    try:
        return Payload.FromString(content)
    except DecodeError:
        raise AssertionError("what was sealed is no payload, and a payload came out") from None


def _plain(section: bytes) -> Payload:
    """Return a payload to seal. Sections: its data, then metadata."""
    given = Sections(section)
    payload = Payload(data=given[0])
    more = given.after(1)
    for name, value in zip(more[::2], more[1::2], strict=False):
        payload.metadata[name.decode("utf-8", "replace")] = value
    return payload


def _body_of(payloads: list[Payload]) -> bytes:
    return render_payloads(payloads)


def seeds() -> dict[str, bytes]:
    plain = join(0, _SENTINEL, b"encoding", b"json/plain")
    stored = (
        b'{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"eyJhIjoxfQ","externalPayloads":'
        b'[{"sizeBytes":"7"}]}]}'
    )
    reference = Payload(
        metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"},
        data=b'{"driver_name": "envelope-file", "claim_data": {"envelope": "AAAA"}}',
    )
    found = {
        "encode": join(ENCODE | PLAIN, b"fuzz", b"", plain, plain),
        "plain": join(PLAIN, b"fuzz", b"", plain),
        "json": join(0, b"fuzz", stored),
        "json-empty": join(0, b"fuzz", b'{"payloads":[]}'),
        "json-url-safe": join(0, b"fuzz", b'{"payloads":[{"metadata":{"encoding":"_-8"}}]}'),
        "json-escapes": join(0, b"fuzz", b'{"payloads":[{"metadata":{"\\u00e9\\"":"AAAA"},"data":null}]}'),
        "download": join(DOWNLOAD, b"fuzz", _body_of([reference])),
        "preserve": join(PRESERVE, b"fuzz", _body_of([reference])),
        "without": join(WITHOUT_NAMESPACE | ENCODE | PLAIN, b"", b"", plain),
    }
    for vector in load(lambda vector: vector.name in ("worked-example", "direct", "shared", "two-recipients")):
        form = envelope_form(dict(vector.metadata), vector.data)
        wire, key_id = vector.metadata["encryption-wrapped-key"], vector.metadata["encryption-key-id"]
        content = Payload(metadata={"encoding": b"json/plain"}, data=_SENTINEL).SerializeToString()
        sealed = sealed_form(record_form(wire, key_id, right_id=True), content)
        found[f"built-{vector.name}"] = join(BUILT, b"fuzz", b"", form, sealed)
        found[f"tampered-{vector.name}"] = join(BUILT, b"fuzz", b"", sealed_form(sealed, content, b"\x00\x09\x01"))
    return found


TARGET = Target(
    check,
    seeds,
    (
        b'{"payloads":[',
        b'"metadata":',
        b'"data":',
        b'"externalPayloads":',
        b'"sizeBytes":',
        b"\\u00e9",
        b"\\ud800",
        b"null",
    ),
)
