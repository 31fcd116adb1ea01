"""Nothing that we say, in errors, warnings, the log or a repr, repeats what may be a credential."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import EnvelopeConfig, EnvelopeError, EnvelopePlugin
from envelope_codec.config import NamespaceKeys
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import master_key, show_path, show_value
from envelope_codec.server.config import ServerConfig
from envelope_codec.storage.pool import Pool
from envelope_codec.store import parse_store_url
from envelope_codec.temporal.codec import EnvelopeCodec
from envelope_codec.testing import FakeKms
from envelope_codec_vault import VaultTransit
from tests.support.frame_walker import Sentinels, leaks

SESAME = "open-sesame-with-a-password"
AWS = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP = "projects/a-project/locations/global/keyRings/ring/cryptoKeys/key"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", SESAME)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


def said(call: Callable[[], object], caplog: pytest.LogCaptureFixture) -> str:
    """All that comes out of a call: its error and what hangs on it, warnings, the log, the repr of what it returns."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            text = repr(call())
        except EnvelopeError as error:
            behind = (error, error.__cause__, error.__context__)
            text = " ".join([f"{one!r} {one}" for one in behind if one is not None])
            text += "".join(leaks(error, Sentinels(SESAME.encode()))) and SESAME
    return "\n".join([text, *[str(one.message) for one in warned], caplog.text])


KEYS = [
    f"gcpkms://{GCP}?endpoint=user:{SESAME}@host",
    f"gcpkms://{GCP}?endpoint=https://user:{SESAME}@host:443",
    f"gcpkms://{GCP}?credentials={SESAME}",
    f"gcpkms://{GCP}?credentials=%7B%22private_key%22:%22{SESAME}%22%7D",
    f"gcpkms://{GCP}?password={SESAME}",
    f"gcpkms://{GCP}?{SESAME}",
    f"gcpkms://user:{SESAME}@{GCP}",
    f"awskms:///{AWS}?endpoint=https://user:{SESAME}@host",
    f"awskms:///{AWS}?endpoint=https://host/?token={SESAME}",
    f"awskms:///{AWS}?sts_endpoint=https://user:{SESAME}@host&role=arn:aws:iam::111122223333:role/r",
    f"awskms:///{AWS}?aws_secret_access_key={SESAME}",
    f"awskms:///AKIAXXXX:{SESAME}@{AWS}",
    f"awskms://AKIAXXXX:{SESAME}@host/{AWS}",
    f"azurekv://example.vault.azure.net/key?client_secret={SESAME}",
    f"azurekv://example.vault.azure.net/key?client_id={SESAME}",
    f"azurekv://example.vault.azure.net/key?sign_key=signer@{SESAME}",
    f"azurekv://example.vault.azure.net/key?endpoint=https://user:{SESAME}@127.0.0.1",
    f"azurekv://example.vault.azure.net/key?endpoint=https://127.0.0.1/?token={SESAME}",
    f"azurekv://example.vault.azure.net/key?ca_bundle={SESAME}",
    f"azurekv://user:{SESAME}@example.vault.azure.net/key",
    f"azurekv://{SESAME}@example.vault.azure.net/key",
    f"hashivault://key?token={SESAME}",
    f"hashivault://key?address=https://user:{SESAME}@host",
    f"hashivault://key?address=https://host/?token={SESAME}",
    f"hashivault://key?token_file={SESAME}",
    f"hashivault://key?auth=approle&role_id=r&secret_id_file={SESAME}",
    f"hashivault://key?auth=kubernetes&role=r&jwt_file=eyJh.{SESAME}.SflKxwRJSM",
    f"hashivault://{SESAME}@key",
    f"hashivault://key?namespace=user:{SESAME}@host//a",
    f"hashivault://key?mount=/user:{SESAME}@host",
    f"hashivault://key?cluster=user:{SESAME}@{'c' * 600}",
    f"hashivault://key?user:{SESAME}@host=1",
    f"awskms:///{AWS}?profile=user:{SESAME}@host",
    f"localfile://{SESAME}@host/key",
    f"unknown://host/key?token={SESAME}",
    f"unknown://user:{SESAME}@host/key",
    SESAME,
    f"user:{SESAME}@host",
    f"user:{SESAME}@host:///key",
]


@pytest.mark.slow
@pytest.mark.parametrize("uri", KEYS)
def test_a_key_uri(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Callable[[], object]] = [
        lambda: master_key(uri),
        lambda: EnvelopeConfig(key=uri),
        lambda: EnvelopeConfig(key=FakeKms(), backup_keys=[uri], namespaces={"n": {"key": uri, "decrypt_keys": [uri]}}),
        lambda: EnvelopePlugin(uri),
        lambda: EnvelopeCodec(uri),
        lambda: EnvelopeConfig.from_env({"ENVELOPE_CODEC_KEY": uri}).keyring(),
        lambda: EnvelopeConfig(key=FakeKms(), backup_keys=uri),
    ]
    for call in calls:
        assert SESAME not in said(call, caplog)


def test_a_key_uri_in_a_place_of_its_own_model() -> None:
    for settings in ({"backup_keys": {"a": f"hashivault://k?token={SESAME}"}}, {"min_recipients": SESAME}):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - pydantic's
            NamespaceKeys(key=AWS, **settings)
        assert SESAME not in str(caught.value)


