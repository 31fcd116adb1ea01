"""Logins to Vault with the identity of a cloud: what is fetched, what is sent, and what is said where there is none."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import hvac
import pytest

from envelope_codec.errors import ConfigurationError, KmsUnavailable
from envelope_codec.provider import Failed
from envelope_codec_vault import VaultTransit, _adapter
from envelope_codec_vault._cloud import Aws, Azure, CloudLogin, Gcp

IMDS = {"subscriptionId": "sub", "resourceGroupName": "group", "name": "vm-1", "vmScaleSetName": ""}
LOGIN = {"auth": {"client_token": "hvs.fresh", "lease_duration": 60, "renewable": True}}


class Cloud:
    """Vault, the metadata services and Google's signer in one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.instance: dict[str, str] = IMDS
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                cloud.asked.append((self.path, dict(self.headers), json.loads(body) if body else None))
                reply = cloud.reply(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"

    def reply(self, path: str) -> bytes:
        if path.startswith("/computeMetadata"):
            return b"machine.jwt.signed"
        if path.startswith("/metadata/instance"):
            return json.dumps(self.instance).encode()
        return json.dumps({"signedJwt": "account.jwt.signed"} if path == "/sign" else LOGIN).encode()

    def log_in(self, login: CloudLogin) -> dict[str, Any]:
        """Log in, and return what Vault was sent."""
        client = hvac.Client(url=self.url, token="")
        granted = login.grant(client, login.credential())
        client.session.close()
        assert granted.token == "hvs.fresh"
        path, headers, body = self.asked[-1]
        assert path == f"/v1/auth/mine/{login.kind}/login"
        assert "X-Vault-Token" not in headers
        found: dict[str, Any] = body
        return found


def flat(header: str | list[str]) -> str:
    """Vault takes a header as a text and as a list."""
    return header if isinstance(header, str) else ",".join(header)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    found = Cloud()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("GCE_METADATA_HOST", found.host)
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_aws_signs_a_request_that_vault_passes_on_and_sends_no_secret_key(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ACCESS_KEY_ID", "AKIATEST"), ("SECRET_ACCESS_KEY", "very-secret"), ("SESSION_TOKEN", "tok")):
        monkeypatch.setenv(f"AWS_{name}", value)
    sent = cloud.log_in(Aws("app", "mine/aws", "vault.test"))
    assert (sent["role"], sent["iam_http_request_method"]) == ("app", "POST")
    assert base64.b64decode(sent["iam_request_url"]) == b"https://sts.amazonaws.com/"
    headers = json.loads(base64.b64decode(sent["iam_request_headers"]))
    assert flat(headers["X-Vault-AWS-IAM-Server-ID"]) == "vault.test"
    assert flat(headers["X-Amz-Security-Token"]) == "tok"
    assert "Credential=AKIATEST/" in flat(headers["Authorization"])
    assert "x-vault-aws-iam-server-id" in flat(headers["Authorization"])
    assert "very-secret" not in json.dumps([sent, headers])


def test_gcp_sends_the_machine_s_identity_for_the_role(cloud: Cloud) -> None:
    assert cloud.log_in(Gcp("app", "mine/gcp", "")) == {"role": "app", "jwt": "machine.jwt.signed"}
    path, headers, _ = cloud.asked[0]
    assert path.endswith("/service-accounts/default/identity?audience=vault%2Fapp&format=full")
    assert headers["Metadata-Flavor"] == "Google"


def test_gcp_has_a_service_account_sign(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    from google.oauth2.credentials import Credentials

    credentials = Credentials(token="access-token")
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, None))
    login = Gcp("app", "mine/gcp", "a@p.iam.gserviceaccount.com", f"{cloud.url}/sign")
    assert cloud.log_in(login) == {"role": "app", "jwt": "account.jwt.signed"}
    _, headers, body = cloud.asked[0]
    assert headers["authorization"] == "Bearer access-token"
    claims = json.loads(body["payload"])
    assert (claims["sub"], claims["aud"]) == ("a@p.iam.gserviceaccount.com", "vault/app")


@pytest.mark.parametrize(
    ("scale_set", "names"), [("", {"vm_name": "vm-1"}), ("set", {"vmss_name": "set"})], ids=["machine", "set"]
)
def test_azure_sends_a_token_and_the_names_of_the_machine(scale_set: str, names: dict[str, str], cloud: Cloud) -> None:
    asked: list[str] = []

    def identity() -> Any:
        def get_token(scope: str) -> Any:
            asked.append(scope)
            return SimpleNamespace(token="a.b.c")

        return nullcontext(SimpleNamespace(get_token=get_token))

    cloud.instance = {**IMDS, "vmScaleSetName": scale_set}
    login = Azure("app", "mine/azure", "https://r", True, identity=identity, instance=cloud.url)
    sent = cloud.log_in(login)
    assert {name: value for name, value in sent.items() if value} == {
        **{"role": "app", "jwt": "a.b.c", "subscription_id": "sub", "resource_group_name": "group"},
        **names,
    }
    assert asked == ["https://r/.default"]
    assert cloud.asked[0][1]["Metadata"] == "true"
    bare = cloud.log_in(Azure("app", "mine/azure", "https://r", False, identity=identity, instance="http://no.invalid"))
    assert {name for name, value in bare.items() if value} == {"role", "jwt"}


def test_no_identity_is_no_answer_and_what_the_cloud_said_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    def identity() -> Any:
        raise RuntimeError("-".join(("secret", "of-the-cloud")))

    login = Azure("app", "azure", "https://r", False, identity=identity)
    with pytest.raises(Failed) as caught:
        login.grant(hvac.Client(url="http://127.0.0.1:1", token=""), "")
    assert caught.value.meaning.code == "no-identity"
    assert caught.value.__context__ is None
    assert "secret-of-the-cloud" not in caplog.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("auth=agent&role=r", "role is of no use with auth=agent"),
        ("auth=jwt&role=r", "needs jwt_file"),
        ("auth=aws", "needs role"),
        ("auth=gcp&role=r&gcp_service_account=x", "email of a service account"),
        ("auth=azure&role=r&azure_instance=maybe", "must be metadata or none"),
        ("auth=cert", "needs client_cert"),
        ("auth=cert&client_cert=/nowhere", "does not exist"),
        ("auth=agent&endpoint=unix://relative", "three slashes"),
        ("auth=agent&tls_server_name=a_b/c", "must be a host name"),
        ("auth=agent&auth_namespace=/a", "no slash around"),
        ("auth=jwt&role=r&jwt=x", "must not hold jwt="),
    ],
)
def test_a_wrong_login_is_refused_with_what_is_wrong(options: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_CLIENT_CERT", "BAO_CLIENT_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAULT_ADDR", "https://vault.invalid")
    with pytest.raises(ConfigurationError, match=says):
        VaultTransit.from_uri(f"hashivault://k?{options}")


@pytest.mark.parametrize(
    ("said", "meaning"),
    [(PermissionError(13, "x"), "socket-forbidden"), (FileNotFoundError(2, "x"), "socket-missing")],
    ids=["forbidden", "missing"],
)
def test_what_the_system_says_of_a_socket_is_told_apart(
    said: OSError, meaning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise said

    monkeypatch.setattr(_adapter._SocketConnection, "connect", refuse)
    key = VaultTransit("k", auth="agent", endpoint="unix:///run/a.sock")
    with pytest.raises(KmsUnavailable) as caught:
        key.wrap(b"7" * 32, {"a": "b"})
    assert caught.value.code == meaning
    key.close()
