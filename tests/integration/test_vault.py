"""Vault Transit keys on a real server: key life, logins, namespaces, mounts, TLS."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hvac
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from devstack import OpenBao

from envelope_codec.errors import EnvelopeError, InvalidCiphertext, KeyDenied, KmsUnavailable
from envelope_codec.kms import MasterKey, WrappedSecret, master_key
from envelope_codec_vault import VaultTransit
from envelope_codec_vault._connection import Connection
from envelope_codec_vault._endpoint import Endpoint
from envelope_codec_vault._login import AppRole
from envelope_codec_vault._own_sessions import OwnSessions

SECRET = b"\x07" * 32
CONTEXT = {"temporal-namespace": "default", "envelope-codec:purpose": "wrapping-key"}
THREADS = 16

T = TypeVar("T")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VAULT_")]:
        monkeypatch.delenv(name)


@dataclass
class Admin:
    """The root token's view of a server, to prepare what a test needs and to look at what came of it."""

    address: str
    token: str
    client: hvac.Client

    @property
    def transit(self) -> Any:
        return self.client.secrets.transit

    def key(self, **options: Any) -> str:
        name = f"key-{secrets.token_hex(6)}"
        self.transit.create_key(name, **options)
        return name

    def key_names(self, mount: str = "transit") -> list[str]:
        listed: list[str] = self.client.secrets.transit.list_keys(mount_point=mount)["data"]["keys"]
        return listed

    def policy(self, *rules: tuple[str, str]) -> str:
        """A new policy; each rule is a path and a capability."""
        name = f"policy-{secrets.token_hex(6)}"
        self.set_policy(name, *rules)
        return name

    def set_policy(self, name: str, *rules: tuple[str, str]) -> None:
        texts = [f'path "{path}" {{ capabilities = ["{capability}"] }}' for path, capability in rules]
        self.client.sys.create_or_update_policy(name, "\n".join(texts))

    def user_policy(self, key: str, mount: str = "transit") -> str:
        return self.policy((f"{mount}/encrypt/{key}", "update"), (f"{mount}/decrypt/{key}", "update"))

    def new_token(self, *policies: str, **options: Any) -> str:
        token: str = self.client.auth.token.create(policies=list(policies), **options)["auth"]["client_token"]
        return token

    def revoke(self, token: str) -> None:
        self.client.auth.token.revoke(token)


@pytest.fixture
def admin(openbao: OpenBao) -> Iterator[Admin]:
    with administered(openbao.address, openbao.token) as found:
        yield found


class administered:
    def __init__(self, address: str, token: str, **options: Any) -> None:
        self._admin = Admin(address, token, hvac.Client(url=address, token=token, **options))

    def __enter__(self) -> Admin:
        return self._admin

    def __exit__(self, *_: object) -> None:
        self._admin.client.session.close()


@pytest.fixture
def opened(admin: Admin) -> Iterator[Callable[..., VaultTransit]]:
    """Opens keys on the server, and closes them."""
    keys: list[VaultTransit] = []

    def open_key(name: str, **settings: Any) -> VaultTransit:
        if not {"token", "auth", "token_file", "client"} & settings.keys():
            settings["token"] = admin.token
        if "client" not in settings:
            settings.setdefault("address", admin.address)
        keys.append(VaultTransit(name, **settings))
        return keys[-1]

    yield open_key
    for key in keys:
        key.close()


def opens(key: MasterKey) -> bool:
    return key.unwrap(key.wrap(SECRET, CONTEXT), CONTEXT).secret == SECRET


def failure(kind: type[EnvelopeError], call: Callable[[], object], says: str = "") -> None:
    with pytest.raises(EnvelopeError) as caught:
        call()
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert caught.value.__context__ is None


