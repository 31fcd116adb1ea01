"""Where Temporal's SDK writes the words of an exception into a message for the server, past every codec.

Each of these exceptions comes from a codec, a storage driver or a failure converter, and so is one of ours: their texts
are fixed. A release of the SDK that adds a place makes this fail.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import temporalio

SDK = Path(temporalio.__file__).parent
PLACES = {
    # encoding of commands: codecs and storage drivers
    ("worker/_workflow.py", "_handle_activation", "Failed encoding completion: {err}"),
    # encoding of an activity's or an operation's failure: the failure converter, codecs and storage drivers
    ("worker/_activity.py", "_handle_start_activity_task", "Failed building exception result: {inner_err}"),
    ("worker/_nexus.py", "_failure_building_completion", "Failed building exception result: {inner_err}"),
    # the failure converter alone
    ("worker/_workflow.py", "_handle_activation", "Failed converting activation exception: {inner_err}"),
    ("worker/_workflow_instance.py", "activate", "Failed converting activation exception: {inner_err}"),
}
FIXED = {"Worker shutting down"}


@pytest.mark.slow
def test_every_place_is_known() -> None:
    found = {place for path in [*SDK.glob("worker/*.py"), *SDK.glob("bridge/*.py")] for place in _places(path)}
    assert {place for place in found if place[2] not in FIXED} == PLACES


def _places(path: Path) -> set[tuple[str, str, str]]:
    """Where a ``message`` of something is set: the file, the function, and what to."""
    name = path.relative_to(SDK).as_posix()
    found = set()
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and any(map(_is_message, node.targets)):
                found.add((name, function.name, _text(node.value)))
    return found


def _is_message(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "message" and isinstance(target.value, ast.Attribute)


def _text(value: ast.expr) -> str:
    return ast.unparse(value).removeprefix("f").strip("'\"")
