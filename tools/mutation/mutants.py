"""The mutants of a module: its source, changed in one place each."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

from tools.mutation.operators import mutated

_HEADED = (cst.If, cst.While, cst.For, cst.With, cst.Try, cst.FunctionDef, cst.ClassDef, cst.ExceptHandler, cst.Match)


class Mutant(NamedTuple):
    """A module's source, changed in one place.

    Attributes:
        module: path of the module from the root.
        function: name of the function or class, qualified; empty for what stands beside them.
        before: the lines that are changed, without their indentation.
        after: the same lines after the change.
        first: number of the first line of the statement that is changed.
        last: number of its last line; of a statement with a body, the last one before that.
        source: the module's source after the change.
    """

    module: str
    function: str
    before: str
    after: str
    first: int
    last: int
    source: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What tells this mutant from others, and stays the same when other code of the module changes."""
        return self.module, self.function, self.before, self.after


def mutants_of(root: Path, module: str) -> list[Mutant]:
    """Return the mutants of a module, in the order of their places. No two of them compile to the same code."""
    source = (root / module).read_text("utf-8")
    wrapper = MetadataWrapper(cst.parse_module(source))
    finder = _Finder(wrapper)
    wrapper.module.visit(finder)
    seen = {fingerprint(compile(source, module, "exec"))}
    found = []
    for change in finder.found:
        changed = _changed(source, wrapper.module, change)
        try:
            print_of_it = fingerprint(compile(changed, module, "exec"))
        except SyntaxError:
            continue  # as an argument after one with a name
        if print_of_it in seen:
            continue
        seen.add(print_of_it)
        before, after = _difference(source, changed)
        found.append(Mutant(module, change.function, before, after, *change.lines, changed))
    return found


def fingerprint(code: types.CodeType) -> object:
    """Return what code does, without its line numbers. Equal for code that is the same."""
    constants = tuple(
        fingerprint(constant) if isinstance(constant, types.CodeType) else (type(constant).__name__, repr(constant))
        for constant in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, constants, names, code.co_flags, code.co_argcount, getattr(code, "co_exceptiontable", b"")


class _Change(NamedTuple):
    """A node and what takes its place, in a part of a statement that starts at ``start`` (line, column)."""

    node: cst.CSTNode
    replacement: cst.CSTNode
    part: cst.CSTNode
    start: tuple[int, int]
    function: str
    lines: tuple[int, int]


class _Finder(cst.CSTVisitor):  # type: ignore[misc]
    """Finds what can be changed."""

    def __init__(self, wrapper: MetadataWrapper) -> None:
        super().__init__()
        self.found: list[_Change] = []
        self._positions = wrapper.resolve(PositionProvider)
        self._parents = wrapper.resolve(ParentNodeProvider)
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_alone(node, in_enum=any(map(_is_enum, self._above(node)))):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        for replacement in mutated(node, list(self._above(node))):
            part = self._part(node)
            start = self._positions[part].start
            place = (start.line, start.column)
            self.found.append(_Change(node, replacement, part, place, ".".join(self._names), self._lines(node)))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()

    def _above(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def _part(self, node: cst.CSTNode) -> cst.CSTNode:
        """The small statement about ``node``, or what is next below the statement with a body."""
        part = node
        for about in (node, *self._above(node)):
            if isinstance(about, cst.BaseSmallStatement):
                return about
            if isinstance(about, _HEADED):
                return part
            part = about
        return part

    def _lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line of the innermost statement about ``node``, or of that statement's head."""
        for about in (node, *self._above(node)):
            if isinstance(about, cst.BaseSmallStatement):
                place = self._positions[about]
                return place.start.line, place.end.line
            if isinstance(about, _HEADED):
                body = about.cases[0] if isinstance(about, cst.Match) else about.body
                return self._positions[about].start.line, max(
                    self._positions[about].start.line, self._positions[body].start.line - 1
                )
        return 1, 1


def _is_enum(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.ClassDef) and any(
        isinstance(above.value, cst.Name) and above.value.value.endswith("Enum") for above in node.bases
    )


def _is_left_alone(node: cst.CSTNode, *, in_enum: bool) -> bool:
    """Whether neither a node nor what is below it is changed: it does nothing at run time, or is typing alone."""
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom():
            return True
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString())]):
            return True  # a docstring
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value="__all__" | "__slots__" | "logger"))]):
            return True
        case cst.Call(func=cst.Name(value="TypeVar" | "cast" | "NewType" | "isinstance" | "len")):
            return True
        case cst.FunctionDef(decorators=[cst.Decorator(decorator=cst.Name(value="overload")), *_]):
            return True
        case cst.Assign(value=cst.SimpleString() | cst.ConcatenatedString()) if in_enum:
            return True  # it says in words what the member means
    return False


class _Replacement(cst.CSTTransformer):  # type: ignore[misc]
    """Puts one node in the place of another."""

    def __init__(self, old: cst.CSTNode, new: cst.CSTNode) -> None:
        super().__init__()
        self._old = old
        self._new = new

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node is not self._old

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:
        return self._new if original_node is self._old else updated_node


def _changed(source: str, module: cst.Module, change: _Change) -> str:
    """Return the source after a change. To write a part of it alone is quicker by far."""
    line, column = change.start
    lines = source.splitlines(keepends=True)
    offset = sum(map(len, lines[: line - 1])) + column
    indent = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]

    def written(part: cst.CSTNode) -> str:
        text: str = module.code_for_node(part)
        return text.replace("\n", "\n" + indent)

    old = written(change.part)
    for shift in (0, -1):  # where a part has parentheses, its place may be that of what is in them
        if source.startswith(old, offset + shift):
            new = change.part.visit(_Replacement(change.node, change.replacement))
            assert isinstance(new, cst.CSTNode)
            return source[: offset + shift] + written(new) + source[offset + shift + len(old) :]
    changed = module.visit(_Replacement(change.node, change.replacement))
    assert isinstance(changed, cst.Module)
    return str(changed.code)


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return the lines that differ, without their indentation: those of before, and those of after."""
    old, new = before.splitlines(), after.splitlines()
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return _joined(old[start : len(old) - end]), _joined(new[start : len(new) - end])


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(line.strip() for line in lines)