def not_here(reason: str) -> NoReturn:
    """What the server can't do is skipped, or fails where all servers are required."""
    if os.environ.get("ENVELOPE_REQUIRE_SERVERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def at_once(work: Callable[[], T]) -> list[T]:
    """What many threads get that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin() -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(THREADS) as pool:
        return [job.result() for job in [pool.submit(begin) for _ in range(THREADS)]]


# --- the life of a key


def test_after_rotation_old_versions_open_and_new_ones_are_recorded(admin: Admin, opened: Any) -> None:
    name = admin.key()
    key = opened(name)
    old = key.wrap(SECRET, CONTEXT)
    admin.transit.rotate_key(name)
    new = key.wrap(SECRET, CONTEXT)
    assert (old.key_version, new.key_version) == ("1", "2")
    assert new.ciphertext.startswith(b"vault:v2:")
    assert key.unwrap(old, CONTEXT).secret == key.unwrap(new, CONTEXT).secret == SECRET


def test_a_version_that_may_no_longer_decrypt_is_denied_until_it_may_again(admin: Admin, opened: Any) -> None:
    name = admin.key()
    key = opened(name)
    old = key.wrap(SECRET, CONTEXT)
    admin.transit.rotate_key(name)
    admin.transit.update_key_configuration(name, min_decryption_version=2)
    failure(KeyDenied, lambda: key.unwrap(old, CONTEXT), "version")
    assert opens(key)
    admin.transit.update_key_configuration(name, min_decryption_version=1)
    assert key.unwrap(old, CONTEXT).secret == SECRET


def test_a_version_that_does_not_exist_is_no_denial(admin: Admin, opened: Any) -> None:
    key = opened(admin.key())
    wrapped = key.wrap(SECRET, CONTEXT)
    later = WrappedSecret(wrapped.key_id, "9", wrapped.ciphertext.replace(b":v1:", b":v9:"))
    failure(InvalidCiphertext, lambda: key.unwrap(later, CONTEXT), "version")


@pytest.mark.parametrize(
    "context",
    [{}, {**CONTEXT, "temporal-namespace": "defaul"}, {**CONTEXT, "more": "x"}, {"temporal-namespace": "default"}],
)
def test_the_context_is_bound(context: dict[str, str], admin: Admin, opened: Any) -> None:
    key = opened(admin.key())
    wrapped = key.wrap(SECRET, CONTEXT)
    failure(InvalidCiphertext, lambda: key.unwrap(wrapped, context))


def test_no_changed_byte_of_a_ciphertext_opens(admin: Admin, opened: Any) -> None:
    key = opened(admin.key())
    wrapped = key.wrap(SECRET, CONTEXT)
    for place in range(len(wrapped.ciphertext)):
        for flip in (0x01, 0x20):
            changed = bytearray(wrapped.ciphertext)
            changed[place] ^= flip
            other = WrappedSecret(wrapped.key_id, wrapped.key_version, bytes(changed))
            failure(InvalidCiphertext, partial(key.unwrap, other, CONTEXT))


def test_a_truncated_ciphertext_does_not_open(admin: Admin, opened: Any) -> None:
    key = opened(admin.key())
    raw = base64.b64decode(key.wrap(SECRET, CONTEXT).ciphertext.split(b":")[2])
    for length in (0, 1, 11, 12, 27, len(raw) - 1):
        text = b"vault:v1:" + base64.b64encode(raw[:length])
        failure(InvalidCiphertext, partial(key.unwrap, WrappedSecret(key.key_id, "1", text), CONTEXT))


@pytest.mark.parametrize("kind", ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"])
def test_aead_keys_serve(kind: str, admin: Admin, opened: Any) -> None:
    name = f"key-{secrets.token_hex(6)}"
    try:
        admin.client.write_data(f"transit/keys/{name}", data={"type": kind})
    except hvac.exceptions.InvalidRequest:
        not_here(f"this server has no {kind}")
    key = opened(name)
    assert opens(key)
    failure(InvalidCiphertext, lambda: key.unwrap(key.wrap(SECRET, CONTEXT), {}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"type": "rsa-2048"}, "type"),
        ({"type": "ed25519"}, "type"),
        ({"type": "ecdsa-p256"}, "type"),
        ({"type": "hmac", "key_size": 32}, "type"),
        ({"derived": True}, "derived"),
        ({"derived": True, "convergent_encryption": True}, "derived"),
    ],
    ids=str,
)
def test_keys_that_bind_no_context_are_denied_and_the_reason_says_so(
    options: dict[str, Any], says: str, admin: Admin, opened: Any
) -> None:
    name = f"key-{secrets.token_hex(6)}"
    admin.client.write_data(f"transit/keys/{name}", data=options)
    key = opened(name)
    wrapped = opened(admin.key()).wrap(SECRET, CONTEXT)
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), says)
    failure(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), says)


def test_a_missing_key_is_denied_and_not_created(admin: Admin, opened: Any) -> None:
    wrapped = opened(admin.key()).wrap(SECRET, CONTEXT)
    key = opened("no-such-key")
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "not exist")
    failure(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), "not exist")
    assert "no-such-key" not in admin.key_names()
    admin.transit.encrypt_data("no-such-key", plaintext="")
    assert "no-such-key" in admin.key_names(), "this server creates no keys on encryption, so nothing was tested"


def test_a_deleted_key_is_denied(admin: Admin, opened: Any) -> None:
    name = admin.key()
    key = opened(name)
    wrapped = key.wrap(SECRET, CONTEXT)
    admin.transit.update_key_configuration(name, deletion_allowed=True)
    admin.transit.delete_key(name)
    failure(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), "not exist")
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "not exist")
    assert name not in admin.key_names()


def test_a_soft_deleted_key_is_denied_until_it_is_restored(admin: Admin, opened: Any) -> None:
    name = admin.key()
    key = opened(name)
    wrapped = key.wrap(SECRET, CONTEXT)
    admin.transit.update_key_configuration(name, deletion_allowed=True)
    try:
        admin.client.delete(f"transit/keys/{name}/soft-delete")
    except hvac.exceptions.VaultError:
        not_here("this server has no soft deletion")
    failure(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), "deleted")
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "deleted")
    admin.client.write_data(f"transit/keys/{name}/soft-delete-restore", data={})
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET


@pytest.mark.parametrize("mount", ["nowhere", "secret", "cubbyhole", "sys"])
def test_a_mount_that_is_not_transit_gives_no_key(mount: str, admin: Admin, opened: Any) -> None:
    key = opened("k", mount=mount)
    with pytest.raises((KeyDenied, KmsUnavailable)):
        key.wrap(SECRET, CONTEXT)


def test_a_key_value_mount_is_denied(admin: Admin, opened: Any) -> None:
    mount = f"kv-{secrets.token_hex(4)}"
    admin.client.sys.enable_secrets_engine("kv", path=mount, options={"version": "1"})
    failure(KeyDenied, lambda: opened("k", mount=mount).wrap(SECRET, CONTEXT), "not a Transit")


def test_mounts_are_told_apart_whatever_they_are_called(admin: Admin, opened: Any) -> None:
    mounts = [f"team/{secrets.token_hex(4)}", f"a~b+c-{secrets.token_hex(4)}/x.y"]
    for mount in mounts:
        admin.client.sys.enable_secrets_engine("transit", path=mount)
        admin.transit.create_key("same", mount_point=mount)
    one, other = (opened("same", mount=mount) for mount in mounts)
    wrapped = one.wrap(SECRET, CONTEXT)
    assert one.unwrap(wrapped, CONTEXT).secret == SECRET
    assert opens(other)
    assert not other.accepts(wrapped.key_id)
    failure(InvalidCiphertext, lambda: other.unwrap(wrapped, CONTEXT))


def test_namespaces_are_told_apart(admin: Admin, opened: Any) -> None:
    team = f"team-{secrets.token_hex(4)}"
    parent = hvac.Client(url=admin.address, token=admin.token, namespace=team)
    try:
        admin.client.sys.create_namespace(path=team)
        parent.sys.create_namespace(path="a")
    except hvac.exceptions.VaultError:
        not_here("this server has no namespaces")
    finally:
        parent.session.close()
    with administered(admin.address, admin.token, namespace=f"{team}/a") as child:
        name = admin.key()
        child.client.sys.enable_secrets_engine("transit")
        child.transit.create_key(name)
        token = child.new_token(child.user_policy(name), ttl="1h")
    inner = opened(name, namespace=f"{team}/a", token=token)
    outer = opened(name)
    assert inner.key_id == f"hashivault://{name}?mount=transit&namespace={team}/a"
    wrapped = inner.wrap(SECRET, CONTEXT)
    assert inner.unwrap(wrapped, CONTEXT).secret == SECRET
    failure(InvalidCiphertext, lambda: outer.unwrap(wrapped, CONTEXT))
    failure(KeyDenied, lambda: opened(name, namespace=f"{team}/b").wrap(SECRET, CONTEXT), "namespace")


# --- permission


def test_update_on_encrypt_and_decrypt_is_permission_enough(admin: Admin, opened: Any) -> None:
    name = admin.key()
    token = admin.new_token(admin.user_policy(name), ttl="1h", no_default_policy=True)
    assert opens(opened(name, token=token))


@pytest.mark.parametrize("no_default_policy", [False, True], ids=["default policy", "no default policy"])
def test_withdrawn_permission_is_a_denial_and_works_again_when_given_back(
    no_default_policy: bool, admin: Admin, opened: Any
) -> None:
    name = admin.key()
    policy = admin.user_policy(name)
    token = admin.new_token(policy, ttl="1h", no_default_policy=no_default_policy)
    key = opened(name, token=token)
    wrapped = key.wrap(SECRET, CONTEXT)
    admin.set_policy(policy, ("nothing", "deny"))
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "permission")
    failure(KeyDenied, lambda: key.unwrap(wrapped, CONTEXT), "permission")
    admin.set_policy(policy, (f"transit/decrypt/{name}", "update"))
    assert key.unwrap(wrapped, CONTEXT).secret == SECRET
    failure(KeyDenied, lambda: key.wrap(SECRET, CONTEXT), "permission")


@pytest.mark.parametrize("no_default_policy", [False, True], ids=["default policy", "no default policy"])
def test_a_revoked_token_is_no_answer(no_default_policy: bool, admin: Admin, opened: Any) -> None:
    name = admin.key()
    token = admin.new_token(admin.user_policy(name), ttl="1h", no_default_policy=no_default_policy)
    key = opened(name, token=token)
    wrapped = key.wrap(SECRET, CONTEXT)
    admin.revoke(token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "credentials")
    failure(KmsUnavailable, lambda: key.unwrap(wrapped, CONTEXT), "credentials")


# --- token file


def replace(path: Path, text: str) -> None:
    """As agents do: no reader ever sees half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_replaced_token_file_is_read_before_the_old_token_ends(admin: Admin, opened: Any, tmp_path: Path) -> None:
    name = admin.key()
    policy = admin.user_policy(name)
    first, second = (admin.new_token(policy, ttl="1h") for _ in range(2))
    file = tmp_path / "token"
    file.write_text(f"{first}\n")
    key = opened(name, token_file=str(file))
    assert opens(key)
    replace(file, second)
    assert opens(key)
    assert key._sessions().current().client.token == second


def test_a_token_file_with_a_bad_token_is_no_answer_until_it_is_replaced(
    admin: Admin, opened: Any, tmp_path: Path
) -> None:
    name = admin.key()
    policy = admin.user_policy(name)
    file = tmp_path / "token"
    file.write_text(first := admin.new_token(policy, ttl="1h"))
    key = opened(name, token_file=str(file))
    assert opens(key)
    admin.revoke(first)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "credentials")
    replace(file, admin.new_token(policy, ttl="1h"))
    assert all(at_once(lambda: opens(key)))


