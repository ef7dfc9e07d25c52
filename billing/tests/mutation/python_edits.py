"""Edits of Python text, found in its syntax tree, and of the SQL that stands in its strings."""

import ast
from collections.abc import Iterator
from itertools import pairwise

from billing.tests.mutation import sql_edits
from billing.tests.mutation.edits import Edit

_COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any"}


def functions(text: str) -> Iterator[tuple[str, Edit]]:
    """Every edit of a module, with the name of the function it is in; "" outside of functions."""
    source = _Source(text)
    yield from _of(source, ast.parse(text), "", in_function=False)


class _Source:
    """A text by lines and columns, as the syntax tree counts them (columns in bytes)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0]
        self._lines = text.split("\n")
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self.at(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.end_lineno, node.end_col_offset)

    def part(self, node: ast.expr | ast.stmt) -> str:
        return self.text[self.start(node) : self.end(node)]


def _of(source: _Source, node: ast.AST, name: str, *, in_function: bool) -> Iterator[tuple[str, Edit]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            inner = f"{name}.{child.name}" if name else child.name
            defaults = [default for default in (*child.args.defaults, *child.args.kw_defaults) if default]
            for part in (*defaults, *child.body):
                if not _is_docstring(part):
                    yield from ((inner, edit) for edit in _edits(source, part))
                    yield from _of(source, part, inner, in_function=True)
        elif isinstance(child, ast.ClassDef):
            yield from _of(source, child, f"{name}.{child.name}" if name else child.name, in_function=False)
        elif in_function or not (name or isinstance(child, ast.Import | ast.ImportFrom) or _is_docstring(child)):
            yield from ((name, edit) for edit in _edits(source, child))
            # What stands in annotations and in aliases of types never runs.
            if not isinstance(child, ast.AnnAssign):
                yield from _of(source, child, name, in_function=in_function)
            elif child.value is not None:
                yield from ((name, edit) for edit in _edits(source, child.value))
                yield from _of(source, child.value, name, in_function=in_function)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _edits(source: _Source, node: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for before, operator, after in zip([left, *comparators], ops, comparators, strict=False):
                for new in _COMPARISONS.get(type(operator), ()):
                    yield Edit("comparison", source.end(before), source.start(after), f" {new} ")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC and "%" not in source.part(left)[:1]:
            gap = source.text[source.end(left) : source.start(right)]
            sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}.get(type(op))
            if sign and gap.count(sign) == 1:
                yield Edit(
                    "arithmetic", source.end(left), source.start(right), gap.replace(sign, _ARITHMETIC[type(op)])
                )
        case ast.BoolOp(op=op, values=values):
            for before, after in pairwise(values):
                gap = source.text[source.end(before) : source.start(after)]
                old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
                yield Edit("word", source.end(before), source.start(after), gap.replace(old, new))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield Edit("sign", source.start(node), source.start(operand), "")
        case ast.Constant(value=bool()):
            yield Edit("word", source.start(node), source.end(node), str(not node.value))
        case ast.Constant(value=int(number)):
            yield Edit("constant", source.start(node), source.end(node), str(number + 1))
            if number:
                yield Edit("constant", source.start(node), source.end(node), str(number - 1))
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield Edit("condition turned", source.start(test), source.end(test), f"(not ({source.part(test)}))")
        case ast.Call(func=ast.Name(id=called)) if called in _SWAPS:
            yield Edit("word", source.start(node.func), source.end(node.func), _SWAPS[called])
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield Edit("statement left out", source.start(node), source.end(node), "pass")
        case ast.Constant(value=str()) | ast.JoinedStr():
            yield from _of_a_string(source, node)
    for condition in [part for part in getattr(node, "ifs", []) if isinstance(part, ast.expr)]:
        yield Edit(
            "condition turned", source.start(condition), source.end(condition), f"(not ({source.part(condition)}))"
        )


def _of_a_string(source: _Source, node: ast.Constant | ast.JoinedStr) -> Iterator[Edit]:
    """Edits of SQL in a string: its statement has a "select", a "where" or an "order by"."""
    part = source.part(node)
    if not any(word in part for word in ("select ", "where ", "order by ")):
        return
    for edit in sql_edits.edits(source.text, source.start(node), source.end(node), is_procedural=False):
        if source.text[edit.start : edit.end].count('"') % 2 == 0 and "{" not in source.text[edit.start : edit.end]:
            yield edit
