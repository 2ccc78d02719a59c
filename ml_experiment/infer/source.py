"""What a Python file says without being run: its names, its values, where a value comes from.

The analysis ignores the order of statements: a name is bound to everything that is ever
assigned to it. That is right for scripts, which assign a path once, and errs towards saying
"unknown" elsewhere. Only in the body of a `with` its own names, such as the `f` that every other
file is opened as too, are what it made them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(eq=False)
class Scope:
    """The names of a module, a class or a function; or of a `with`, which has only its own."""

    parent: Scope | None
    owner: str | None = None  # the class that a method belongs to
    names: dict[str, list[Bound]] = field(default_factory=dict)
    block: bool = False  # of a `with`: what is bound in it is bound around it too

    def bind(self, name: str, bound: Bound) -> None:
        if self.block and self.parent is not None:
            self.parent.bind(name, bound)
        if not self.block or name in self.names:
            self.names.setdefault(name, []).append(bound)

    def find(self, name: str) -> list[Bound]:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return []


@dataclass(frozen=True, eq=False)
class Bound:
    """One thing that a name may stand for: an expression, or an argument of the script."""

    scope: Scope
    expr: ast.expr | None = None
    key: str | None = None
    loop: bool = False  # an element of `expr`, not `expr` itself


class Source:
    """A parsed Python file. Raises SyntaxError or ValueError as `ast.parse` does."""

    def __init__(self, text: str, script: str) -> None:
        self.tree = ast.parse(text)
        self.script = script
        self.module = Scope(None)
        self.nodes: list[tuple[ast.AST, Scope]] = []
        self.imports: dict[str, str] = {}  # local name -> full dotted name
        self.functions: dict[str, FunctionNode] = {}  # of the module
        self.methods: dict[str, list[FunctionNode]] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self.scopes: dict[int, Scope] = {}  # id of a function or class -> its scope
        self.namespaces: set[str] = set()  # names of objects that hold the arguments
        self.is_package_module = False  # whether it imports relatively
        self.keys: set[str] = set()  # the arguments that a namespace holds
        self._walk()
        self._bind_parameters()

    # -- building -------------------------------------------------------------------------

    def _walk(self) -> None:
        stack: list[tuple[ast.AST, Scope]] = [(self.tree, self.module)]
        while stack:
            node, scope = stack.pop()
            self.nodes.append((node, scope))
            self._note(node, scope)
            inner = self.scopes.get(id(node), scope)
            if isinstance(node, (ast.With, ast.AsyncWith)):
                inner = _block(node, scope)
            stack.extend(
                (child, scope if isinstance(child, ast.withitem) else inner)
                for child in reversed(list(ast.iter_child_nodes(node)))
            )

    def _note(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                self.imports[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom):
            self.is_package_module |= node.level > 0
            for alias in node.names:
                self.imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        elif isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
            self.scopes[id(node)] = Scope(scope, node.name)
        elif isinstance(node, _FUNCTIONS):
            self._note_function(node, scope)
        else:
            self._note_binding(node, scope)

    def _note_function(self, node: FunctionNode, scope: Scope) -> None:
        in_class = scope.owner is not None and scope is not self.module
        if in_class:
            self.methods.setdefault(node.name, []).append(node)
        else:
            self.functions.setdefault(node.name, node)
        # Names of a class body are not visible in its methods.
        parent = scope.parent if in_class else scope
        self.scopes[id(node)] = Scope(parent, scope.owner if in_class else None)

    def _note_binding(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value, scope)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            self._assign(node.target, node.value, scope)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._assign(node.optional_vars, node.context_expr, scope)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            if isinstance(node.target, ast.Name):
                scope.bind(node.target.id, Bound(scope, node.iter, loop=True))
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            scope.bind(node.target.id, Bound(scope, node.value, loop=True))

    def _assign(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.bind(target.id, Bound(scope, value))
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            owner = scope.owner if target.value.id == "self" else None
            self.module.bind(f"{owner or target.value.id}.{target.attr}", Bound(scope, value))
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            if len(parts) == len(target.elts):
                for one, part in zip(target.elts, parts, strict=True):
                    self._assign(one, part, scope)

    def _bind_parameters(self) -> None:
        """Bind what calls in this file pass to functions of this file."""
        called: dict[int, list[tuple[ast.Call, Scope, bool]]] = {}
        for call, scope in self.calls():
            for function, method in self._targets(call):
                called.setdefault(id(function), []).append((call, scope, method))
        functions = [*self.functions.values(), *(f for fs in self.methods.values() for f in fs)]
        for function in functions:
            sites = called.get(id(function), [])
            inner = self.scopes[id(function)]
            for name, default in parameters(function):
                passed = [_passed(function, name, call, method=method) for call, _, method in sites]
                for (_, scope, _), expr in zip(sites, passed, strict=True):
                    if expr is not None:
                        inner.bind(name, Bound(scope, expr))
                if default is not None and not (passed and all(passed)):
                    inner.bind(name, Bound(self.module, default))
                inner.names.setdefault(name, [])  # hides a global of the same name

    def _targets(self, call: ast.Call) -> list[tuple[FunctionNode, bool]]:
        """The functions of this file that a call may mean, and whether they have a `self`."""
        if isinstance(call.func, ast.Name):
            if call.func.id in self.functions:
                return [(self.functions[call.func.id], False)]
            made = self.classes.get(call.func.id)
            body = made.body if made else []
            return [(f, True) for f in body if isinstance(f, _FUNCTIONS) and f.name == "__init__"]
        if isinstance(call.func, ast.Attribute):
            methods = self.methods.get(call.func.attr, [])
            return [(methods[0], True)] if len(methods) == 1 else []
        return []

    # -- reading --------------------------------------------------------------------------

    def calls(self) -> Iterator[tuple[ast.Call, Scope]]:
        """Every call, in the order of the file."""
        for node, scope in self.nodes:
            if isinstance(node, ast.Call):
                yield node, scope

    def modules(self) -> set[str]:
        """The top-level modules that are imported."""
        return {full.split(".")[0] for full in self.imports.values()}

    def dotted(self, expr: ast.expr) -> str:
        """`np.load` as `numpy.load`; what is not a name is `?`: `f().save` is `?.save`."""
        parts: list[str] = []
        while isinstance(expr, ast.Attribute):
            parts.append(expr.attr)
            expr = expr.value
        head = self.imports.get(expr.id, expr.id) if isinstance(expr, ast.Name) else "?"
        return ".".join([head, *reversed(parts)])

    def is_module(self, expr: ast.expr) -> bool:
        """Whether an expression is an imported name or an attribute of one."""
        while isinstance(expr, ast.Attribute):
            expr = expr.value
        return isinstance(expr, ast.Name) and expr.id in self.imports

    def bounds(self, expr: ast.expr, scope: Scope) -> list[Bound]:
        """What a name, or an attribute of `self` or of a class, may stand for."""
        if isinstance(expr, ast.Name):
            return scope.find(expr.id)
        if isinstance(expr, ast.Attribute) and isinstance(expr.value, ast.Name):
            owner = scope.owner if expr.value.id == "self" else expr.value.id
            found = self.module.names.get(f"{owner}.{expr.attr}", [])
            if not found and owner in self.classes:
                found = self.scopes[id(self.classes[owner])].names.get(expr.attr, [])
            return found
        return []


def _block(node: ast.With | ast.AsyncWith, scope: Scope) -> Scope:
    """The scope of a `with`'s body."""
    made = {
        item.optional_vars.id: [Bound(scope, item.context_expr)]
        for item in node.items
        if isinstance(item.optional_vars, ast.Name)
    }
    return Scope(scope, scope.owner, made, block=True) if made else scope


def parameters(function: FunctionNode) -> list[tuple[str, ast.expr | None]]:
    """The parameters of a function with their defaults, without `self`, `*args`, `**kwargs`."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    blanks: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    pairs = [*zip(positional, [*blanks, *spec.defaults], strict=True)]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    return [(arg.arg, default) for arg, default in pairs if arg.arg not in ("self", "cls")]


def _passed(function: FunctionNode, name: str, call: ast.Call, *, method: bool) -> ast.expr | None:
    """The expression that a call gives to a parameter, or None."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    position = positional.index(name) - method if name in positional else -1
    if 0 <= position < len(call.args):
        given = call.args[: position + 1]
        if not any(isinstance(arg, ast.Starred) for arg in given):
            return call.args[position]
    return None