def test_a_token_that_was_replaced_unnoticed_is_read_after_a_403(admin: Admin, opened: Any, tmp_path: Path) -> None:
    name = admin.key()
    policy = admin.user_policy(name)
    first, second = (admin.new_token(policy, ttl="1h") for _ in range(2))
    file = tmp_path / "token"
    file.write_text(first)
    key = opened(name, token_file=str(file))
    assert opens(key)
    before = file.stat()
    file.write_text(second)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    admin.revoke(first)
    assert opens(key)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("")], ids=["gone", "empty"])
def test_a_token_goes_on_serving_while_its_file_is_away(
    harm: Callable[[Path], object], admin: Admin, opened: Any, tmp_path: Path
) -> None:
    name = admin.key()
    file = tmp_path / "token"
    file.write_text(token := admin.new_token(admin.user_policy(name), ttl="1h"))
    key = opened(name, token_file=str(file))
    assert opens(key)
    harm(file)
    assert opens(key)
    admin.revoke(token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "file")


# --- AppRole


@dataclass
class Role:
    role_id: str
    new_secret_id: Callable[..., str]


@pytest.fixture
def role(admin: Admin) -> Callable[[str], Role]:
    """Makes AppRoles whose tokens may use a key."""

    def make(key: str, **options: Any) -> Role:
        if "approle/" not in admin.client.sys.list_auth_methods()["data"]:
            admin.client.sys.enable_auth_method("approle")
        approle = admin.client.auth.approle
        name = f"role-{secrets.token_hex(6)}"
        approle.create_or_update_approle(name, token_policies=[admin.user_policy(key)], token_ttl="600s", **options)

        def secret_id(uses: int) -> str:
            """A secret id for so many logins."""
            made: Any = admin.client.write_data(f"auth/approle/role/{name}/secret-id", data={"num_uses": uses})
            text: str = made["data"]["secret_id"]
            return text

        return Role(approle.read_role_id(name)["data"]["role_id"], secret_id)

    return make


