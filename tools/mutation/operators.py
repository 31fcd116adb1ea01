"""What is changed: mutmut's operators, and three that it lacks.

Ours drop a statement that is a call, return None, and turn a plain condition into its opposite. Texts for people are
left alone: those of errors that are raised, and those of the log. So are changes of None or False to what is as false.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import libcst as cst
from mutmut.mutation.mutators import mutation_operators, operator_string

_TEXTS = cst.SimpleString | cst.ConcatenatedString | cst.FormattedString


def mutated(node: cst.CSTNode, above: Sequence[cst.CSTNode]) -> Iterator[cst.CSTNode]:
    """Yield what may stand in the place of ``node``; ``above`` are its parent, that one's parent, and so on."""
    if isinstance(node, _TEXTS):
        if not _is_for_people(above):
            yield from _of_text(node)
        return
    if isinstance(node, cst.Call) and _is_log(node):
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind) and operator is not operator_string:
            for replacement in operator(node):
                if isinstance(node, cst.Call) and _loses_text(node, replacement, above):
                    continue
                if isinstance(node, cst.Assign | cst.AnnAssign) and _is_false(node.value):
                    continue
                yield replacement
    yield from _dropped(node)
    yield from _returns_none(node)
    yield from _opposite(node, above)


def _of_text(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    """Only the first of mutmut's three changes of a text: upper and lower case show nothing more."""
    if isinstance(node, cst.SimpleString):
        yield from list(operator_string(node))[:1]


def _is_for_people(above: Sequence[cst.CSTNode]) -> bool:
    """Whether a text is a positional argument of an error that is raised, or of the log."""
    for node in above:
        if isinstance(node, cst.Arg) and node.keyword is not None:
            return False
        if isinstance(node, cst.Raise) or (isinstance(node, cst.Call) and _is_log(node)):
            return True
    return False


def _is_log(node: cst.Call) -> bool:
    match node.func:
        case cst.Attribute(value=cst.Name(value="logger" | "logging")):
            return True
    return False


def _loses_text(node: cst.Call, replacement: cst.CSTNode, above: Sequence[cst.CSTNode]) -> bool:
    """Whether an error that is raised would lose its text."""
    if not isinstance(above[0], cst.Raise):
        return False
    assert isinstance(replacement, cst.Call)
    kept = [argument.value for argument in replacement.args]
    return any(isinstance(argument.value, _TEXTS) and argument.value not in kept for argument in node.args)


def _is_false(value: cst.BaseExpression | None) -> bool:
    """Whether a value is None or False: mutmut puts an empty text or None in its place, which is as false."""
    return isinstance(value, cst.Name) and value.value in ("None", "False")


def _dropped(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    match node:
        case cst.Expr(value=cst.Call() as call) | cst.Expr(value=cst.Await(expression=cst.Call() as call)):
            if not _is_log(call):
                yield cst.Pass(semicolon=node.semicolon)


def _returns_none(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    match node:
        case cst.Return(value=cst.Name(value="None" | "False") | None):
            return
        case cst.Return():
            yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))


def _opposite(node: cst.CSTNode, above: Sequence[cst.CSTNode]) -> Iterable[cst.CSTNode]:
    """The opposite of a condition to which no other operator gives one."""
    if not (above and isinstance(above[0], cst.If | cst.While | cst.IfExp) and above[0].test is node):
        return
    match node:
        case cst.Comparison(comparisons=[_]) | cst.UnaryOperation(operator=cst.Not()):
            return
        case cst.BaseExpression():
            inside = node if node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
            yield cst.UnaryOperation(operator=cst.Not(), expression=inside)
