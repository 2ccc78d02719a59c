"""The command line of a script found by what it imports; absl, hydra, sys.argv."""

from __future__ import annotations

import ast
from typing import Final

from ml_experiment.infer.arguments import (
    NOTHING,
    Argument,
    CommandLine,
    keywords,
    plain,
    read_argparse,
)
from ml_experiment.infer.click import annotated, decorators, read_click, read_fire, read_typer
from ml_experiment.infer.source import Bound, Scope, Source, parameters
from ml_experiment.infer.values import value

_UNREAD: Final = {  # imported module -> what it is called
    "docopt": "docopt",
    "simple_parsing": "simple-parsing",
    "tap": "Tap",
    "jsonargparse": "jsonargparse",
    "tyro": "tyro",
}


def read_command_line(source: Source) -> CommandLine:
    """What a script takes on its command line, found by what it imports."""
    modules = source.modules()
    if "hydra" in modules:
        return _hydra(source)
    if "typer" in modules:
        return read_typer(source)
    if "click" in modules or "rich_click" in modules:
        return read_click(source)
    if "fire" in modules:
        return read_fire(source)
    if "absl" in modules and any(_defines(source, call) for call, _ in source.calls()):
        return _absl(source)
    for module, name in _UNREAD.items():
        if module in modules:
            note = f"The script reads its command line with {name}, which is not understood yet: "
            return CommandLine(name, notes=[note + "add its arguments to `run` by hand."])
    if any(full.endswith("HfArgumentParser") for full in source.imports.values()):
        note = "The script uses HfArgumentParser: add the arguments that matter to `run` by hand."
        return CommandLine("transformers", notes=[note])
    if modules & {"argparse", "configargparse"} or any(
        isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
        for call, _ in source.calls()
    ):
        return read_argparse(source)
    return _argv(source)


# -- absl, hydra, sys.argv ----------------------------------------------------------------------


def _defines(source: Source, call: ast.Call) -> bool:
    return source.dotted(call.func).startswith("absl.flags.DEFINE_")


def _absl(source: Source) -> CommandLine:
    line = CommandLine("absl")
    for call, scope in source.calls():
        if not _defines(source, call) or not call.args:
            continue
        name = value(source, call.args[0], scope)
        kind = source.dotted(call.func).rpartition("DEFINE_")[2]
        first = call.args[1] if len(call.args) > 1 else keywords(call).get("default")
        given = plain(value(source, first, scope)) if first is not None else NOTHING
        switch = kind in ("bool", "boolean")
        several = kind in ("list", "multi_string", "multi_integer", "multi_float", "spaceseplist")
        if isinstance(name, str):
            line.arguments.append(
                Argument(
                    key=name,
                    option=f"--{name}",
                    default=given,
                    type={"integer": "int", "float": "float", "string": "str"}.get(kind, kind),
                    literal="" if switch or several else None,
                    note="a switch" if switch else "it takes several values",
                    line=call.lineno,
                )
            )
    source.namespaces |= {"FLAGS", "flags", "args"}
    source.keys |= {argument.key for argument in line.arguments}
    return line


def _hydra(source: Source) -> CommandLine:
    line = CommandLine("hydra")
    for function in source.functions.values():
        if not any(name == "hydra.main" for name, _ in decorators(source, function)):
            continue
        every = parameters(function)
        annotation = annotated(function).get(every[0][0]) if every else None
        made = source.classes.get(source.dotted(annotation)) if annotation is not None else None
        if every and made is not None:
            line.arguments = [a for node in made.body if (a := _field(source, node))]
            source.namespaces.add(every[0][0])
            source.keys |= {argument.key for argument in line.arguments}
    if line.arguments:
        line.notes.append("The fields of the configuration class are given as hydra overrides.")
    else:
        line.notes.append(
            "The script reads its configuration with hydra: add the overrides that matter to "
            "`run`, such as `optimizer.lr={params.lr}`."
        )
    return line


def _field(source: Source, node: ast.stmt) -> Argument | None:
    """One field of a dataclass as an argument of the form `name=value`."""
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return None
    given = NOTHING
    if node.value is not None:
        given = plain(value(source, node.value, source.module))
    kind = node.annotation.id if isinstance(node.annotation, ast.Name) else None
    simple = kind in ("int", "float", "str", "bool", "Path")
    return Argument(
        key=node.target.id,
        option=f"{node.target.id}=",
        default=given,
        required=given is NOTHING and simple,
        type=kind,
        literal=None if simple else "",
        note="it is not a single value",
        line=node.lineno,
    )


def _argv(source: Source) -> CommandLine:
    """`sys.argv[1]` and `a, b = sys.argv[1:]`; a script without either takes nothing."""
    found: dict[int, Argument] = {}
    for node, scope in source.nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            for target, given in _pairs(node.targets[0], node.value):
                _unpacked(source, target, given, scope, found)
        if isinstance(node, ast.Subscript) and source.dotted(node.value) == "sys.argv":
            place = value(source, node.slice, scope)
            if isinstance(place, int) and place > 0 and place not in found:
                found[place] = Argument(f"argument{place}", None, required=True, line=node.lineno)
    if not found:
        return CommandLine("constants")
    source.namespaces.add("argv")
    arguments = [found[place] for place in sorted(found)]
    line = CommandLine("sys.argv", arguments)
    line.notes.append("The script reads sys.argv: check the order and the names of its arguments.")
    source.keys |= {argument.key for argument in arguments}
    _name_argv(source, found)
    return line


def _pairs(target: ast.expr, given: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """`a, b = sys.argv[1], sys.argv[2]` as two assignments."""
    listed = (ast.Tuple, ast.List)
    if not isinstance(target, listed) or not isinstance(given, listed):
        return [(target, given)]
    same = len(target.elts) == len(given.elts)
    return list(zip(target.elts, given.elts, strict=True)) if same else [(target, given)]


def _unpacked(
    source: Source, target: ast.expr, given: ast.expr, scope: Scope, found: dict[int, Argument]
) -> None:
    default: object = NOTHING
    if isinstance(given, ast.IfExp):  # sys.argv[1] if len(sys.argv) > 1 else "data.csv"
        default, given = plain(value(source, given.orelse, scope)), given.body
    while isinstance(given, ast.Call) and len(given.args) == 1:  # float(sys.argv[2]), Path(...)
        given = given.args[0]
    first = 0
    part = given
    if isinstance(given, ast.Subscript):
        part = given.value
        index = given.slice.lower if isinstance(given.slice, ast.Slice) else given.slice
        at = value(source, index, scope) if index is not None else 0
        first = at if isinstance(at, int) else -1
    if source.dotted(part) != "sys.argv" or first < 0:
        return
    targets = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    if part is given and targets == [target]:
        return
    for place, name in enumerate(targets, first):
        if isinstance(name, ast.Name) and place > 0:
            key = name.id.lower()
            found[place] = Argument(
                key, None, default=default, required=default is NOTHING, line=name.lineno
            )
            scope.names[name.id] = [Bound(scope, key=key)]


def _name_argv(source: Source, found: dict[int, Argument]) -> None:
    """Let each `sys.argv[1]` stand for its argument, wherever it is written."""
    for node, _ in source.nodes:
        if isinstance(node, ast.Subscript) and source.dotted(node.value) == "sys.argv":
            place = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(place, int) and place in found:
                node.value = ast.copy_location(ast.Name("argv"), node)
                node.slice = ast.copy_location(ast.Constant(found[place].key), node)