URLS = [
    f"s3://bucket?user:{SESAME}@host=1",
    f"postgresql://user:{SESAME}@127.0.0.1:1/db?table=a-b",
    f"postgresql://user:{SESAME}@127.0.0.1:1/db?sslpassword={SESAME}",
    f"postgresql+unknown://user:{SESAME}@host/db",
    f"mysql://user:{SESAME}@127.0.0.1:port/db",
    f"sqlite:////tmp/db?password={SESAME}",
    f"sqlite:////tmp/db?{SESAME}=1",
    f"sqlite:////tmp/db?timeout={SESAME}",
    f"redis://user:{SESAME}@127.0.0.1:port/0",
    f"redis://user:{SESAME}@127.0.0.1/0?unknown={SESAME}",
    f"redis://user:{SESAME}@127.0.0.1/{SESAME}",
    f"mongodb://user:{SESAME}@127.0.0.1/db?unknown={SESAME}",
    f"mongodb://user:{SESAME}@127.0.0.1/db?readPreferenceTags={SESAME}",
    f"mongodb://user:{SESAME}@127.0.0.1/db?maxPoolSize={SESAME}&{SESAME}=1",
    f"mongodb://user:{SESAME}@127.0.0.1:port/db",
    f"s3://user:{SESAME}@bucket/prefix",
    f"s3://bucket/prefix?endpoint=http://user:{SESAME}@127.0.0.1:1",
    f"s3://bucket/prefix?secret_access_key={SESAME}",
    f"azblob://user:{SESAME}@account/container",
    f"azblob://account/container?key={SESAME}",
    f"azblob://account/container?sv=1&sig={SESAME}",
    f"azblob://account/container?endpoint=https://{SESAME}:b@127.0.0.1:1",
    f"azblob://account?key_file={SESAME}",
    f"gs://user:{SESAME}@bucket/prefix",
    f"gs://bucket/prefix?endpoint=https://user:{SESAME}@storage.example",
    f"gs://bucket/prefix?key={SESAME}",
    f"gs://bucket/prefix?endpoint=http://storage.example/{SESAME}%20",
    f"file://user:{SESAME}@host/folder",
    f"unknown://user:{SESAME}@host/db",
    f"postgresql://user:{SESAME}@host/db?name=a&name=b",
    f"{SESAME}",
]


def test_a_region_that_botocore_does_not_take() -> None:
    """botocore's own log has it at DEBUG, as it has all settings."""
    with pytest.raises(ConfigurationError) as caught:
        parse_store_url(f"s3://bucket?region=user:{SESAME}@host").open()
    assert SESAME not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("url", URLS)
def test_a_url_of_a_datastore(url: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Callable[[], object]] = [
        lambda: EnvelopeConfig(key=FakeKms(), storage=url, former_storage=[url]),
        lambda: EnvelopeConfig.from_env({"ENVELOPE_CODEC_KEY": AWS, "ENVELOPE_CODEC_STORAGE": url}),
        lambda: EnvelopePlugin(FakeKms(), storage=url),
        lambda: Pool(parse_store_url(url)),
        lambda: parse_store_url(url),
    ]
    for call in calls:
        assert SESAME not in said(call, caplog)


@pytest.mark.parametrize(
    "settings",
    [
        {"token": f"{SESAME} "},
        {"auth": "approle", "role_id": "r", "secret_id": f"{SESAME}\n"},
        {"auth": "approle", "role_id": "r", "secret_id": SESAME, "secret_id_file": "/nowhere"},
        {"token": SESAME, "address": "ftp://host"},
        {"token": SESAME, "role": "r"},
    ],
)
def test_a_credential_of_vault(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert SESAME not in said(lambda: VaultTransit("key", **settings), caplog)


def test_a_token_that_the_environment_has(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for value in (SESAME, f"{SESAME} and more"):
        monkeypatch.setenv("VAULT_TOKEN", value)
        assert SESAME not in said(lambda: VaultTransit("key"), caplog)


@pytest.mark.parametrize("name", sorted(set(EnvelopeConfig.model_fields) - {"startup_jitter", "context", "required"}))
def test_every_variable_of_the_environment(name: str, caplog: pytest.LogCaptureFixture) -> None:
    variables = {"ENVELOPE_CODEC_KEY": AWS, f"ENVELOPE_CODEC_{name.upper()}": f"scheme://user:{SESAME}@host"}
    assert SESAME not in said(lambda: EnvelopeConfig.from_env(variables), caplog)


@pytest.mark.parametrize("name", sorted(ServerConfig.model_fields))
def test_every_variable_of_the_server(name: str, caplog: pytest.LogCaptureFixture) -> None:
    variables = {f"ENVELOPE_CODEC_SERVER_{name.upper()}": f"ftp://user:{SESAME}@host"}
    try:
        text = said(lambda: ServerConfig.from_env(variables).listen, caplog)
    except ConfigurationError as error:
        text = str(error)
    assert SESAME not in text


def test_a_file_of_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "envelope.toml"
    for text in (f'key = "{SESAME}', f'key = "{AWS}"\nstorage = "redis://u:{SESAME}@h/0"\nmax_age = "x"'):
        path.write_text(text)
        assert SESAME not in said(lambda: EnvelopeConfig.from_file(path), caplog)


@pytest.mark.parametrize("path", ["/etc/gcp.json", "~/.vault-token", "./a", "missing.json", "../a/b c"])
def test_what_looks_like_a_path_is_shown(path: str) -> None:
    assert show_path(path) == repr(path)


@pytest.mark.parametrize("text", ["hvs.CAESIJ8kq", SESAME, '{"a": 1}', "eyJhbGciOi.eyJzdWIiOi.SflKxwRJSM", "/a\nb", ""])
def test_what_does_not_is_not(text: str) -> None:
    assert show_path(text) == "what is given"


def test_a_value_is_shown_up_to_its_query() -> None:
    assert show_value("https://host/?token=x") == "'https://host/'"
    assert show_value("user:x@host") == "what is given"