def test_approle_logs_in_once_for_many_threads(admin: Admin, opened: Any, role: Any) -> None:
    name = admin.key()
    made = role(name)
    key = opened(name, auth="approle", role_id=made.role_id, secret_id=made.new_secret_id(1))
    assert all(at_once(lambda: opens(key)))


def test_approle_logs_in_once_more_for_many_threads_when_its_token_is_revoked(
    admin: Admin, opened: Any, role: Any
) -> None:
    name = admin.key()
    made = role(name)
    key = opened(name, auth="approle", role_id=made.role_id, secret_id=made.new_secret_id(2))
    assert opens(key)
    admin.revoke(key._sessions().current().client.token)
    assert all(at_once(lambda: opens(key)))
    admin.revoke(key._sessions().current().client.token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "login")


def test_approle_logs_in_again_when_a_token_is_used_up(admin: Admin, opened: Any, role: Any) -> None:
    name = admin.key()
    made = role(name, token_num_uses=3)
    key = opened(name, auth="approle", role_id=made.role_id, secret_id=made.new_secret_id(0))
    for _ in range(5):
        assert opens(key)


def test_a_replaced_secret_id_file_is_read_at_the_next_login(
    admin: Admin, opened: Any, role: Any, tmp_path: Path
) -> None:
    name = admin.key()
    made = role(name)
    file = tmp_path / "secret-id"
    file.write_text(made.new_secret_id(1))
    uri = f"hashivault://{name}?address={admin.address}&auth=approle&role_id={made.role_id}&secret_id_file={file}"
    key = master_key(uri)
    assert isinstance(key, VaultTransit)
    assert opens(key)
    admin.revoke(key._sessions().current().client.token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "login")
    replace(file, made.new_secret_id(1))
    assert opens(key)
    key.close()


