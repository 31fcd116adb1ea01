"""The rooms of the command line: no command imports another's modules, and what they share imports none of theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope_codec import cli

ROOT = Path(cli.__file__).parent
COMMANDS = (
    *("audit", "demo", "doctor", "inspection", "keygen", "keystore", "rewrap", "serve", "static_token"),
    "storage",
    "worker",
)
SHARED_BY_AWS = "envelope_codec.cli.doctor.aws_hint"
"""What to do about AWS credentials, for AWS KMS and for S3 alike."""

MAKES_KEY_FILES = "envelope_codec.cli.keygen"
"""The demo makes a key file, as the command does."""

WITHOUT_LOGIC = {
    *("__init__", "__main__", "options"),
    *("demo/servers", "demo/workflow", "demo/rekey_workflow"),
    *("audit/messages", "doctor/answer", "doctor/aws_hint"),
    *("payloads/location", "storage/search_result"),
}
ON_A_REAL_SERVER = {
    "audit/workflow": "test_distributed.py",
    "rewrap/workflow": "test_distributed.py",
    "demo/command": "test_demo.py",
    "demo/rekey_chapters": "test_rekeying.py",
    "demo/rekey_command": "test_rekeying.py",
    "demo/rekey_story": "test_rekeying.py",
    "demo/running": "test_demo.py",
    "demo/tool": "test_rekeying.py",
    "storage/garbage": "test_storage_gc.py",
}
"""Tests of tests/e2e for modules that only a real server can try."""

MODULES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py"))


def imports_of(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_the_room_of_another_command(module: str) -> None:
    own = module.partition("/")[0]
    rooms = {
        name: name.removeprefix("envelope_codec.cli.").partition(".")[0]
        for name in imports_of(module)
        if name.startswith("envelope_codec.cli.") and name not in (SHARED_BY_AWS, MAKES_KEY_FILES)
    }
    assert not [name for name, room in rooms.items() if room in COMMANDS and room != own]


def test_there_is_a_module_of_each_name() -> None:
    assert {module.partition("/")[0] for module in MODULES} >= set(COMMANDS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_with_logic_has_a_test_of_its_name(module: str) -> None:
    room, _, name = module.rpartition("/")
    if module in ON_A_REAL_SERVER:
        assert (Path(__file__).parents[2] / "e2e" / ON_A_REAL_SERVER[module]).exists()
    elif module not in WITHOUT_LOGIC and name != "__init__":
        assert (Path(__file__).parent / room / f"test_{name}.py").exists()
