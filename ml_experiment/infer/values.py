"""The value of an expression of a script, and where the path that it stands for comes from."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.infer.source import Scope, Source
from ml_experiment.yamlio import MAX_DIGITS

UNKNOWN: Final = object()  # a value that only running the script would tell
DEPTH: Final = 16  # how far names are followed; ends recursive definitions
WHOLE: Final = ""  # an origin's `inside` when the file itself is meant
SOMETHING: Final = "*"  # ... when something in the folder is meant, unknown which

_TOO_LARGE: Final = 10 ** (MAX_DIGITS - 1)  # the sign counts as well

ENVIRONMENT: Final = ("os.environ.get", "os.getenv")
PATH_MAKERS: Final = frozenset({"pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "Path"})
SAME_PATH: Final = frozenset(
    {
        "os.path.abspath",
        "os.path.realpath",
        "os.path.normpath",
        "os.path.expanduser",
        "os.path.expandvars",
        "os.fspath",
    }
)
SAME_PATH_METHODS: Final = frozenset(
    {"resolve", "absolute", "expanduser", "as_posix", "strip", "with_suffix"}
)
_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], object]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True, order=True)
class Origin:
    """Where a path comes from.

    Attributes:
        kind: `argument`, `literal` or `environment`.
        name: the argument's key, the path, or the variable's name.
        inside: WHOLE, or what is meant in the folder of that name.
    """

    kind: str
    name: str
    inside: str = WHOLE


def writable(found: object) -> bool:
    """Whether an experiment file can say a plain value: `yamlio` refuses what no command can hold."""
    if isinstance(found, str):
        return "\0" not in found and not any("\ud800" <= char <= "\udfff" for char in found)
    return _small(found) is not UNKNOWN


def _small(found: object) -> object:
    """The value, unless it is a number with more digits than `yamlio` reads."""
    return UNKNOWN if isinstance(found, int) and abs(found) >= _TOO_LARGE else found


def value(source: Source, expr: ast.expr, scope: Scope, depth: int = 0) -> object:
    """The value of an expression, or UNKNOWN. A path is a PurePosixPath, a tuple a list."""
    if depth > DEPTH:
        return UNKNOWN
    if isinstance(expr, ast.Constant):
        plain = expr.value is None or isinstance(expr.value, (str, int, float))
        return _small(expr.value) if plain else UNKNOWN
    if isinstance(expr, (ast.List, ast.Tuple)):
        items = [value(source, item, scope, depth + 1) for item in expr.elts]
        return UNKNOWN if any(item is UNKNOWN for item in items) else items
    if isinstance(expr, ast.JoinedStr):
        return _joined(source, expr, scope, depth)
    if isinstance(expr, (ast.UnaryOp, ast.BinOp)):
        return _operation(source, expr, scope, depth)
    if isinstance(expr, ast.Call):
        return _call(source, expr, scope, depth)
    if isinstance(expr, ast.Name) and expr.id == "__file__":
        return PurePosixPath(source.script)
    if isinstance(expr, (ast.Name, ast.Attribute)):
        found = source.bounds(expr, scope)
        if len(found) == 1 and found[0].expr is not None and not found[0].loop:
            return value(source, found[0].expr, found[0].scope, depth + DEPTH // 4)
    if isinstance(expr, ast.Attribute):
        base = value(source, expr.value, scope, depth + 1)
        if isinstance(base, PurePosixPath) and expr.attr in ("parent", "name", "stem"):
            return getattr(base, expr.attr)
    return UNKNOWN


def _joined(source: Source, expr: ast.JoinedStr, scope: Scope, depth: int) -> object:
    text = ""
    for part in expr.values:
        formatted = isinstance(part, ast.FormattedValue)
        if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
            return UNKNOWN
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = value(source, inner, scope, depth + 1)
        if found is UNKNOWN or (formatted and isinstance(found, list)):
            return UNKNOWN
        text += str(found)
    return text


def _operation(source: Source, expr: ast.UnaryOp | ast.BinOp, scope: Scope, depth: int) -> object:
    if isinstance(expr, ast.UnaryOp):
        only = value(source, expr.operand, scope, depth + 1)
        if isinstance(expr.op, ast.USub) and isinstance(only, (int, float)):
            return -only
        return UNKNOWN
    left = value(source, expr.left, scope, depth + 1)
    right = value(source, expr.right, scope, depth + 1)
    if isinstance(expr.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(expr.op, ast.Div) and isinstance(left, (PurePosixPath, str)):
        return PurePosixPath(left, right) if isinstance(right, (str, PurePosixPath)) else UNKNOWN
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _arithmetic(expr.op, left, right)
    return UNKNOWN


def _call(source: Source, call: ast.Call, scope: Scope, depth: int) -> object:
    name = source.dotted(call.func)
    given = [value(source, arg, scope, depth + 1) for arg in call.args]
    if any(item is UNKNOWN for item in given) or (call.keywords and name != "os.getenv"):
        return UNKNOWN
    if name in ENVIRONMENT:
        return given[1] if len(given) == 2 else UNKNOWN
    texts = [item for item in given if isinstance(item, (str, PurePosixPath))]
    if len(texts) == len(given):
        if name in PATH_MAKERS or name == "os.path.join":
            return PurePosixPath(*texts)
        if name in SAME_PATH and len(texts) == 1:
            return texts[0]
        if name in ("os.path.dirname", "os.path.basename") and len(texts) == 1:
            part = PurePosixPath(texts[0])
            return part.parent if name.endswith("dirname") else part.name
    if name in ("str", "int", "float") and len(given) == 1:
        return _converted(name, given[0])
    if isinstance(call.func, ast.Attribute):
        base = value(source, call.func.value, scope, depth + 1)
        return _path_method(base, call.func.attr, texts)
    return UNKNOWN


def origins(
    source: Source, expr: ast.expr, scope: Scope, seen: set[int] | None = None
) -> set[Origin]:
    """Where the path that an expression stands for may come from; empty where unknown."""
    seen = set() if seen is None else seen  # what was followed: recursive functions end here
    if id(expr) in seen:
        return set()
    seen.add(id(expr))
    named = environment(source, expr, scope)
    if named:
        return {Origin("environment", named)}
    key = argument(source, expr)
    if key is not None:
        return {Origin("argument", key)}
    known = value(source, expr, scope)
    if isinstance(known, (str, PurePosixPath)):
        return {Origin("literal", str(known))}
    found: set[Origin] = set()
    for bound in source.bounds(expr, scope):
        if bound.key is not None:
            found.add(Origin("argument", bound.key))
        elif bound.expr is not None:
            found |= origins(source, bound.expr, bound.scope, seen)
    for part in _alternatives(expr):
        found |= origins(source, part, scope, seen)
    folder = _folder(source, expr, scope)
    if folder is not None:
        inside = _below(source, expr, scope)
        outer = origins(source, folder, scope, seen)
        found |= {Origin(o.kind, o.name, inside) for o in outer if o.kind != "literal"}
    elif isinstance(expr, ast.Call):
        passed = _same_file(source, expr)
        found |= origins(source, passed, scope, seen) if passed is not None else set()
    return found


def argument(source: Source, expr: ast.expr) -> str | None:
    """The key of `args.x`, `args["x"]`, `getattr(args, "x")`, or None."""
    base: ast.expr | None = None
    key: object = None
    if isinstance(expr, ast.Attribute):
        base, key = expr.value, expr.attr
    elif isinstance(expr, ast.Subscript) and isinstance(expr.slice, ast.Constant):
        base, key = expr.value, expr.slice.value
    elif isinstance(expr, ast.Call) and source.dotted(expr.func) == "getattr" and expr.args[1:]:
        name = expr.args[1]
        base, key = expr.args[0], name.value if isinstance(name, ast.Constant) else None
    if isinstance(base, ast.Attribute):  # self.args.x
        base = ast.Name(base.attr)
    held = isinstance(base, ast.Name) and base.id in source.namespaces
    return key if held and isinstance(key, str) and key in source.keys else None


def environment(source: Source, expr: ast.expr, scope: Scope) -> str | None:
    """The name in `os.environ["ML_EXPERIMENT_..."]` or `os.getenv(...)`, or None."""
    name: ast.expr | None = None
    if isinstance(expr, ast.Subscript) and source.dotted(expr.value) == "os.environ":
        name = expr.slice
    elif isinstance(expr, ast.Call) and source.dotted(expr.func) in ENVIRONMENT:
        name = expr.args[0] if expr.args else None
    known = value(source, name, scope) if name is not None else None
    ours = isinstance(known, str) and known.startswith("ML_EXPERIMENT_")
    return known if ours and isinstance(known, str) else None


def _folder(source: Source, expr: ast.expr, scope: Scope) -> ast.expr | None:
    """The folder in `folder / x`, `os.path.join(folder, x)`, `f"{folder}/x"`, or None."""
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Div):
        return expr.left
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Add):
        tail = value(source, expr.right, scope)
        return expr.left if isinstance(tail, str) and tail.startswith("/") else None
    if isinstance(expr, ast.JoinedStr) and len(expr.values) > 1:
        first, second = expr.values[:2]
        text = second.value if isinstance(second, ast.Constant) else None
        if isinstance(first, ast.FormattedValue) and isinstance(text, str):
            return first.value if text.startswith("/") else None
    if isinstance(expr, ast.Call):
        name = source.dotted(expr.func)
        if name == "os.path.join" or (name in PATH_MAKERS and len(expr.args) > 1):
            return expr.args[0] if expr.args else None
        if isinstance(expr.func, ast.Attribute) and expr.func.attr == "joinpath":
            return expr.func.value
    return None


def _below(source: Source, expr: ast.expr, scope: Scope) -> str:
    """The name of the file in its folder, where it is written out."""
    parts: list[ast.expr] = []
    if isinstance(expr, ast.BinOp):
        parts = [expr.right]
    elif isinstance(expr, ast.JoinedStr):
        parts = list(expr.values[1:])
    elif isinstance(expr, ast.Call):
        joins = isinstance(expr.func, ast.Attribute) and expr.func.attr == "joinpath"
        parts = list(expr.args) if joins else list(expr.args[1:])
    values = [value(source, part, scope) for part in parts]
    known = [str(v) for v in values if isinstance(v, (str, PurePosixPath))]
    return known[0].lstrip("/") if len(known) == len(parts) == 1 else SOMETHING


def _same_file(source: Source, call: ast.Call) -> ast.expr | None:
    """The path in calls that keep meaning the same file: `Path(x)`, `open(x)`, `x.open()`."""
    name = source.dotted(call.func)
    first = call.args[0] if call.args else None
    if name in PATH_MAKERS or name in SAME_PATH or name == "str":
        return first
    if name.split(".")[-1] in ("open", "File", "ZipFile"):
        method = isinstance(call.func, ast.Attribute) and not source.is_module(call.func)
        return call.func.value if method and isinstance(call.func, ast.Attribute) else first
    if isinstance(call.func, ast.Attribute) and call.func.attr in SAME_PATH_METHODS:
        return call.func.value
    return None


def _alternatives(expr: ast.expr) -> list[ast.expr]:
    """The expressions of which this one is one: branches, `a or b`, the items of a list."""
    if isinstance(expr, ast.IfExp):
        return [expr.body, expr.orelse]
    if isinstance(expr, ast.BoolOp):
        return list(expr.values)
    if isinstance(expr, (ast.List, ast.Tuple)):
        return list(expr.elts)
    return []


def _arithmetic(op: ast.operator, left: float, right: float) -> object:
    try:
        if isinstance(op, ast.Pow):
            small = abs(left) <= 1e6 and abs(right) <= 64  # 9**9**9 would never end
            power: object = left**right if small else UNKNOWN
            return UNKNOWN if isinstance(power, complex) else _small(power)
        found = _OPERATORS.get(type(op))
        return _small(found(left, right)) if found else UNKNOWN
    except (ArithmeticError, ValueError):
        return UNKNOWN


def _converted(name: str, value: object) -> object:
    try:
        if name == "str":
            return str(value) if not isinstance(value, list) else UNKNOWN
        if isinstance(value, (str, int, float)):
            return _small(int(value) if name == "int" else float(value))
    except (ValueError, OverflowError):
        pass
    return UNKNOWN


def _path_method(base: object, method: str, texts: list[str | PurePosixPath]) -> object:
    if not isinstance(base, PurePosixPath):
        return UNKNOWN
    if method in ("resolve", "absolute", "expanduser", "as_posix") and not texts:
        return base
    if method == "joinpath" and texts:
        return base.joinpath(*texts)
    try:
        if method in ("with_suffix", "with_name") and len(texts) == 1:
            return getattr(base, method)(str(texts[0]))
    except ValueError:
        pass
    return UNKNOWN