def test_a_wrong_secret_id_is_no_answer(admin: Admin, opened: Any, role: Any) -> None:
    name = admin.key()
    key = opened(name, auth="approle", role_id=role(name).role_id, secret_id="wrong")
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "login")


def test_approle_may_be_mounted_elsewhere(admin: Admin, opened: Any) -> None:
    name, mount = admin.key(), f"apps/{secrets.token_hex(4)}"
    admin.client.sys.enable_auth_method("approle", path=mount)
    approle = admin.client.auth.approle
    approle.create_or_update_approle("r", token_policies=[admin.user_policy(name)], mount_point=mount)
    role_id = approle.read_role_id("r", mount_point=mount)["data"]["role_id"]
    secret_id = approle.generate_secret_id("r", mount_point=mount)["data"]["secret_id"]
    assert opens(opened(name, auth="approle", role_id=role_id, secret_id=secret_id, auth_mount=mount))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(admin: Admin, role: Any, clock: Clock) -> Iterator[Callable[[int], OwnSessions]]:
    """Makes sessions of an AppRole whose tokens live 600 s by a clock that only the test moves."""
    connections: list[Connection] = []

    def make(uses: int) -> OwnSessions:
        made = role(admin.key())
        secret_id = made.new_secret_id(uses)
        connections.append(Connection(Endpoint(admin.address, "", True, 2.0, 5.0)))
        return OwnSessions(AppRole(made.role_id, lambda: secret_id, "approle"), connections[-1], clock=clock)

    yield make
    for connection in connections:
        connection.close()


