"""The core knows no provider by name, and compares no text of an error: it has the facts of providers, and codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import envelope_codec
from envelope_codec._facts import installed_facts

ROOT = Path(envelope_codec.__file__).parent

APART = (
    *("aws/", "datastore/aws_client.py", "datastore/s3_", "datastore/dynamodb_", "keystores/s3.py"),
    *("keystores/dynamodb.py", "storage/s3.py", "cli/store_hint.py", "cli/demo/servers.py"),
    *("datastore/azblob_", "datastore/gcs_", "storage/azblob.py", "storage/gcs.py", "cli/bucket_hints.py"),
)
"""What stands on one cloud: its client, and stores and keystores there. And the demo, which starts servers that are
local.
"""

KEY_FILES = ("cli/keygen.py", "kms.py")
"""They may name the provider of key files: one makes key files, the other tells what a bare path may have meant."""

PROSE_FOR_PEOPLE = ("cli/connection.py", "testing/")
"""One shortens what it shows; the suites check that a text repeats nothing."""

SDKS = frozenset({"azure", "boto3", "botocore", "google.cloud", "hvac", "msal"})
SHOWN_TO_PEOPLE = frozenset({"description", "title", "help"})
"""Arguments whose text is documentation."""


def core() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(APART):
            yield name, ast.parse(path.read_text("utf-8"))


CORE = dict(core())


def names_of_providers() -> set[str]:
    """Schemes, packages, classes and extras of the providers that come with the library."""
    found = set[str]()
    for scheme, facts in installed_facts().items():
        package, _, class_name = facts.class_name.rpartition(".")
        found |= {scheme, package, class_name} | set(re.findall(r"\[\w+\]", facts.requirement))
    return found


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts of the code, without docstrings and what is documentation."""
    documentation = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            documentation |= {id(part) for part in ast.walk(node) if isinstance(node.value, ast.Constant)}
        if isinstance(node, ast.keyword) and node.arg in SHOWN_TO_PEOPLE:
            documentation |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}"


def is_text_of_error(node: ast.AST) -> bool:
    """Whether it is ``str(error)`` or ``error.reason``, whatever the error is called."""
    if isinstance(node, ast.Attribute):
        return node.attr == "reason"
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str"
    return is_call and bool(re.search(r"error|failure|caught|refused", ast.unparse(node)))


def compared(tree: ast.Module) -> Iterator[str]:
    """Where the text of an error decides."""
    methods = ("startswith", "endswith", "find", "count", "partition")
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Compare) and not isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            parts = [node.func.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            parts = node.args
        if any(map(is_text_of_error, parts)):
            yield f"{node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]


def test_the_names_are_those_of_the_providers() -> None:
    assert {"awskms", "azurekv", "gcpkms", "hashivault", "localfile", "AwsKms", "envelope_codec_vault"} <= (
        names_of_providers()
    )


@pytest.mark.parametrize("module", CORE)
def test_a_module_of_the_core_names_no_provider_and_no_sdk(module: str) -> None:
    tree = CORE[module]
    names = names_of_providers() - ({"localfile", "envelope_codec_local"} if module in KEY_FILES else set())
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names)))
    assert [(line, text) for line, text in texts(tree) if pattern.search(text)] == []
    owners = {*SDKS, *(name for name in names if name.startswith("envelope_codec_"))}
    assert [name for name in imported(tree) if any(f"{name}.".startswith(f"{owner}.") for owner in owners)] == []


@pytest.mark.parametrize("module", [module for module in CORE if not module.startswith(PROSE_FOR_PEOPLE)])
def test_a_module_of_the_core_compares_no_text_of_an_error(module: str) -> None:
    assert list(compared(CORE[module])) == []
