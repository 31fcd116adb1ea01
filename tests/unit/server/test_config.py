"""The codec server's settings, from a file, the environment and code, and what is said about wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import ConfigurationError, EnvelopeConfig
from envelope_codec.server import ServerConfig
from envelope_codec.server.web.address import Address

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CLOUD = {"issuer": "temporal-cloud"}
LOCAL = {"issuer": "https://login.example.com", "audience": "codec", "jwks_url": "https://login.example.com/jwks"}
RULE = {"claims": {"email": "*@example.com"}, "namespaces": "*"}
ALL_ISSUERS = {"claims": {"iss": "*"}, "namespaces": "*"}
OPAQUE = {
    "introspection_url": "https://login.example.com/introspect",
    "introspection_client_id": "c",
    "introspection_secret_file": "s",
}


def test_a_file_holds_the_settings_of_both(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(
        f"""
        key = "{KEY}"

        [server]
        listen = ["0.0.0.0:8443", "[::]:8443"]
        origins = "https://cloud.temporal.io"
        body_limit = "1MiB"
        request_timeout = "90s"

        [[server.auth]]
        issuer = "temporal-cloud"

        [[server.rules]]
        claims = {{ email = "*@example.com" }}
        namespaces = ["prod-*", "staging"]
        verbs = "decode"

        [server.peers]
        a = ["b"]
        """
    )
    server = ServerConfig.from_file(file)
    assert EnvelopeConfig.from_file(file).key == KEY
    assert server.addresses == [Address("0.0.0.0", 8443), Address("::", 8443)]
    assert (server.body_limit, server.request_timeout, server.peers) == (2**20, 90, {"a": ("b",)})
    assert server.origins == ("https://cloud.temporal.io",)
    assert (server.rules[0].namespaces, server.rules[0].verbs) == (("prod-*", "staging"), ("decode",))
    assert ServerConfig.from_env({"ENVELOPE_CODEC_FILE": str(file)}) == server


def test_the_environment_overrides_a_file_and_code_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "{KEY}"\n[server]\nstrict = true\nmax_payloads = 5\nlisten = "127.0.0.1:1"\n')
    variables = {
        "ENVELOPE_CODEC_FILE": str(file),
        "ENVELOPE_CODEC_SERVER_MAX_PAYLOADS": "7",
        "ENVELOPE_CODEC_SERVER_LISTEN": "127.0.0.1:2, localhost:3",
        "ENVELOPE_CODEC_SERVER_ORIGINS": "http://a,http://b",
        "ENVELOPE_CODEC_SERVER_RULES": '[{"namespaces": "x"}]',
        "ENVELOPE_CODEC_SERVER_PEERS": '{"x": ["y"]}',
    }
    server = ServerConfig.from_env(variables, listen=["127.0.0.1:4"])
    assert (server.strict, server.max_payloads, server.listen) == (True, 7, ("127.0.0.1:4",))
    assert (server.origins, server.peers, server.rules[0].namespaces) == (
        ("http://a", "http://b"),
        {"x": ("y",)},
        ("x",),
    )
    assert EnvelopeConfig.from_env(variables).key == KEY


def test_a_file_without_the_table_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(f'key = "{KEY}"\n')
    assert ServerConfig.from_file(file) == ServerConfig()
    assert ServerConfig().listen == ("127.0.0.1:8081",)


def test_temporal_cloud_works_by_its_name() -> None:
    (issuer,) = ServerConfig(auth=[CLOUD], rules=[RULE]).auth
    assert issuer.issuer == "https://login.tmprl.cloud/"
    assert issuer.audience == ("https://saas-api.tmprl.cloud",)
    assert issuer.jwks_url == "https://login.tmprl.cloud/.well-known/jwks.json"
    assert ServerConfig(auth=[{"issuer": "https://login.tmprl.cloud/"}], rules=[RULE]).auth == (issuer,)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"listn": "x"}, "server.listn: unknown setting; did you mean listen?"),
    ({"listen": []}, "server.listen: "),
    ({"listen": "8081"}, "server.listen: '8081' is no address"),
    ({"listen": "127.0.0.1:99999"}, "is no address"),
    ({"listen": "::1:8081"}, "is no address"),
    ({"listen": "0.0.0.0:1"}, "server.auth: missing; without it the server listens on loopback only"),
    ({"listen": ["127.0.0.1:1", "example.com:1"]}, "server.auth: missing"),
    ({"listen": "[::]:1"}, "server.auth: missing"),
    ({"origins": "*", "listen": "0.0.0.0:1", "auth": [CLOUD], "rules": [RULE]}, "server.origins: * is for loopback"),
    (
        {"origins": "*", "listen": "0.0.0.0:1", "allow_unauthenticated_network": True},
        "server.origins: * is for loopback",
    ),
    ({"origins": "https://a/"}, "server.origins: 'https://a/' is no origin"),
    ({"origins": "https://A"}, "is no origin"),
    ({"origins": "a.example"}, "is no origin"),
    ({"origins": "null"}, "is no origin"),
    ({"origins": "https://*.example.com"}, "is no origin"),
    ({"auth": [CLOUD]}, "server.rules: missing; without any, nobody may do anything"),
    ({"auth": [{"issuer": "x", "audience": "a"}], "rules": [RULE]}, "server.auth.0: jwks_url: give one of"),
    ({"auth": [{**LOCAL, "secret_file": "s"}], "rules": [RULE]}, "give one of jwks_url, key_file and secret_file"),
    ({"auth": [{**LOCAL, "audience": []}], "rules": [RULE]}, "audience: missing"),
    ({"auth": [{**LOCAL, "jwks_url": "http://login.example.com/jwks"}], "rules": [RULE]}, "give an https URL"),
    ({"auth": [{**LOCAL, "jwks_url": "file:///etc/passwd"}], "rules": [RULE]}, "give an https URL"),
    ({"auth": [{**LOCAL, "jwks_url": "https://u:p@login.example.com"}], "rules": [RULE]}, "without credentials"),
    ({"auth": [{**LOCAL, "algorithms": "none"}], "rules": [RULE]}, "algorithms: 'none' does not go with public keys"),
    ({"auth": [{**LOCAL, "algorithms": ["RS256", "HS256"]}], "rules": [RULE]}, "'HS256' does not go with public keys"),
    (
        {"auth": [{"issuer": "x", "audience": "a", "secret_file": "s", "algorithms": "RS256"}], "rules": [RULE]},
        "'RS256' does not go with a secret_file",
    ),
    (
        {"auth": [{**LOCAL, "jwks": "x"}], "rules": [RULE]},
        "server.auth.0.jwks: unknown setting; did you mean jwks_url?",
    ),
    ({"auth": [{**LOCAL, "believe": "id-token"}], "rules": [RULE]}, "id_token_audience: missing"),
    (
        {"auth": [{**LOCAL, "believe": "id-token", "id_token_audience": "ui"}], "rules": [RULE]},
        "audience: is for access tokens",
    ),
    ({"auth": [{**CLOUD, "believe": "id-token"}], "rules": [RULE]}, "id_token_audience: missing"),
    ({"auth": [{**LOCAL, "introspection_client_id": "c"}], "rules": [RULE]}, "goes with introspection_url"),
    ({"auth": [{**LOCAL, "introspection_url": "https://x"}], "rules": [RULE]}, "give introspection_client_id and"),
    ({"auth": [{**LOCAL, **OPAQUE, "introspection_url": "http://x"}], "rules": [RULE]}, "give an https URL"),
    (
        {"auth": [{**OPAQUE, "issuer": "x", "believe": "id-token", "id_token_audience": "u"}], "rules": [RULE]},
        "introspection_url: is for access tokens",
    ),
    (
        {"auth": [{**LOCAL, **OPAQUE}, {**OPAQUE, "issuer": "x", "audience": "a"}], "rules": [ALL_ISSUERS]},
        "server.auth: two issuers have introspection_url",
    ),
    ({"auth": [{**LOCAL, "issuer": "token-file"}], "rules": [RULE]}, "stands for token_files"),
    ({"token_files": "t"}, "server.rules: missing"),
    ({"auth": [LOCAL], "token_files": "t", "rules": [RULE]}, "with several issuers, name in iss"),
    ({"auth": [LOCAL, LOCAL], "rules": [RULE]}, "server.auth: names 'https://login.example.com' twice"),
    ({"auth": [LOCAL, CLOUD], "rules": [RULE]}, "server.rules.0.claims: with several issuers, name in iss"),
    ({"rules": [RULE]}, "server.rules.0.claims: there is no auth"),
    ({"rules": [{"namespaces": []}]}, "server.rules.0.namespaces: "),
    ({"rules": [{"namespaces": "a[b]"}]}, "is no pattern"),
    ({"rules": [{"namespaces": ""}]}, "is no pattern"),
    ({"rules": [{"namespaces": "a", "verbs": "delete"}]}, "server.rules.0.verbs.0: "),
    ({"rules": [{"namespaces": "a", "verb": "decode"}]}, "server.rules.0.verb: unknown setting; did you mean verbs?"),
    ({"peers": {"a": "[x]"}}, "is no pattern"),
    ({"tls_cert": "x"}, "server.tls_cert: goes with tls_key"),
    ({"rate_limit": "many"}, "server.rate_limit: 'many' is no rate"),
    ({"rate_limit": "0/second"}, "is no rate"),
    ({"body_limit": "5 parsecs"}, "server.body_limit: "),
    ({"body_limit": 0}, "server.body_limit: "),
    ({"request_timeout": 0}, "server.request_timeout: "),
    ({"storage": "nonsense"}, "server.storage: "),
    ({"url": "ftp://x"}, "server.url: give an http or https URL"),
    ({"prefix": "codec"}, "server.prefix: give a path"),
    ({"metrics": "some"}, "server.metrics: "),
    ({"workers": 0}, "server.workers: "),
    ({"strict": "perhaps"}, "server.strict: "),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_what_is_wrong_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ServerConfig(**settings)
    assert said in str(raised.value)


RIGHT: list[dict[str, Any]] = [
    {"listen": "0.0.0.0:1", "allow_unauthenticated_network": True},
    {"listen": ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.8.8:1", "[::ffff:127.0.0.1]:1"], "origins": "*"},
    {"listen": "0.0.0.0:1", "auth": [CLOUD], "rules": [RULE]},
    {"listen": "0.0.0.0:1", "token_files": "t", "rules": [RULE]},
    {"auth": [{**CLOUD, "believe": "id-token", "id_token_audience": "ui"}], "rules": [RULE]},
    {"auth": [{**LOCAL, **OPAQUE}], "rules": [RULE]},
    {"auth": [{**OPAQUE, "issuer": "x", "audience": "a"}], "rules": [RULE]},
    {"auth": [LOCAL, CLOUD], "rules": [{"claims": {"iss": "*"}, "namespaces": "*"}]},
    {"auth": [{**LOCAL, "jwks_url": "http://127.0.0.1:9/jwks"}], "rules": [RULE]},
    {"rules": [{"namespaces": "dev-*"}]},
    {"origins": ["http://localhost:8233", "https://cloud.temporal.io", "http://[::1]:8233"]},
]


@pytest.mark.parametrize("settings", RIGHT)
def test_what_is_right_is_taken(settings: dict[str, Any]) -> None:
    ServerConfig(**settings)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("ENVELOPE_CODEC_SERVER_LISTN", "x", "ENVELOPE_CODEC_SERVER_LISTN: unknown setting; did you mean listen?"),
        ("ENVELOPE_CODEC_SERVER_RULES", "a", "ENVELOPE_CODEC_SERVER_RULES: give a JSON list"),
        ("ENVELOPE_CODEC_SERVER_PEERS", "a", "ENVELOPE_CODEC_SERVER_PEERS: give a JSON object"),
    ],
)
def test_wrong_variables_are_named(variable: str, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ServerConfig.from_env({variable: text})
    assert said in str(raised.value)


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "envelope.toml"
    file.write_text(f'server = "x"\nkey = "{KEY}"\n')
    with pytest.raises(ConfigurationError, match="give a table"):
        ServerConfig.from_file(file)


MISSING = """
import sys
sys.modules["prometheus_client"] = None
import envelope_codec.server
from envelope_codec import ConfigurationError
envelope_codec.server.ServerConfig()
try:
    envelope_codec.server.create_app
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_missing_extra_is_named_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert "prometheus_client is missing" in done.stdout
    assert "temporal-envelope-codec[server]" in done.stdout
    assert done.stdout.count("\n") == 1


LOADED = """
import sys
import envelope_codec.server
assert not {"starlette", "uvicorn", "jwt", "temporalio"} & set(sys.modules)
import temporalio.converter
before = set(sys.modules)
import envelope_codec.server.run
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
print(*[name for name in set(sys.modules) - before if name.startswith("google.cloud")])
"""


@pytest.mark.slow
def test_importing_the_server_loads_no_cloud_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    packages, google = done.stdout.split("\n")[:2]
    assert not set(packages.split()) & {"boto3", "botocore", "grpc", "hvac", "typer"}
    assert not {name for name in packages.split() if name.startswith("envelope_codec_")}
    assert google == ""


def test_bodies_are_no_larger_than_there_is_room() -> None:
    with pytest.raises(ConfigurationError, match=r"server\.body_limit: larger than max_body_bytes"):
        ServerConfig(body_limit="64MiB")
    with pytest.raises(ConfigurationError, match=r"server\.address_rate_limit: 'some' is no rate"):
        ServerConfig(address_rate_limit="some")
