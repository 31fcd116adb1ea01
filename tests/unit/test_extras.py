"""No extra loads what another extra brings: no provider, store or keystore does, no command, and no plugin."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, entry_points, requires
from pathlib import Path

import pytest
import tomli

from envelope_codec.cli import COMMANDS
from envelope_codec_local.key_file import KeyFile
from tests.support.fresh_imports import loaded_by

PROJECT = tomli.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
NAME = PROJECT["name"]
EXTRAS: dict[str, list[str]] = {
    name: needs for name, needs in PROJECT["optional-dependencies"].items() if name != "all"
}

MODULES = {
    "aiosqlite": ("aiosqlite",),
    "asyncmy": ("asyncmy",),
    "azure-identity": ("azure.identity",),
    "azure-keyvault-keys": ("azure.keyvault",),
    "azure-storage-blob": ("azure.storage",),
    "boto3": ("boto3", "botocore"),
    "google-cloud-kms": ("google.cloud.kms", "google.cloud.kms_v1"),
    "google-cloud-storage": ("google.cloud.storage",),
    "google-crc32c": ("google_crc32c",),
    "hvac": ("hvac",),
    "prometheus-client": ("prometheus_client",),
    "psycopg": ("psycopg",),
    "pyjwt": ("jwt",),
    "pymongo": ("pymongo",),
    "redis": ("redis",),
    "rich": ("rich",),
    "sqlalchemy": ("sqlalchemy",),
    "starlette": ("starlette",),
    "structlog": ("structlog",),
    "typer": ("typer",),
    "uvicorn": ("uvicorn",),
}
"""What extras bring: the modules of each distribution."""

SCHEMES = {
    "aws": ["awskms"],
    "azure": ["azurekv"],
    "gcp": ["gcpkms"],
    "vault": ["hashivault"],
    "storage-azblob": ["azblob"],
    "storage-gcs": ["gs"],
    "storage-s3": ["s3"],
    "storage-sql": ["postgresql", "mysql", "mariadb", "sqlite"],
    "storage-redis": ["redis", "rediss"],
    "storage-mongodb": ["mongodb"],
    "keystore-dynamodb": ["dynamodb"],
    "": ["localfile", "file"],
}
"""Whose SDK providers, stores and keystores of these schemes need. The last need none."""

KEYS = {
    "aws": "awskms:///arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "azure": "azurekv://example.vault.azure.net/payloads?sign_key=payloads-signer",
    "gcp": "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "vault": "hashivault://payloads?cluster=test&auth=agent&endpoint=http://127.0.0.1:1",
}
"""A master key of each provider. Nobody is asked for it."""


def brought_by(extra: str) -> set[str]:
    """The distributions of our own that come with an extra, and with none."""
    pending, found = list(EXTRAS.get(extra, [])) + PROJECT["dependencies"], set()
    while pending:
        need = pending.pop()
        name = canonical(need)
        if name == NAME:
            pending += [one for other in re.findall(r"[\w-]+", need.partition("[")[2]) for one in EXTRAS[other]]
        elif name not in found and "extra ==" not in need:
            found.add(name)
            try:
                pending += requires(name) or []
            except PackageNotFoundError:  # for another platform or Python
                continue
    return found


def canonical(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def foreign(loaded: set[str], extra: str) -> set[str]:
    """What is loaded that does not come with ``extra``."""
    others = MODULES.keys() - brought_by(extra)
    return {module for one in others for module in MODULES[one] if module in loaded}


def entries(scheme: str) -> list[str]:
    """The objects that entry points of ours name for a scheme."""
    groups = ("providers", "provider_facts", "stores", "keystores")
    return [one.value for kind in groups for one in entry_points(group=f"envelope_codec.{kind}", name=scheme)]


def test_every_extra_and_what_it_brings_is_known_here() -> None:
    own = {canonical(need) for needs in EXTRAS.values() for need in needs} - {NAME}
    assert own == set(MODULES)
    assert EXTRAS.keys() == SCHEMES.keys() - {""} | {"cli", "server"}
    groups = PROJECT["entry-points"]
    assert {scheme for group in groups.values() for scheme in group} == {one for its in SCHEMES.values() for one in its}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What a process has loaded that did one thing alone."""
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_bytes(KeyFile.generate().to_bytes())
    file.chmod(0o600)
    codes = {"library": "from envelope_codec import EnvelopePlugin, EnvelopeCodec, EnvelopeConfig, Keyring"}
    codes["server"] = "from envelope_codec.server import ServerConfig, create_app"
    codes |= {f"command {name}": f"import envelope_codec.cli.{command.module}" for name, command in COMMANDS.items()}
    for extra, schemes in SCHEMES.items():
        values = [value.split(":") for scheme in schemes for value in entries(scheme)]
        codes[f"code for {extra}"] = "\n".join(f"import {module} as m; m.{name}" for module, name in values)
    for extra, uri in {**KEYS, "": f"localfile://{file}"}.items():
        codes[f"key of {extra}"] = f"from envelope_codec import EnvelopePlugin; EnvelopePlugin({uri!r}).keyring"
    return loaded_by(codes)


@pytest.mark.slow
@pytest.mark.parametrize("extra", SCHEMES)
def test_no_provider_store_or_keystore_loads_what_another_needs(loaded: dict[str, set[str]], extra: str) -> None:
    its = loaded[f"code for {extra}"]
    assert foreign(its, extra) == set()
    own = {module for need in EXTRAS.get(extra, []) for module in MODULES[canonical(need)]}
    assert not own or own & its, "it loads none of its own: has it moved?"


@pytest.mark.slow
@pytest.mark.parametrize("extra", [*KEYS, ""])
def test_a_plugin_with_the_key_of_one_provider_loads_no_other(loaded: dict[str, set[str]], extra: str) -> None:
    its = loaded[f"key of {extra}"]
    assert foreign(its, extra) == set()
    packages = {re.split("[.:]", value)[0] for value in entries(SCHEMES[extra][0])}
    assert {name for name in its if re.fullmatch("envelope_codec_[a-z]+", name)} == packages


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_loads_what_only_a_provider_or_a_store_needs(loaded: dict[str, set[str]], name: str) -> None:
    assert foreign(loaded[f"command {name}"], "server" if name in ("serve", "token") else "cli") == set()


@pytest.mark.slow
def test_the_codec_server_loads_what_it_needs_alone(loaded: dict[str, set[str]]) -> None:
    assert foreign(loaded["server"], "server") == set()
    assert "starlette" in loaded["server"]


@pytest.mark.slow
def test_the_library_loads_nothing_of_any_extra(loaded: dict[str, set[str]]) -> None:
    assert foreign(loaded["library"], "") == set()


@pytest.mark.parametrize(("extra", "module"), [("aws", "hvac"), ("storage-s3", "redis"), ("", "boto3"), ("cli", "jwt")])
def test_what_is_foreign_is_seen(extra: str, module: str) -> None:
    assert foreign({module, "envelope_codec"}, extra) == {module}
