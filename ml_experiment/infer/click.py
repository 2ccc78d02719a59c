"""The command line of a script that uses click, typer or fire: parameters of a function."""

from __future__ import annotations

import ast
import re
from typing import Final

from ml_experiment.infer.arguments import NOTHING, Argument, CommandLine, keywords, plain
from ml_experiment.infer.source import Bound, FunctionNode, Scope, Source, parameters
from ml_experiment.infer.values import value

_PREFERRED: Final = ("train", "fit", "main", "run")


def _bind(source: Source, function: FunctionNode, arguments: list[Argument]) -> None:
    """Make the function's parameters stand for the script's arguments."""
    inner = source.scopes[id(function)]
    for argument in arguments:
        inner.names[argument.key] = [Bound(inner, key=argument.key)]


def _choose(names: list[str], line: CommandLine) -> int:
    """Which of several commands the step runs; says so where there is a choice."""
    place = next((names.index(name) for name in _PREFERRED if name in names), 0)
    if len(names) > 1:
        others = ", ".join(name for name in names if name != names[place])
        line.notes.append(
            f"The script has several commands: the step runs {names[place]}; others: {others}."
        )
    return place


def decorators(source: Source, function: FunctionNode) -> list[tuple[str, ast.expr]]:
    """The dotted names of a function's decorators."""
    found = []
    for expr in function.decorator_list:
        made = expr.func if isinstance(expr, ast.Call) else expr
        found.append((source.dotted(made), expr))
    return found


# -- click ----------------------------------------------------------------------------------


def read_click(source: Source) -> CommandLine:
    """The arguments of a script that uses click."""
    line = CommandLine("click")
    commands: list[tuple[str, FunctionNode, bool]] = []
    for function in source.functions.values():
        names = [name for name, _ in decorators(source, function)]
        if any(name.endswith(".command") for name in names):
            grouped = not any(name in ("click.command", "rich_click.command") for name in names)
            commands.append((_command_name(source, function), function, grouped))
    if not commands:
        line.notes.append("No click command was found: add the arguments to `run` by hand.")
        return line
    name, function, grouped = commands[_choose([c[0] for c in commands], line)]
    line.command = name if grouped else None
    for dotted, expr in decorators(source, function):
        if isinstance(expr, ast.Call) and dotted.split(".")[-1] in ("option", "argument"):
            argument = _click_argument(source, expr, positional=dotted.endswith("argument"))
            if argument is not None:
                line.arguments.append(argument)
    _bind(source, function, line.arguments)
    return line


def _command_name(source: Source, function: FunctionNode) -> str:
    for dotted, expr in decorators(source, function):
        if dotted.endswith("command") and isinstance(expr, ast.Call) and expr.args:
            given = value(source, expr.args[0], source.module)
            if isinstance(given, str):
                return given
    return function.name.replace("_", "-")


def _click_argument(source: Source, call: ast.Call, *, positional: bool) -> Argument | None:
    scope = source.module
    texts = [t for t in (value(source, a, scope) for a in call.args) if isinstance(t, str)]
    given = keywords(call)
    options = [text for text in texts if text.startswith("-")]
    named = [text for text in texts if not text.startswith("-")]
    if not texts:
        return None
    option = next((o for o in options if o.startswith("--")), next(iter(options), None))
    key = (named[0] if named else (option or "").split("/")[0].lstrip("-")).replace("-", "_")
    default = plain(value(source, given["default"], scope)) if "default" in given else NOTHING
    kind, type_name = _click_type(source, given.get("type"), scope)
    literal, note = _click_flag(source, given, option, default)
    multiple = "multiple" in given and value(source, given["multiple"], scope) is True
    if multiple and literal is None:
        literal, note = "", "it may be given several times, which a list cannot say"
    required = positional or (
        "required" in given and value(source, given["required"], scope) is True
    )
    nargs = value(source, given["nargs"], scope) if "nargs" in given else 1
    return Argument(
        key=key.lower() if named == [] else key,
        option=None if positional else (option or "").split("/")[0],
        default=default,
        kind=kind,
        type=type_name,
        many=nargs != 1,
        required=required and default is NOTHING,
        literal=literal,
        note=note,
        line=call.lineno,
    )


def _click_type(
    source: Source, expr: ast.expr | None, scope: Scope
) -> tuple[str | None, str | None]:
    if not isinstance(expr, ast.Call):
        return None, source.dotted(expr) if expr is not None else None
    name = source.dotted(expr.func).split(".")[-1]
    if name == "Path":
        exists = keywords(expr).get("exists")
        there = exists is not None and value(source, exists, scope) is True
        return ("read" if there else None), "Path"
    if name == "File":
        mode = value(source, expr.args[0], scope) if expr.args else "r"
        wrote = isinstance(mode, str) and bool(set(mode) & set("wax"))
        return ("write" if wrote else "read"), "Path"
    return None, name


def _click_flag(
    source: Source, given: dict[str, ast.expr], option: str | None, default: object
) -> tuple[str | None, str | None]:
    """What a switch puts into the command, and why; (None, None) where it takes a value."""
    for name in ("is_flag", "count"):
        if name in given and value(source, given[name], source.module) is True:
            return "", "a switch"
    if option and "/" in option:
        on, _, off = option.replace(" ", "").partition("/")
        if isinstance(default, bool):
            return (on if default else off), None
        return "", "a switch"
    return ("", "a switch") if isinstance(default, bool) else (None, None)


