"""What Vault's replies become, and what they must not give away.

The server is a small real one that gives replies as Vault and OpenBao word them, asked by the real hvac client.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import hvac
import pytest

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import WrappedSecret, context_bytes
from envelope_codec.provider import Failed
from envelope_codec_vault import VaultTransit
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._endpoint import Endpoint
from envelope_codec_vault._hints import CREDENTIALS, LOGIN_FAILED
from envelope_codec_vault._login import Grant
from envelope_codec_vault._own_sessions import OwnSessions
from envelope_codec_vault._refusal import UNLOCKED
from tests.support.frame_walker import Sentinels, leaks

KEY = "orders-key"
MOUNT = "orders-mount"
TOKEN = "hvs.the-token-of-the-test"
SECRET = b"the secret of the test, 32 bytes"
CONTEXT = {"temporal-namespace": "default"}
CIPHERTEXT = "vault:v3:" + base64.b64encode(b"\x02" * 60).decode()
KEY_ID = f"hashivault://{KEY}?mount={MOUNT}"
WRAPPED = WrappedSecret(KEY_ID, "3", CIPHERTEXT.encode())

ENCRYPT = f"/v1/{MOUNT}/encrypt/{KEY}"
DECRYPT = f"/v1/{MOUNT}/decrypt/{KEY}"
LOOKUP = "/v1/auth/token/lookup-self"
APPROLE = "/v1/auth/approle/login"

POLICY = "1 error occurred:\n\t* permission denied\n\n"


@dataclass
class Reply:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    location: str | None = None


@dataclass
class Request:
    path: str
    body: Any
    token: str | None
    port: int


def ok(**data: Any) -> Reply:
    return Reply(200, json.dumps({"data": data}).encode())


def login(token: str = "hvs.fresh", seconds: int = 60) -> Reply:
    return Reply(200, json.dumps({"auth": {"client_token": token, "lease_duration": seconds}}).encode())


def errors(status: int, *words: str) -> Reply:
    return Reply(status, json.dumps({"errors": words}).encode())


def page(status: int, text: str = "<html>Bad luck</html>") -> Reply:
    return Reply(status, text.encode(), "text/html")


@dataclass
class Vault:
    """Gives each path's reply; of a list the next one, and the last for ever."""

    port: int = 0
    replies: dict[str, Reply | list[Reply]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
            reply = self.replies.get(request.path, page(404))
            if isinstance(reply, list):
                reply = reply.pop(0) if len(reply) > 1 else reply[0]
            return reply


@contextmanager
def serving() -> Iterator[Vault]:
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers.get("X-Vault-Token")
            reply = vault.answer(Request(self.path, body, token, self.client_address[1]))
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            if reply.location:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = respond

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    vault.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield vault
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    for name in [name for name in os.environ if name.startswith("VAULT_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with serving() as vault:
        vault.replies[ENCRYPT] = ok(ciphertext=CIPHERTEXT, key_version=3)
        vault.replies[DECRYPT] = ok(plaintext=base64.b64encode(SECRET).decode())
        yield vault


@contextmanager
def opened(address: str, **settings: Any) -> Iterator[VaultTransit]:
    if "auth" not in settings:
        settings["token"] = TOKEN
    key = VaultTransit(KEY, mount=MOUNT, address=address, **settings)
    try:
        yield key
    finally:
        key.close()


def wrap(key: VaultTransit) -> WrappedSecret:
    return key.wrap(SECRET, CONTEXT)


def unwrap(key: VaultTransit) -> bytes:
    return key.unwrap(WRAPPED, CONTEXT).secret


def failure(call: Callable[[], object]) -> EnvelopeError:
    """The error of a call, after checking what every error must keep."""
    with pytest.raises(EnvelopeError) as caught:
        call()
    error = caught.value
    assert type(error) in (KmsUnavailable, KeyDenied, InvalidCiphertext)
    assert error.key_id == KEY_ID
    assert error.__cause__ is None
    assert error.__context__ is None, "an SDK exception would travel with it"
    for secret in (KEY, MOUNT, TOKEN, "127.0.0.1", "error occurred", "html", "hvs", "errors"):
        assert secret not in str(error)
    assert leaks(error, Sentinels(SECRET, TOKEN.encode(), b"the-secret-id")) == []
    return error


# Left: what Vault says. Right: what it means to wrap and to unwrap.
REPLIES: dict[str, tuple[Reply, type[EnvelopeError], type[EnvelopeError], str]] = {
    "wrong context, AES": (
        errors(400, "cipher: message authentication failed"),
        *(InvalidCiphertext, InvalidCiphertext, "changed"),
    ),
    "wrong context, ChaCha20": (
        errors(400, "chacha20poly1305: message authentication failed"),
        *(InvalidCiphertext, InvalidCiphertext, "changed"),
    ),
    "version too new": (
        errors(400, "invalid ciphertext: version is too new"),
        *(InvalidCiphertext, InvalidCiphertext, "version"),
    ),
    "version too old": (
        errors(400, "ciphertext or signature version is disallowed by policy (too old)"),
        *(KeyDenied, KeyDenied, "version"),
    ),
    "key missing": (errors(400, "encryption key not found"), KeyDenied, KeyDenied, "not exist"),
    "key not created": (errors(400, "unknown key type must-already-exist"), KeyDenied, KeyDenied, "not exist"),
    "key deleted": (errors(400, "refusing to use soft-deleted key"), KeyDenied, KeyDenied, "deleted"),
    "not an AEAD key": (
        errors(400, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048"),
        *(KeyDenied, KeyDenied, "type"),
    ),
    "no encryption key": (
        errors(400, "message encryption not supported for key type ed25519"),
        *(KeyDenied, KeyDenied, "type"),
    ),
    "derived key": (
        errors(400, "missing 'context' for key derivation; the key was created using a derived key, which means"),
        *(KeyDenied, KeyDenied, "derived"),
    ),
    "no token": (errors(400, "missing client token"), KmsUnavailable, KmsUnavailable, "credentials"),
    "unknown refusal": (errors(400, "the moon is full"), KeyDenied, InvalidCiphertext, ""),
    "a gateway's 400": (
        page(400, "Client sent an HTTP request to an HTTPS server."),
        KmsUnavailable,
        KmsUnavailable,
        "",
    ),
    "a gateway's 401": (page(401), KmsUnavailable, KmsUnavailable, ""),
    "a gateway's 403": (page(403), KmsUnavailable, KmsUnavailable, ""),
    "no mount": (
        errors(404, 'no handler for route "m/encrypt/k". route entry not found.'),
        KeyDenied,
        KeyDenied,
        "mount",
    ),
    "no namespace": (errors(404, "namespace not found"), KeyDenied, KeyDenied, "namespace"),
    "an empty 404": (errors(404), KmsUnavailable, KmsUnavailable, ""),
    "a gateway's 404": (page(404), KmsUnavailable, KmsUnavailable, ""),
    "wrong method": (errors(405, "unsupported operation"), KmsUnavailable, KmsUnavailable, ""),
    "replication behind": (errors(412, "required index state not present"), KmsUnavailable, KmsUnavailable, ""),
    "throttled": (errors(429, "rate limit quota exceeded"), KmsUnavailable, KmsUnavailable, "throttled"),
    "DR secondary": (errors(472), KmsUnavailable, KmsUnavailable, ""),
    "server error": (errors(500, "internal error"), KmsUnavailable, KmsUnavailable, "server error"),
    "not initialized": (errors(501, "Vault is not initialized"), KmsUnavailable, KmsUnavailable, "sealed"),
    "bad gateway": (page(502), KmsUnavailable, KmsUnavailable, "server error"),
    "sealed": (errors(503, "Vault is sealed"), KmsUnavailable, KmsUnavailable, "sealed"),
    "gateway time-out": (page(504), KmsUnavailable, KmsUnavailable, ""),
    "unheard of": (page(599), KmsUnavailable, KmsUnavailable, ""),
    "errors that are no list": (Reply(500, b'{"errors": "oops"}'), KmsUnavailable, KmsUnavailable, ""),
    "errors that are no texts": (Reply(400, b'{"errors": [1]}'), KmsUnavailable, KmsUnavailable, ""),
    "an error that is no object": (Reply(400, b"[]"), KmsUnavailable, KmsUnavailable, ""),
    "an error that is no JSON": (Reply(400, b"{"), KmsUnavailable, KmsUnavailable, ""),
    "no content": (Reply(204), KeyDenied, KeyDenied, "not a Transit"),
    "success without JSON": (page(200), KmsUnavailable, KmsUnavailable, ""),
    "success with a list": (Reply(200, b"[]"), KmsUnavailable, KmsUnavailable, ""),
    "success without data": (Reply(200, b'{"data": null}'), KmsUnavailable, KmsUnavailable, ""),
    "success with other data": (ok(keys=[]), KmsUnavailable, KmsUnavailable, ""),
    "success with numbers": (ok(ciphertext=1, plaintext=1), KmsUnavailable, KmsUnavailable, ""),
    "success with nonsense": (ok(ciphertext="nonsense!", plaintext="nonsense!"), KmsUnavailable, KmsUnavailable, ""),
    "a redirect to nowhere": (Reply(307), KmsUnavailable, KmsUnavailable, ""),
}


@pytest.mark.parametrize("name", REPLIES)
def test_each_reply_has_its_meaning(name: str, vault: Vault) -> None:
    reply, wrap_kind, unwrap_kind, says = REPLIES[name]
    vault.replies |= {ENCRYPT: reply, DECRYPT: reply, LOOKUP: ok(id=TOKEN)}
    with opened(vault.address) as key:
        wrap_error = failure(lambda: wrap(key))
        unwrap_error = failure(lambda: unwrap(key))
    assert (type(wrap_error), wrap_error.operation) == (wrap_kind, "wrap")
    assert (type(unwrap_error), unwrap_error.operation) == (unwrap_kind, "unwrap")
    assert says in str(wrap_error)
    assert says in str(unwrap_error)
    assert (vault.asked(ENCRYPT), vault.asked(DECRYPT)) == (1, 1), "the keyring retries, not the provider"


def test_what_is_sent_is_bound_to_the_context_and_creates_no_key(vault: Vault) -> None:
    with opened(vault.address, namespace="team/a") as key:
        wrapped = wrap(key)
        assert wrapped == WrappedSecret(f"{KEY_ID}&namespace=team/a", "3", CIPHERTEXT.encode())
        assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    context = base64.b64encode(context_bytes(CONTEXT)).decode()
    plaintext = base64.b64encode(SECRET).decode()
    assert [(request.path, request.token, request.body) for request in vault.requests] == [
        (ENCRYPT, TOKEN, {"plaintext": plaintext, "associated_data": context, "type": "must-already-exist"}),
        (DECRYPT, TOKEN, {"ciphertext": CIPHERTEXT, "associated_data": context}),
    ]


BODY = CIPHERTEXT.removeprefix("vault:v3:")


@pytest.mark.parametrize(
    ("version", "ciphertext"),
    [
        ("4", CIPHERTEXT),
        ("", CIPHERTEXT),
        ("03", f"vault:v03:{BODY}"),
        ("0", f"vault:v0:{BODY}"),
        ("-1", f"vault:v-1:{BODY}"),
        ("+3", f"vault:v+3:{BODY}"),
        ("３", f"vault:v３:{BODY}"),
        ("3", f"vault:v3:{BODY}\n"),
        ("3", f" vault:v3:{BODY}"),
        ("3", f"Vault:v3:{BODY}"),
        ("3", f"vault:V3:{BODY}"),
        ("3", f"vault:3:{BODY}"),
        ("3", f"vault:v3:{BODY[:-1]}"),
        ("3", f"vault:v3:{BODY}="),
        ("3", f"vault:v3:{BODY[:8]}\r\n{BODY[8:]}"),
        ("3", f"vault:v3:{BODY.replace('A', '-', 1)}-"),
        ("3", "vault:v3:"),
        ("3", "vault:v3"),
        ("3", ""),
        # AAE= and AAF= are the same bytes to a lenient reader, as Vault's is.
        ("3", "vault:v3:AAF="),
        ("3", f"vault:v3:vault:v3:{BODY}"),
    ],
)
def test_a_ciphertext_that_transit_did_not_write_is_refused_without_a_call(
    version: str, ciphertext: str, vault: Vault
) -> None:
    with opened(vault.address) as key:
        wrapped = WrappedSecret(KEY_ID, version, ciphertext.encode())
        error = failure(lambda: key.unwrap(wrapped, CONTEXT))
    assert type(error) is InvalidCiphertext
    assert vault.requests == []


def test_a_ciphertext_that_is_no_text_is_refused_without_a_call(vault: Vault) -> None:
    with opened(vault.address) as key:
        error = failure(lambda: key.unwrap(WrappedSecret(KEY_ID, "3", b"\xff\x00"), CONTEXT))
    assert type(error) is InvalidCiphertext
    assert vault.requests == []


LOOKUPS: dict[str, tuple[Reply, type[EnvelopeError], str]] = {
    "token good": (ok(id=TOKEN), KeyDenied, "permission"),
    "token may not look itself up": (errors(403, POLICY), KeyDenied, "permission"),
    "token unknown to OpenBao": (errors(403, "permission denied"), KmsUnavailable, "credentials"),
    "token unknown to Vault": (
        errors(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"),
        *(KmsUnavailable, "credentials"),
    ),
    "a gateway's 403": (page(403), KmsUnavailable, "usable answer"),
    "sealed meanwhile": (errors(503, "Vault is sealed"), KmsUnavailable, "sealed"),
    "namespace gone meanwhile": (errors(404, "namespace not found"), KmsUnavailable, ""),
    "throttled meanwhile": (errors(429, "quota"), KmsUnavailable, "throttled"),
    "nonsense": (errors(400, "nonsense"), KmsUnavailable, ""),
}


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("refusal", [POLICY, "permission denied"])
def test_a_403_is_a_refusal_only_if_the_token_is_good(name: str, refusal: str, vault: Vault) -> None:
    lookup, kind, says = LOOKUPS[name]
    vault.replies |= {ENCRYPT: errors(403, refusal), DECRYPT: errors(403, refusal), LOOKUP: lookup}
    with opened(vault.address) as key:
        for error in (failure(lambda: wrap(key)), failure(lambda: unwrap(key))):
            assert type(error) is kind
            assert says in str(error)
    assert (vault.asked(ENCRYPT), vault.asked(DECRYPT)) == (1, 1), "there is no other token to try"


def approle(address: str) -> Any:
    return opened(address, auth="approle", role_id="role", secret_id="the-secret-id")


def test_a_bad_token_is_replaced_once_and_the_call_repeated_once(vault: Vault) -> None:
    vault.replies |= {
        APPROLE: [login("hvs.first"), login("hvs.second")],
        ENCRYPT: [errors(403, "permission denied"), ok(ciphertext=CIPHERTEXT)],
        LOOKUP: errors(403, "permission denied"),
    }
    with approle(vault.address) as key:
        assert wrap(key).ciphertext == CIPHERTEXT.encode()
        assert unwrap(key) == SECRET
    assert [(request.path, request.token) for request in vault.requests] == [
        (APPROLE, None),
        (ENCRYPT, "hvs.first"),
        (LOOKUP, "hvs.first"),
        (APPROLE, None),
        (ENCRYPT, "hvs.second"),
        (DECRYPT, "hvs.second"),
    ]


def test_a_token_that_is_bad_at_once_is_no_answer_and_no_reason_for_more_logins(vault: Vault) -> None:
    refused = errors(403, "permission denied")
    vault.replies |= {APPROLE: [login("hvs.1"), login("hvs.2"), login("hvs.3")], ENCRYPT: refused, LOOKUP: refused}
    with approle(vault.address) as key:
        assert type(failure(lambda: wrap(key))) is KmsUnavailable
    assert (vault.asked(APPROLE), vault.asked(ENCRYPT)) == (2, 2)


def test_missing_permission_causes_no_login(vault: Vault) -> None:
    vault.replies |= {APPROLE: login(), ENCRYPT: errors(403, POLICY), LOOKUP: ok(id="hvs.fresh")}
    with approle(vault.address) as key:
        assert type(failure(lambda: wrap(key))) is KeyDenied
        assert type(failure(lambda: wrap(key))) is KeyDenied
    assert vault.asked(APPROLE) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (errors(400, "invalid role or secret ID"), "login"),
        (errors(403, "permission denied"), "login"),
        (errors(404, 'no handler for route "auth/approle/login". route entry not found.'), "login"),
        (errors(503, "Vault is sealed"), "sealed"),
        (page(200), "login"),
        (ok(), "login"),
        (Reply(200, b'{"auth": {"client_token": ""}}'), "login"),
        (Reply(200, b'{"auth": {"client_token": "line\\nend"}}'), "login"),
        (Reply(200, b'{"auth": {"client_token": 1}}'), "login"),
        (Reply(204), "login"),
    ],
)
def test_a_login_that_fails_is_no_answer_and_no_refusal_of_the_key(
    reply: Reply, says: str, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="envelope_codec.vault")
    vault.replies[APPROLE] = reply
    with approle(vault.address) as key:
        for error in (failure(lambda: wrap(key)), failure(lambda: unwrap(key))):
            assert type(error) is KmsUnavailable
            assert says in str(error)
    assert vault.asked(ENCRYPT) == vault.asked(DECRYPT) == 0
    assert "login" in caplog.text, "the log says nothing of it"


def test_a_login_that_failed_is_tried_again_by_the_next_call(vault: Vault) -> None:
    vault.replies[APPROLE] = [errors(500, "internal error"), login()]
    with approle(vault.address) as key:
        assert type(failure(lambda: wrap(key))) is KmsUnavailable
        wrap(key)


class CountingLock:
    """A lock that knows how many came for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._came = 0

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._came == count, timeout=30)

    def __enter__(self) -> None:
        with self._changed:
            self._came += 1
            self._changed.notify_all()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_that_wait_for_a_login_share_its_failure(vault: Vault) -> None:
    logins = 0
    lock = CountingLock()

    class FailingLogin:
        asks = True
        pace = UNLOCKED
        dead = CREDENTIALS
        identity = ("test",)

        def credential(self) -> str:
            return ""

        def grant(self, client: hvac.Client, credential: str) -> Grant:
            nonlocal logins
            logins += 1
            lock.wait_for(16)
            raise Failed(LOGIN_FAILED)

        def changed(self) -> bool:
            return False

    sessions = OwnSessions(FailingLogin(), Connection(Endpoint(vault.address, "", True, 2.0, 5.0)))
    sessions._lock = lock  # type: ignore[assignment]

    def fails() -> bool:
        with pytest.raises(Failed):
            sessions.current()
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(job.result() for job in [pool.submit(fails) for _ in range(16)])
    assert logins == 1
    sessions.close()


def test_a_thread_that_comes_late_to_an_early_login_takes_what_the_first_one_got(vault: Vault) -> None:
    logins = 0

    class ChangingLogin:
        asks = True
        pace = UNLOCKED
        dead = CREDENTIALS
        identity = ("test",)

        def credential(self) -> str:
            return ""

        def grant(self, client: hvac.Client, credential: str) -> Grant:
            nonlocal logins
            logins += 1
            return Grant(f"hvs.{logins}")

        def changed(self) -> bool:
            """The first time it is asked, another call of `current` is faster than the one that asks."""
            if logins == 1:
                self.changed = lambda: True  # type: ignore[method-assign]
                sessions.current()
                self.changed = lambda: False  # type: ignore[method-assign]
                return True
            return False

    sessions = OwnSessions(ChangingLogin(), Connection(Endpoint(vault.address, "", True, 2.0, 5.0)))
    sessions.current()
    assert sessions.current().client.token == "hvs.2"
    assert logins == 2
    sessions.close()


def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with opened(f"http://127.0.0.1:{unused.getsockname()[1]}") as key:
            error = failure(lambda: wrap(key))
    assert type(error) is KmsUnavailable
    assert "reached" in str(error)


def test_a_host_without_an_address_is_no_answer() -> None:
    with opened("http://vault.invalid:8200") as key:
        assert type(failure(lambda: wrap(key))) is KmsUnavailable


def test_time_outs_are_short_and_nothing_is_retried_on_the_way(vault: Vault) -> None:
    with opened(vault.address) as key:
        client: Any = key._sessions().current().client
        assert client.adapter._kwargs["timeout"] == (2.0, 5.0)
        assert client.session.get_adapter(vault.address).max_retries.total == 0
    with opened(vault.address, connect_timeout=1, read_timeout=0.5) as key:
        client = key._sessions().current().client
        assert client.adapter._kwargs["timeout"] == (1.0, 0.5)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"], ids=["nothing", "half"])
def test_a_server_that_falls_silent_is_no_answer_after_the_read_time_out(sent: bytes) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken: list[socket.socket] = []

        def answer() -> None:
            connection, _ = server.accept()
            taken.append(connection)
            connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        with opened(f"http://127.0.0.1:{server.getsockname()[1]}", read_timeout=0.2) as key:
            error = failure(lambda: wrap(key))
        thread.join()
        for connection in taken:
            connection.close()
    assert type(error) is KmsUnavailable


def test_a_server_without_tls_is_no_answer(vault: Vault) -> None:
    with opened(vault.address.replace("http:", "https:")) as key:
        error = failure(lambda: wrap(key))
    assert type(error) is KmsUnavailable
    assert "TLS" in str(error)


def test_a_redirect_within_the_server_is_followed(vault: Vault) -> None:
    vault.replies[ENCRYPT] = Reply(307, location=f"{vault.address}/v1/elsewhere")
    vault.replies["/v1/elsewhere"] = ok(ciphertext=CIPHERTEXT)
    with opened(vault.address) as key:
        assert wrap(key).key_version == "3"
    assert vault.requests[-1].body == vault.requests[0].body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("form", ["http://{host}:{port}/v1/x", "//{host}:{port}/v1/x"])
def test_neither_token_nor_secret_follows_a_redirect_to_another_server(host: str, form: str, vault: Vault) -> None:
    with serving() as thief:
        vault.replies[ENCRYPT] = Reply(307, location=form.format(host=host, port=thief.port))
        with opened(vault.address) as key:
            error = failure(lambda: wrap(key))
        assert thief.requests == []
    assert type(error) is KmsUnavailable
    assert "redirected" in str(error)


@pytest.mark.parametrize("location", ["http://[bad", "//[bad/", "/v1/\u00e9"])
def test_a_redirect_to_what_is_no_url_is_refused(location: str, vault: Vault) -> None:
    vault.replies[ENCRYPT] = Reply(307, location=location)
    with opened(vault.address) as key:
        error = failure(lambda: wrap(key))
    assert type(error) is KmsUnavailable
    assert "redirected" in str(error)


def test_redirects_come_to_an_end(vault: Vault) -> None:
    vault.replies[ENCRYPT] = Reply(307, location=ENCRYPT)
    with opened(vault.address) as key:
        assert type(failure(lambda: wrap(key))) is KmsUnavailable
    assert vault.asked(ENCRYPT) == 3


def test_the_log_has_what_vault_said_but_no_credential(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="envelope_codec")
    secret = base64.b64encode(SECRET).decode()
    vault.replies |= {
        ENCRYPT: [errors(500, "storage is on fire"), page(500, f"you sent {TOKEN} and {secret}")],
        APPROLE: page(500, "you sent the-secret-id"),
    }
    with opened(vault.address) as key:
        failure(lambda: wrap(key))
        failure(lambda: wrap(key))
    with approle(vault.address) as key:
        failure(lambda: wrap(key))
    records = [record for record in caplog.records if record.name == "envelope_codec.vault"]
    text = "\n".join(record.getMessage() + str(record.exc_info) for record in records)
    assert len(records) == 3
    assert "storage is on fire" in text
    assert KEY in text
    for credential in (TOKEN, secret, "the-secret-id"):
        assert credential not in text


def test_a_fault_in_this_process_is_told_as_one_and_logged_with_its_place(
    vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(vault.address) as key:
        for operation, call in (("wrap", key.wrap), ("unwrap", key.unwrap)):
            caplog.clear()
            given = SECRET if operation == "wrap" else WRAPPED
            error = failure(lambda call=call, given=given: call(given, 5))  # type: ignore[misc]
            assert (type(error), error.reason) == (KmsUnavailable, "the provider failed unexpectedly")
            (record,) = [record for record in caplog.records if record.name.startswith("envelope_codec")]
            assert "AttributeError" in record.getMessage()
            assert "in context_bytes" in record.getMessage()


def test_no_secret_and_no_credential_is_in_anybody_s_debug_log(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    """Neither hvac, requests nor urllib3 logs a body or a header: there is nothing to keep out of their logs."""
    caplog.set_level("DEBUG")
    encoded = base64.b64encode(SECRET).decode()
    vault.replies |= {APPROLE: [login("hvs.fresh"), login("hvs.fresher")]}
    with approle(vault.address) as key:
        assert unwrap(key) == SECRET
        assert wrap(key) == WRAPPED
        vault.replies |= {ENCRYPT: errors(403, "permission denied"), LOOKUP: errors(403, "permission denied")}
        failure(lambda: wrap(key))
    with opened(vault.address) as key:
        failure(lambda: wrap(key))
    assert {request.token for request in vault.requests} == {None, TOKEN, "hvs.fresh", "hvs.fresher"}
    text = "\n".join(record.getMessage() + str(vars(record)) for record in caplog.records)
    assert f"POST {ENCRYPT}" in text, "urllib3 logs nothing, so this test shows nothing"
    for credential in (TOKEN, "hvs.fresh", "the-secret-id", encoded, SECRET.decode(), repr(SECRET)[2:-1]):
        assert credential not in text


def test_building_a_key_asks_nothing_and_closing_it_is_final_and_may_be_repeated(vault: Vault) -> None:
    key = VaultTransit(KEY, mount=MOUNT, address=vault.address, auth="approle", role_id="r", secret_id="s")
    assert key.key_id == KEY_ID
    assert vault.requests == []
    key.close()
    key.close()
    assert type(failure(lambda: wrap(key))) is KmsUnavailable
    assert vault.requests == []


def test_a_client_handed_in_is_used_and_never_closed(vault: Vault) -> None:
    class Session(hvac.adapters.requests.Session):  # type: ignore[misc, name-defined]
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

    session = Session()
    client = hvac.Client(url=vault.address, token=TOKEN, session=session)
    key = VaultTransit(KEY, mount=MOUNT, client=client)
    assert unwrap(key) == SECRET
    vault.replies |= {ENCRYPT: errors(403, "permission denied"), LOOKUP: errors(403, "permission denied")}
    assert type(failure(lambda: wrap(key))) is KmsUnavailable
    key.close()
    assert not session.closed
    session.close()


def test_threads_share_few_connections(vault: Vault) -> None:
    with opened(vault.address) as key:
        barrier = threading.Barrier(16)

        def work() -> None:
            barrier.wait()
            for _ in range(10):
                assert unwrap(key) == SECRET

        with ThreadPoolExecutor(16) as pool:
            for job in [pool.submit(work) for _ in range(16)]:
                job.result()
    assert vault.asked(DECRYPT) == 160
    assert len({request.port for request in vault.requests}) <= 16
