"""All providers are built alike, on what is public, and say of themselves what is true."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from envelope_codec._facts import ProviderFacts, facts_of_key, installed_facts

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = sorted(path for path in (ROOT / "providers").glob("envelope_codec_*") if (path / "__init__.py").exists())
LAYOUT = {"__init__", "_connection", "_errors", "_facts", "_hints", "_master_key"}
NAMED = {"_key_id", "_options"}
"""Where there is something to say: the id of a key file is its fingerprint, and it has no options."""

IMPORTABLE = {"envelope_codec.kms", "envelope_codec.provider", "envelope_codec.errors"}
SHARED_BY_AWS = re.compile(r"envelope_codec\.aws\.[a-z_]+")
"""What the AWS provider and the store for S3 share."""


def facts_in(package: Path) -> ProviderFacts:
    facts = import_module(f"{package.name}._facts").FACTS
    assert isinstance(facts, ProviderFacts)
    return facts


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_modules_of_a_provider_have_the_names_that_those_of_others_have(package: Path) -> None:
    there = {path.stem for path in package.glob("*.py")}
    assert there >= LAYOUT
    assert package.name == "envelope_codec_local" or there >= NAMED


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_provider_imports_of_the_library_only_what_is_for_providers(package: Path) -> None:
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "envelope_codec":
                shared = package.name == "envelope_codec_aws" and SHARED_BY_AWS.fullmatch(str(node.module))
                assert node.module in IMPORTABLE or shared, path.name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_modules_are_of_one_noun_and_under_250_lines(package: Path) -> None:
    assert [path.name for path in package.glob("*.py") if len(path.read_text("utf-8").splitlines()) > 250] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_facts_are_found_under_their_scheme_and_load_no_sdk(package: Path) -> None:
    facts = facts_in(package)
    assert installed_facts()[facts.scheme] == facts
    code = f"import sys; before = set(sys.modules); import {package.name}._facts; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"boto3", "botocore", "google", "grpc", "hvac", "requests", "azure", "temporalio"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_option_is_an_argument_by_its_name_and_by_its_earlier_ones(package: Path) -> None:
    facts = facts_in(package)
    module, _, name = facts.class_name.rpartition(".")
    arguments = inspect.signature(getattr(import_module(module), name)).parameters
    names = {one for option in facts.options for one in (option.name, *option.aliases)}
    assert names <= set(arguments)
    assert len(names) == sum(1 + len(option.aliases) for option in facts.options)
    documented = inspect.getdoc(getattr(import_module(module), name)) or ""
    assert [one for one in names if not re.search(rf"\b{one}\b", documented)] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_one_thing_has_one_name_for_all_providers(package: Path) -> None:
    names = {option.name for option in facts_in(package).options}
    assert names.isdisjoint({"address", "url", "timeout", "ca", "cacert"})
    seconds = {option.name for option in facts_in(package).options if option.kind == "seconds"}
    assert {name for name in seconds if "time" in name} <= {"connect_timeout", "read_timeout"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_reason_codes_of_a_provider_are_distinct_and_have_hints(package: Path) -> None:
    facts = facts_in(package)
    assert facts.meanings
    assert [meaning.code for meaning in facts.meanings if not meaning.hint] == []
    # The same code means the same kind of thing everywhere.
    for other in installed_facts().values():
        for meaning in facts.meanings:
            twin = next((one for one in other.meanings if one.code == meaning.code), meaning)
            assert twin.error is meaning.error, meaning.code


GONE = {"deleted", "disabled", "not-found", "unusable", "version-denied", "version-removed"}
"""Codes of a master key that is no more, or is no more to be used."""


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_hint_about_a_key_that_is_gone_points_to_the_chapter_on_retired_keys(package: Path) -> None:
    told = {meaning.code: meaning.hint for meaning in facts_in(package).meanings if meaning.code in GONE}
    assert told
    assert [code for code, hint in told.items() if not hint.endswith("docs/rekeying.md")] == []


def test_the_facts_of_a_configured_key_are_found_by_its_uri_its_spelling_and_its_class() -> None:
    from envelope_codec.testing import FakeKms
    from envelope_codec_gcp import GcpKms

    def scheme(key: object) -> str | None:
        facts = facts_of_key(key)
        return facts.scheme if facts else None

    assert scheme("hashivault://k") == "hashivault"
    assert scheme("arn:aws:kms:eu-west-1:111122223333:alias/x?endpoint=http://127.0.0.1") == "awskms"
    assert scheme("projects/p/locations/l/keyRings/r/cryptoKeys/k") == "gcpkms"
    assert scheme(GcpKms("projects/p/locations/l/keyRings/r/cryptoKeys/k")) == "gcpkms"
    assert scheme(FakeKms()) is None
    assert scheme("what://k") is None
    assert scheme("what") is None


def test_the_core_names_no_provider() -> None:
    """But for the command that makes key files, and the demo."""
    named = re.compile(r"awskms|gcpkms|hashivault|azurekv|envelope_codec_(?:aws|gcp|vault|azure|local)\b")
    found = {
        str(path.relative_to(ROOT / "envelope_codec"))
        for path in (ROOT / "envelope_codec").rglob("*.py")
        if any(named.search(line) for line in path.read_text("utf-8").splitlines() if "import" in line or '"' in line)
    }
    assert {one for one in found if not one.startswith("cli/demo/")} <= {"_facts.py", "cli/keygen.py"}
