"""Logins to Vault on a real server: by JWT, Kubernetes and client certificate, from another namespace, by an agent."""

from __future__ import annotations

import base64
import datetime
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from devstack import OpenBao
from localserver import find_program

from envelope_codec.errors import KeyDenied, KmsUnavailable
from envelope_codec.kms import MasterKey, master_key
from envelope_codec_vault import VaultTransit
from tests.integration.test_vault import CONTEXT, SECRET, Admin, TlsServer, administered, failure, opens

NOW = int(time.time())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    with TlsServer() as found:
        yield found


@pytest.fixture(scope="module")
def admin(server: TlsServer) -> Iterator[Admin]:
    with administered(server.address, server.token, verify=server.ca) as found:
        yield found


@pytest.fixture
def key(admin: Admin, server: TlsServer) -> Iterator[Callable[..., MasterKey]]:
    """Opens a key of the server with these options."""
    made: list[MasterKey] = []

    def make(name: str, **options: object) -> MasterKey:
        options = {"endpoint": server.address, "ca_bundle": server.ca, **options}
        made.append(master_key(f"hashivault://{name}?" + "&".join(f"{k}={v}" for k, v in options.items() if v)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def token_of(key: MasterKey) -> str:
    assert isinstance(key, VaultTransit)
    return str(key._sessions().current().client.token)


def says(key: MasterKey, words: str) -> None:
    """The key is unavailable, for this reason, and a second call asks the server no more."""
    for _ in range(2):
        failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), words)


# --- JWT and Kubernetes


@dataclass
class Issuer:
    """Signs JWTs."""

    key: ec.EllipticCurvePrivateKey

    def jwt(self, **claims: Any) -> str:
        claims = {"iss": "https://issuer.test", "sub": "s", "aud": "vault", "exp": NOW + 900, "iat": NOW, **claims}
        head = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
        r, s = decode_dss_signature(self.key.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{head}.{_part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    @property
    def public(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def issuer(admin: Admin) -> Issuer:
    made = Issuer(ec.generate_private_key(ec.SECP256R1()))
    admin.client.sys.enable_auth_method("jwt")
    config = {"jwt_validation_pubkeys": [made.public], "bound_issuer": "https://issuer.test"}
    admin.client.write_data("auth/jwt/config", data=config)
    return made


def jwt_role(admin: Admin, *policies: str) -> str:
    name = f"role-{secrets.token_hex(4)}"
    bound = {"user_claim": "sub", "bound_audiences": ["vault"], "bound_claims": {"team": "a"}}
    data = {"role_type": "jwt", **bound, "token_policies": policies, "token_ttl": "600s"}
    admin.client.write_data(f"auth/jwt/role/{name}", data=data)
    return name


def test_a_jwt_is_read_again_at_each_login_and_many_callers_make_one(
    admin: Admin, issuer: Issuer, key: Any, tmp_path: Path
) -> None:
    name, file = admin.key(), tmp_path / "jwt"
    file.write_text(issuer.jwt(team="a"))
    found = key(name, auth="jwt", role=jwt_role(admin, admin.user_policy(name)), jwt_file=file)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: opens(found), range(16)))
        first = token_of(found)
        file.write_text(issuer.jwt(team="a", jti="second"))
        admin.revoke(first)
        before = found._sessions()._attempts
        assert all(pool.map(lambda _: opens(found), range(16)))
    assert found._sessions()._attempts == before + 1
    assert token_of(found) != first


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"team": "a", "exp": NOW - 3_600, "iat": NOW - 7_200}, "has expired"),
        ({"team": "a", "aud": "another"}, "another audience"),
        ({"team": "a", "iss": "https://another.test"}, "not of an issuer that it trusts"),
        ({"team": "b"}, "not for this identity"),
        ({"team": "a"}, "no such login role"),
    ],
    ids=["expired", "audience", "issuer", "claim", "role"],
)
def test_each_fault_of_a_jwt_is_told_by_its_own_error(
    claims: dict[str, Any], words: str, admin: Admin, issuer: Issuer, key: Any, tmp_path: Path
) -> None:
    name, file = admin.key(), tmp_path / "jwt"
    file.write_text(issuer.jwt(**claims))
    role = "nobody" if "role" in words else jwt_role(admin, admin.user_policy(name))
    found = key(name, auth="jwt", role=role, jwt_file=file)
    says(found, words)
    if "role" not in words:
        file.write_text(issuer.jwt(team="a"))
        assert opens(found), "a new file is noticed at once"


def test_a_jwt_that_another_key_signed_and_one_that_is_none(
    admin: Admin, issuer: Issuer, key: Any, tmp_path: Path
) -> None:
    name, file = admin.key(), tmp_path / "jwt"
    found_role = jwt_role(admin, admin.user_policy(name))
    for text in (Issuer(ec.generate_private_key(ec.SECP256R1())).jwt(team="a"), "garbage"):
        file.write_text(text)
        says(key(name, auth="jwt", role=found_role, jwt_file=file), "not of an issuer that it trusts")


