"""Names, key URIs and settings of the GCP provider: what is taken, and what is refused at construction."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.kms_v1 import KeyManagementServiceClient

from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import MasterKey, master_key
from envelope_codec_gcp import GcpKms
from envelope_codec_gcp._endpoint import Endpoint
from envelope_codec_gcp._key_id import find_version

NAME = "projects/my-project/locations/europe-west1/keyRings/ring/cryptoKeys/key"
URI = f"gcpkms://{NAME}"


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "projects/test/locations/global/keyRings/test/cryptoKeys/k",
        "projects/example.com:my-project/locations/us/keyRings/r/cryptoKeys/k",
        "projects/123456789012/locations/nam-eur-asia1/keyRings/r/cryptoKeys/k",
        f"projects/p/locations/global/keyRings/{'R' * 63}/cryptoKeys/{'_-9' * 21}",
    ],
)
def test_a_resource_name_is_the_key_id_bare_and_as_a_uri(name: str) -> None:
    for spelling in (name, f"gcpkms://{name}"):
        key = master_key(spelling)
        assert isinstance(key, GcpKms)
        assert isinstance(key, MasterKey)
        assert key.key_id == name


@pytest.mark.parametrize(
    "name",
    [
        "projects/my-project/locations/global/keyRings/ring",
        f"{NAME}/",
        f"/{NAME}",
        f"{NAME}\n",
        f"{NAME}/cryptoKeyVersions",
        NAME.replace("my-project", "My-Project"),
        NAME.replace("my-project", "my_project"),
        NAME.replace("my-project", "my-project-"),
        NAME.replace("my-project", "0123"),
        NAME.replace("my-project", "a" * 31),
        NAME.replace("my-project", "com:my-project"),
        NAME.replace("my-project", "example.com:123"),
        NAME.replace("europe-west1", "Europe-West1"),
        NAME.replace("europe-west1", "-"),
        NAME.replace("keyRings", "keyrings"),
        NAME.replace("/ring/", "/a ring/"),
        NAME.replace("/ring/", f"/{'r' * 64}/"),
        NAME.replace("cryptoKeys/key", f"cryptoKeys/{'k' * 64}"),
        NAME.replace("cryptoKeys/key", "cryptoKeys/schlüssel"),
        NAME.replace("cryptoKeys/key", "cryptoKeys/"),
    ],
)
def test_anything_else_is_refused_with_the_shape_that_is_wanted(name: str) -> None:
    with pytest.raises(ConfigurationError, match="projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"):
        GcpKms(name)


def test_a_key_version_is_refused_and_the_error_names_the_key_to_give() -> None:
    with pytest.raises(ConfigurationError, match=f"give the key, '{NAME}'"):
        master_key(f"{NAME}/cryptoKeyVersions/3")


def test_accepts_its_own_key_id_alone() -> None:
    key = master_key(f"{URI}?endpoint=127.0.0.1:9010")
    assert key.accepts(NAME)
    for other in (f"{NAME}2", NAME.upper(), f"{NAME}/cryptoKeyVersions/1", URI, "", NAME.replace("my-project", "1")):
        assert not key.accepts(other)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("endpoint=http://127.0.0.1:9010", "HOST:PORT"),
        ("endpoint=127.0.0.1:9010/path", "HOST:PORT"),
        ("endpoint=127.0.0.1:70000", "HOST:PORT"),
        ("endpoint=127.0.0.1:0", "HOST:PORT"),
        ("endpoint=unix:/tmp/socket", "HOST:PORT"),
        ("endpoint=::1:9010", "HOST:PORT"),
        ("endpoint=kms.example.com:9010&insecure=true", "loopback"),
        ("endpoint=10.0.0.1:9010&insecure=true", "loopback"),
        ("endpoint=localhost.example.com:9010&insecure=true", "loopback"),
        ("insecure=true", "endpoint"),
        ("insecure=yes", "insecure='yes' must be true or false"),
        ("timeout=soon", "timeout"),
        ("timeout=0", "timeout"),
        ("timeout=-1", "timeout"),
        ("timeout=nan", "timeout"),
        ("timeout=inf", "timeout"),
        ("connect_timeout=0", "connect_timeout"),
        ("connect_timeout=601", "connect_timeout"),
        (
            "region=us",
            "known: connect_timeout, credentials, endpoint, impersonate, insecure, quota_project, ",
        ),
        ("timeout=1&timeout=2", "once"),
        ("timeout=1&read_timeout=2", "'read_timeout' once"),
        ("credentials=/nowhere/gcp.json", "'/nowhere/gcp.json' can't be read: No such file"),
        ("endpoint=127.0.0.1:9010&credentials=/dev/null", "credentials are not sent without TLS"),
        ("endpoint=127.0.0.1:9010&quota_project=project-1", "impersonate and quota_project need TLS"),
        ("endpoint=127.0.0.1:9010&impersonate=a@p.iam.gserviceaccount.com", "impersonate and quota_project need TLS"),
        ("impersonate=worker", "impersonate='worker' must be a service account"),
        ("impersonate=a@p.iam.gserviceaccount.com,worker", "impersonate='worker' must be a service account"),
        ("impersonate=a/../b@p.iam.gserviceaccount.com", "must be a service account"),
        ("impersonate=user@example.com", "must be a service account"),
        ("quota_project=My%20project", "quota_project='My project' must be the id or the number"),
        ("regional=yes", "regional='yes' must be true or false"),
        ("regional=true&endpoint=kms.example.com", "regional=true chooses the endpoint"),
        ("regional=true&insecure=true", "regional=true chooses the endpoint"),
    ],
)
def test_a_wrong_option_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        GcpKms.from_uri(f"{URI}?{query}")


@pytest.mark.parametrize("uri", [f"gcpkms:///{NAME}", f"gcpkms:{NAME}", NAME, f"{URI}#part", f"gcpkms://user@{NAME}"])
def test_another_form_of_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="key URI"):
        GcpKms.from_uri(uri)


@pytest.mark.parametrize(
    ("endpoint", "insecure", "meant"),
    [
        (None, None, Endpoint(None, False)),
        (None, False, Endpoint(None, False)),
        ("127.0.0.1:9010", None, Endpoint("127.0.0.1:9010", True)),
        ("127.9.9.9:9010", True, Endpoint("127.9.9.9:9010", True)),
        ("localhost:9010", None, Endpoint("localhost:9010", True)),
        ("[::1]:9010", None, Endpoint("[::1]:9010", True)),
        ("127.0.0.1:9010", False, Endpoint("127.0.0.1:9010", False)),
        ("128.0.0.1:9010", None, Endpoint("128.0.0.1:9010", False)),
        ("[::2]:9010", None, Endpoint("[::2]:9010", False)),
        ("[::ffff:127.0.0.1]:9010", None, Endpoint("[::ffff:127.0.0.1]:9010", False)),
        ("localhost.example.com:9010", None, Endpoint("localhost.example.com:9010", False)),
        (
            "cloudkms.europe-west3.rep.googleapis.com",
            None,
            Endpoint("cloudkms.europe-west3.rep.googleapis.com:443", False),
        ),
    ],
)
def test_loopback_alone_goes_without_tls(endpoint: str | None, insecure: bool | None, meant: Endpoint) -> None:
    assert Endpoint.of(endpoint, insecure) == meant


def test_construction_asks_no_network_and_looks_up_no_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    key = GcpKms.from_uri(URI)
    assert key.key_id == NAME
    key.close()
    key.close()


def test_a_client_handed_in_excludes_the_settings_that_would_build_another() -> None:
    with KeyManagementServiceClient(credentials=AnonymousCredentials()) as client:
        assert GcpKms(NAME, client=client, timeout=3).key_id == NAME
        for setting in ({"endpoint": "127.0.0.1:1"}, {"insecure": True}, {"credentials": "/dev/null"}):
            with pytest.raises(ConfigurationError, match="can't be given together with client"):
                GcpKms(NAME, client=client, **setting)


def test_the_time_out_of_a_call_goes_by_the_name_that_it_has_everywhere_and_by_its_earlier_one() -> None:
    for key in (
        GcpKms.from_uri(f"{URI}?read_timeout=3"),
        GcpKms.from_uri(f"{URI}?timeout=3"),
        GcpKms(NAME, read_timeout=3),
        GcpKms(NAME, timeout=3),
    ):
        assert key._timeout == 3
    with pytest.raises(ConfigurationError, match="read_timeout and timeout are one: give read_timeout alone"):
        GcpKms(NAME, timeout=3, read_timeout=3)


def test_a_client_over_rest_is_refused() -> None:
    with (
        KeyManagementServiceClient(credentials=AnonymousCredentials(), transport="rest") as client,
        pytest.raises(ConfigurationError, match="gRPC"),
    ):
        GcpKms(NAME, client=client)


@pytest.mark.parametrize(
    ("reply", "version"),
    [
        (f"{NAME}/cryptoKeyVersions/7", "7"),
        (NAME.replace("my-project", "123") + "/cryptoKeyVersions/12", "12"),
        (NAME.replace("my-project", "other-project") + "/cryptoKeyVersions/1", None),
        (f"{NAME}2/cryptoKeyVersions/1", None),
        (f"{NAME}/cryptoKeyVersions/0", None),
        (f"{NAME}/cryptoKeyVersions/1/x", None),
        (f"{NAME}/cryptoKeyVersions/", None),
        (NAME, None),
        ("", None),
    ],
)
def test_a_version_counts_only_under_the_key_that_was_asked(reply: str, version: str | None) -> None:
    assert find_version(NAME, reply) == version


def test_two_project_numbers_are_two_projects() -> None:
    numbered = NAME.replace("my-project", "123")
    assert find_version(numbered, numbered.replace("123", "124") + "/cryptoKeyVersions/1") is None
    assert find_version(numbered, f"{NAME}/cryptoKeyVersions/1") == "1"