def test_an_expired_token_is_replaced_once_for_many_threads(sessions: Any, clock: Clock) -> None:
    found = sessions(2)
    first = found.current()
    clock.now += 600.0
    (second,) = set(at_once(found.current))
    assert second is not first


# --- Kubernetes


@dataclass
class Cluster:
    """A Kubernetes API server, as far as Vault needs one: it reviews service-account tokens."""

    address: str
    ca: str
    key: ec.EllipticCurvePrivateKey
    reviewed: list[str] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)

    def new_jwt(self) -> str:
        account = {"name": "worker", "uid": "7d2f0000-0000-4000-8000-000000000001"}
        claims = {
            "iss": "https://kubernetes.default.svc",
            "aud": ["https://kubernetes.default.svc"],
            "sub": "system:serviceaccount:payments:worker",
            "jti": secrets.token_hex(8),
            "kubernetes.io": {"namespace": "payments", "serviceaccount": account},
        }
        head = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
        r, s = decode_dss_signature(self.key.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
        jwt = f"{head}.{_part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        self.valid.add(jwt)
        return jwt

    def review(self, body: dict[str, Any]) -> dict[str, Any]:
        token = body["spec"]["token"]
        self.reviewed.append(token)
        user = {"username": "system:serviceaccount:payments:worker", "uid": "7d2f0000-0000-4000-8000-000000000001"}
        status: dict[str, Any] = {"authenticated": token in self.valid}
        if token in self.valid:
            status |= {"user": user, "audiences": body["spec"].get("audiences", [])}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Cluster]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key)
    pem = tmp_path / "api.pem"
    pem.write_bytes(
        certificate
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
            reply = json.dumps(cluster.review(body)).encode() if known else b"{}"
            self.send_response(201 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    cluster = Cluster(f"https://127.0.0.1:{server.server_address[1]}", certificate.decode(), key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield cluster
    server.shutdown()
    server.server_close()
    thread.join()


def test_kubernetes_logs_in_with_the_service_account_token_of_the_moment(
    admin: Admin, kubernetes: Cluster, tmp_path: Path
) -> None:
    name, mount = admin.key(), f"kubernetes-{secrets.token_hex(4)}"
    admin.client.sys.enable_auth_method("kubernetes", path=mount)
    config = {"kubernetes_host": kubernetes.address, "kubernetes_ca_cert": kubernetes.ca, "disable_local_ca_jwt": True}
    admin.client.write_data(f"auth/{mount}/config", data=config)
    bound = {"bound_service_account_names": ["worker"], "bound_service_account_namespaces": ["payments"]}
    admin.client.write_data(
        f"auth/{mount}/role/orders",
        data={**bound, "token_policies": [admin.user_policy(name)], "token_ttl": "600s"},
    )
    jwt_file = tmp_path / "jwt"
    jwt_file.write_text(first := kubernetes.new_jwt())
    uri = f"hashivault://{name}?address={admin.address}&auth=kubernetes&role=orders&auth_mount={mount}"
    key = master_key(f"{uri}&jwt_file={jwt_file}")
    assert isinstance(key, VaultTransit)

    assert all(at_once(lambda: opens(key)))
    assert kubernetes.reviewed == [first]

    replace(jwt_file, second := kubernetes.new_jwt())
    admin.revoke(key._sessions().current().client.token)
    assert all(at_once(lambda: opens(key)))
    assert kubernetes.reviewed == [first, second]

    kubernetes.valid.clear()
    admin.revoke(key._sessions().current().client.token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "login")
    key.close()


# --- connections


class TlsServer(OpenBao):
    """The server with TLS, and a CA that it made for itself."""

    @property
    def address(self) -> str:
        return super().address.replace("http:", "https:")

    @property
    def ca(self) -> str:
        assert self._folder is not None
        (found,) = self._folder.glob("*-ca.pem")
        return str(found)

    def _command(self) -> Sequence[str]:
        return [*super()._command(), "-dev-tls", f"-dev-tls-cert-dir={self._folder}"]

    def _ask(self, method: str, path: str, body: str | None = None) -> int:
        try:
            with requests.Session() as session:
                session.trust_env = False
                headers = {"X-Vault-Token": self.token}
                url = self.address + path
                return session.request(method, url, data=body, headers=headers, verify=self.ca, timeout=5).status_code
        except (ValueError, requests.RequestException) as error:
            raise OSError from error


def test_tls_needs_the_ca_that_signed_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with TlsServer() as server, administered(server.address, server.token, verify=server.ca) as admin:
        name = admin.key()
        for trusting in (True, False):
            key = master_key(
                f"hashivault://{name}?address={server.address}&auth=token-file&token_file={_file(server)}"
                + (f"&ca_bundle={server.ca}" if trusting else "")
            )
            if trusting:
                assert opens(key)
            else:
                failure(KmsUnavailable, partial(key.wrap, SECRET, CONTEXT), "TLS")
            key.close()
        monkeypatch.setenv("VAULT_CACERT", server.ca)
        key = VaultTransit(name, address=server.address, token=server.token)
        assert opens(key)
        key.close()


def _file(server: TlsServer) -> Path:
    path = Path(server.ca).with_name("token")
    path.write_text(server.token)
    return path


def test_a_server_that_sleeps_is_sealed_or_gone_is_no_answer() -> None:
    with OpenBao() as server, administered(server.address, server.token) as admin:
        key = VaultTransit(admin.key(), address=server.address, token=server.token, read_timeout=0.3)
        wrapped = key.wrap(SECRET, CONTEXT)
        server.pause()
        failure(KmsUnavailable, lambda: key.unwrap(wrapped, CONTEXT), "in time")
        server.resume()
        assert key.unwrap(wrapped, CONTEXT).secret == SECRET
        admin.client.sys.seal()
        failure(KmsUnavailable, lambda: key.unwrap(wrapped, CONTEXT), "sealed")
        server.stop()
        failure(KmsUnavailable, lambda: key.unwrap(wrapped, CONTEXT), "reached")
        key.close()


def test_a_client_handed_in_serves_with_the_token_that_it_has_now(admin: Admin, opened: Any) -> None:
    name = admin.key()
    policy = admin.user_policy(name)
    client = hvac.Client(url=admin.address, token=admin.new_token(policy, ttl="1h"))
    key = opened(name, client=client)
    assert opens(key)
    admin.revoke(client.token)
    failure(KmsUnavailable, lambda: key.wrap(SECRET, CONTEXT), "credentials")
    client.token = admin.new_token(policy, ttl="1h")
    assert opens(key)
    client.session.close()


FORK = """
import os, sys
import hvac
from envelope_codec_vault import VaultTransit

def connections():
    fds = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return {os.readlink(fd) for fd in fds if os.path.exists(fd) and os.readlink(fd).startswith("socket:")}

def serve(key):
    assert key.unwrap(key.wrap(b"7" * 32, {"a": "b"}), {"a": "b"}).secret == b"7" * 32

name, address, token = sys.argv[1:]
for settings in ({"address": address, "token": token}, {"client": hvac.Client(url=address, token=token)}):
    key = VaultTransit(name, **settings)
    serve(key)
    parents = connections()
    assert len(parents) >= 1
    child = os.fork()
    if child == 0:
        serve(key)
        assert connections() - parents, "no connection of its own"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    serve(key)
    assert connections() == parents, "the parent had to connect again"
    key.close()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
def test_a_forked_process_connects_for_itself(admin: Admin) -> None:
    command = [sys.executable, "-c", FORK, admin.key(), admin.address, admin.token]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