def test_a_service_account_of_kubernetes_is_told_from_others(
    admin: Admin, issuer: Issuer, key: Any, tmp_path: Path
) -> None:
    name, file = admin.key(), tmp_path / "jwt"

    class Api(BaseHTTPRequestHandler):
        """A review that trusts each token's own claims: the signature is not what this test is about."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            payload = body["spec"]["token"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            user = {"username": claims["sub"], "uid": "u"}
            status = {"authenticated": True, "user": user, "audiences": body["spec"].get("audiences", [])}
            kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
            reply = json.dumps(kind).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            pass

    def account(who: str, **claims: Any) -> str:
        inner = {"namespace": "prod", "serviceaccount": {"name": who, "uid": "u"}}
        return issuer.jwt(
            **{"sub": f"system:serviceaccount:prod:{who}", "kubernetes.io": inner, "aud": ["vault"], **claims}
        )

    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        admin.client.sys.enable_auth_method("kubernetes")
        host = f"http://127.0.0.1:{api.server_address[1]}"
        config = {"kubernetes_host": host, "disable_local_ca_jwt": True, "kubernetes_ca_cert": _ca().pem}
        admin.client.write_data("auth/kubernetes/config", data=config)
        bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["prod"]}
        data = {**bound, "audience": "vault", "token_policies": [admin.user_policy(name)]}
        admin.client.write_data("auth/kubernetes/role/app", data=data)
        options = {"auth": "kubernetes", "jwt_file": file}
        file.write_text(account("app"))
        assert opens(key(name, role="app", **options))
        says(key(name, role="nobody", **options), "no such login role")
        for text, words in (
            (account("app", aud=["another"]), "another audience"),
            (account("app", exp=NOW - 3_600), "has expired"),
            (account("other"), "not for this identity"),
        ):
            file.write_text(text)
            found = key(name, role="app", **options)
            if isinstance(found, VaultTransit):
                found._sessions()._session = None  # type: ignore[attr-defined]
            says(found, words)
    finally:
        api.shutdown()
        api.server_close()
        thread.join()


# --- TLS


@dataclass
class Authority:
    """Signs client certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def write(self, folder: Path, name: str, *, days: int = 1) -> tuple[Path, Path]:
        """Write a client certificate and its key, named after ``name``'s first word; it ends ``days`` from now."""
        own = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(name, own, self.certificate.subject, self.key, days)
        paths = (folder / "client.pem", folder / "client.key")
        paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(own.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return paths


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, days: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(end - datetime.timedelta(days=2)).not_valid_after(end)
    if issuer == subject:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _ca() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    return Authority(key, _certificate("authority", key, name, key, 1))


def test_a_client_certificate_logs_in_is_read_again_and_is_refused_by_name(
    admin: Admin, key: Any, tmp_path: Path
) -> None:
    name, ca = admin.key(), _ca()
    admin.client.sys.enable_auth_method("cert")
    role = {"certificate": ca.pem, "allowed_common_names": ["app"], "token_policies": [admin.user_policy(name)]}
    admin.client.write_data("auth/cert/certs/app", data=role)
    certificate, private = ca.write(tmp_path, "app")
    options = {"auth": "cert", "role": "app", "client_cert": certificate, "client_key": private}
    found = key(name, **options)
    assert opens(found)
    ca.write(tmp_path, "app")
    admin.revoke(token_of(found))
    assert opens(found), "the new certificate is shown"
    for make, words in (
        (partial(ca.write, tmp_path, "other"), "did not accept the client certificate"),
        (partial(_ca().write, tmp_path, "app"), "did not accept the client certificate"),
        (partial(ca.write, tmp_path, "app", days=-1), "has expired"),
    ):
        make()
        admin.revoke(token_of(found))
        says(found, words)
        ca.write(tmp_path, "app")
        assert opens(found)


def test_the_name_in_the_certificate_may_be_another_than_in_the_address(
    admin: Admin, server: TlsServer, key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, file = admin.key(), tmp_path / "token"
    file.write_text(server.token)
    forwarded = {"auth": "token-file", "token_file": file}
    assert opens(key(name, tls_server_name="localhost", **forwarded))
    says(key(name, tls_server_name="elsewhere.test", **forwarded), "TLS")
    monkeypatch.setenv("VAULT_TLS_SERVER_NAME", "localhost")
    assert opens(key(name, **forwarded))


# --- namespaces


def test_a_login_in_a_namespace_above_serves_keys_below_and_is_shared(
    admin: Admin, server: TlsServer, issuer: Issuer, key: Any, tmp_path: Path
) -> None:
    file, names, rules = tmp_path / "jwt", {}, []
    for team in (f"team-{secrets.token_hex(4)}", f"team-{secrets.token_hex(4)}"):
        admin.client.sys.create_namespace(path=team)
        with administered(server.address, server.token, namespace=team, verify=server.ca) as inner:
            inner.client.sys.enable_secrets_engine("transit")
            names[team] = inner.key()
        rules += [(f"{team}/transit/{action}/{names[team]}", "update") for action in ("encrypt", "decrypt")]
    file.write_text(issuer.jwt(team="a"))
    options = {"auth": "jwt", "role": jwt_role(admin, admin.policy(*rules)), "jwt_file": file}
    keys = [key(names[team], namespace=team, auth_namespace="root", **options) for team in names]
    assert all(opens(one) for one in keys)
    assert len({token_of(one) for one in keys}) == 1
    assert [one.key_id for one in keys] == [f"hashivault://{names[t]}?mount=transit&namespace={t}" for t in names]
    sessions = keys[0]._sessions()
    sessions._tend_at = 0.0
    sessions.tend()
    assert sessions.current().life.keeps, "renewed where the token is known"
    team = next(iter(names))
    says(key(names[team], namespace=team, auth_namespace="nowhere", **options), "namespace of the login does not exist")
    stranger = key("nothing", namespace=team, auth_namespace="root", **options)
    failure(KeyDenied, lambda: stranger.wrap(SECRET, CONTEXT))


# --- agents


@dataclass
class Running:
    """An Agent or Proxy with its listeners."""

    socket: Path
    process: subprocess.Popen[bytes]


@contextmanager
def started(kind: str, folder: Path, server: OpenBao, token: str) -> Iterator[Running]:
    """Start an ``agent`` or ``proxy`` that uses this token."""
    program = find_program("vault") or find_program("bao")
    assert program is not None
    (folder / "token").write_text(token)
    ca = f'ca_cert = "{server.ca}"' if isinstance(server, TlsServer) else ""
    config = folder / "agent.hcl"
    config.write_text(
        f"""
vault {{ address = "{server.address}"  {ca}  retry {{ num_retries = -1 }} }}
auto_auth {{ method "token_file" {{ config = {{ token_file_path = "{folder / "token"}" }} }} }}
api_proxy {{ use_auto_auth_token = true }}
listener "unix" {{ address = "{folder / "a.sock"}"  tls_disable = true  require_request_header = true }}
"""
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, kind, f"-config={config}"], stdout=log, stderr=log)
    try:
        _wait_for_agent(folder / "a.sock", process)
        yield Running(folder / "a.sock", process)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["agent", "proxy"], scope="module")