# -- typer and fire ---------------------------------------------------------------------------


def read_typer(source: Source) -> CommandLine:
    """The arguments of a script that uses typer."""
    line = CommandLine("typer")
    function = _given_to(source, "typer.run")
    if function is None:
        commands = [
            f
            for f in source.functions.values()
            if any(name.endswith(".command") for name, _ in decorators(source, f))
        ]
        if not commands:
            line.notes.append("No typer command was found: add the arguments to `run` by hand.")
            return line
        names = [_command_name(source, f) for f in commands]
        place = _choose(names, line)
        function = commands[place]
        line.command = names[place] if len(names) > 1 or _has_callback(source) else None
    annotations = annotated(function)
    for name, default in parameters(function):
        annotation = annotations.get(name)
        if annotation is None or not source.dotted(annotation).endswith("Context"):
            line.arguments.append(_typer_argument(source, name, annotation, default))
    _bind(source, function, line.arguments)
    return line


def _has_callback(source: Source) -> bool:
    return any(
        name.endswith(".callback")
        for function in source.functions.values()
        for name, _ in decorators(source, function)
    )


def annotated(function: FunctionNode) -> dict[str, ast.expr]:
    """The annotated parameters of a function."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    return {arg.arg: arg.annotation for arg in every if arg.annotation is not None}


def _given_to(source: Source, name: str) -> FunctionNode | None:
    for call, _ in source.calls():
        if source.dotted(call.func) == name and call.args and isinstance(call.args[0], ast.Name):
            return source.functions.get(call.args[0].id)
    return None


def _typer_argument(
    source: Source, name: str, annotation: ast.expr | None, default: ast.expr | None
) -> Argument:
    spec: ast.Call | None = None
    if isinstance(annotation, ast.Subscript) and source.dotted(annotation.value).endswith(
        "Annotated"
    ):
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
        specs = [p for p in parts[1:] if isinstance(p, ast.Call) and _is_spec(source, p)]
        spec = specs[0] if specs else None
        annotation = parts[0] if parts else None
    given: object = NOTHING
    if isinstance(default, ast.Call) and _is_spec(source, default):
        spec = default
        first = default.args[0] if default.args else keywords(default).get("default")
        dots = isinstance(first, ast.Constant) and first.value is ...
        if first is not None and not dots:
            given = plain(value(source, first, source.module))
    elif default is not None:
        given = plain(value(source, default, source.module))
    kind = source.dotted(spec.func).split(".")[-1] if spec is not None else ""
    positional = kind == "Argument" or (not kind and default is None)
    declared = [] if spec is None else [value(source, a, source.module) for a in spec.args]
    flags = [d for d in declared if isinstance(d, str) and d.startswith("-") and d != given]
    option = next((f for f in flags if f.startswith("--")), f"--{name.replace('_', '-')}")
    return _typed(source, name, annotation, given, None if positional else option, spec)


def _is_spec(source: Source, call: ast.Call) -> bool:
    return source.dotted(call.func) in (
        "typer.Option",
        "typer.Argument",
    )


def _typed(
    source: Source,
    name: str,
    annotation: ast.expr | None,
    given: object,
    option: str | None,
    spec: ast.Call | None,
) -> Argument:
    words = re.findall(r"[\w.]+", ast.unparse(annotation)) if annotation is not None else []
    exists = keywords(spec).get("exists") if spec is not None else None
    reads = exists is not None and value(source, exists, source.module) is True
    literal: str | None = None
    note: str | None = None
    if "bool" in words or isinstance(given, bool):
        literal, note = "", "a switch"
        if isinstance(given, bool) and option:
            on, _, off = option.partition("/")
            literal = on if given else off or f"--no-{on.lstrip('-')}"
            note = None
    many = any(word.lower().split(".")[-1] in ("list", "sequence") for word in words)
    if many and option is not None and literal is None:
        literal, note = "", "it may be given several times, which a list cannot say"
    known = [w.split(".")[-1] for w in words if w.split(".")[-1] in ("int", "float", "str", "Path")]
    return Argument(
        key=name,
        option=option.split("/")[0] if option else None,
        default=given,
        kind="read" if reads else None,
        type=known[0] if known else None,
        many=many,
        required=given is NOTHING,
        literal=literal,
        note=note,
        line=spec.lineno if spec is not None else 0,
    )


def read_fire(source: Source) -> CommandLine:
    """The arguments of a script that uses fire."""
    line = CommandLine("fire")
    function = _given_to(source, "fire.Fire")
    if function is None:
        line.notes.append(
            "The script gives fire something else than one function of this file: write the "
            "command and its arguments into `run` by hand."
        )
        return line
    line.notes.append(f"The arguments are the parameters of {function.name}(), as fire makes them.")
    for name, default in parameters(function):
        given = plain(value(source, default, source.module)) if default is not None else NOTHING
        literal, note = None, None
        if isinstance(given, bool):
            literal, note = "", "a switch"
        line.arguments.append(
            Argument(
                key=name,
                option=f"--{name}",
                default=given,
                required=given is NOTHING,
                literal=literal,
                note=note,
                line=function.lineno,
            )
        )
    _bind(source, function, line.arguments)
    return line