def agent(
    request: pytest.FixtureRequest, admin: Admin, server: TlsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str, Path]]:
    folder, name = tmp_path_factory.mktemp("agent"), admin.key()
    token = admin.new_token(admin.user_policy(name), ttl="1h")
    with started(request.param, folder, server, token) as running:
        yield running, name, folder / "token"


def _wait_for_agent(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the agent passes its token on, which it does some time after it listens."""
    probe = VaultTransit("probe", endpoint=f"unix://{path}", auth="agent")
    deadline = time.monotonic() + 30.0
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if probe._sessions().current().client.auth.token.lookup_self():
                probe.close()
                return
        except Exception:
            time.sleep(0.05)
    raise AssertionError("the agent did not start")


def test_an_agent_adds_the_token_and_this_process_has_none(
    agent: tuple[Running, str, Path], admin: Admin, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, name, file = agent
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    found = key(name, auth="agent", endpoint=f"unix://{running.socket}", ca_bundle="")
    assert opens(found)
    assert token_of(found) == ""
    assert found.key_id == f"hashivault://{name}?mount=transit"
    assert found.notices() == []
    monkeypatch.setenv("VAULT_AGENT_ADDR", f"unix://{running.socket}")
    assert opens(key(name, auth="agent", endpoint="", ca_bundle=""))
    other = key(admin.key(), auth="agent", endpoint=f"unix://{running.socket}", ca_bundle="")
    failure(KeyDenied, lambda: other.wrap(SECRET, CONTEXT), "permission to use the key is missing")
    with_token = VaultTransit(name, endpoint=f"unix://{running.socket}", token=file.read_text())
    assert opens(with_token)
    with_token.close()


def test_an_agent_without_a_good_token_is_told_as_that(server: TlsServer, admin: Admin, key: Any) -> None:
    says(key(admin.key(), auth="agent"), "the agent of the KMS has no token")


def test_a_socket_that_is_missing_has_its_own_error(admin: Admin, key: Any, tmp_path: Path) -> None:
    says(key("k", auth="agent", endpoint=f"unix://{tmp_path}/none.sock", ca_bundle=""), "nobody listens on the socket")


def test_an_agent_whose_token_is_revoked_or_whose_server_is_sealed_or_gone(tmp_path: Path, key: Any) -> None:
    with OpenBao() as server, administered(server.address, server.token) as admin:
        name = admin.key()
        token = admin.new_token(admin.user_policy(name), ttl="1h")
        with started("agent", tmp_path, server, token) as running:
            found = key(name, auth="agent", endpoint=f"unix://{running.socket}", ca_bundle="")
            assert opens(found)
            admin.revoke(token)
            says(found, "the agent of the KMS has no token")
            admin.client.sys.seal()
            says(found, "sealed")
        says(found, "nobody listens on the socket")
