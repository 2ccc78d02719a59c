"""The command line of a script: argparse, and what an argument is, whoever declares it."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from ml_experiment.infer.source import Bound, Scope, Source, parameters
from ml_experiment.infer.values import UNKNOWN, value, writable

NOTHING: Final = object()  # no default was given


@dataclass(frozen=True)
class Argument:
    """One argument of a script.

    Attributes:
        key: the name under which the script has its value.
        option: how it is given (`--rate`), `rate=` for hydra's form; None where by position.
        default: its value, None, UNKNOWN or NOTHING.
        kind: `read` or `write` where the declaration says so.
        type: the declared type's name, or None.
        many: whether it takes several words.
        literal: what to put into the command instead of a value, for flags; "" for nothing.
        note: why it is left out, if it is.
        line: where it is declared.
    """

    key: str
    option: str | None
    default: object = NOTHING
    kind: str | None = None
    type: str | None = None
    many: bool = False
    required: bool = False
    literal: str | None = None
    note: str | None = None
    line: int = 0

    @property
    def shown(self) -> str:
        """How the user knows it."""
        return (self.option or self.key).rstrip("=")


@dataclass
class CommandLine:
    """What a framework makes of a script.

    Attributes:
        framework: `argparse`, `click`, `typer`, `fire`, `absl`, `hydra`, `sys.argv`, `constants`.
        arguments: in the order of their declaration.
        notes: what was not certain.
        command: the name of a subcommand that has to be given.
    """

    framework: str
    arguments: list[Argument] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str | None = None


def plain(found: object) -> object:
    """A value as it would be written in the experiment file, or UNKNOWN: a path is its text."""
    if isinstance(found, PurePosixPath):
        found = str(found)
    if isinstance(found, list):
        items = [plain(item) for item in found]
        return UNKNOWN if any(item is UNKNOWN for item in items) else items
    if isinstance(found, float) and not math.isfinite(found):
        return UNKNOWN  # no spelling that every program reads
    return found if writable(found) else UNKNOWN


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    """The keyword arguments of a call by name."""
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def read_argparse(source: Source) -> CommandLine:
    """The arguments that a script gives to argparse (or configargparse)."""
    line = CommandLine("argparse")
    below, names = _subparsers(source)
    if names:
        listed = ", ".join(names) or "some"
        line.notes.append(
            f"The script has subcommands ({listed}), which are not read: write the one that is "
            "meant, and its arguments, into `run`."
        )
    changed = _set_defaults(source)
    seen: set[str] = set()
    for call, scope in source.calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "add_argument":
            continue
        owner = call.func.value
        if isinstance(owner, ast.Name) and owner.id in below:
            continue
        argument = _argument(source, call, scope)
        if argument is None:
            line.notes.append(
                f"The argument on line {call.lineno} is named by code: add it to `run` by hand."
            )
        elif argument.key not in seen and argument.literal != "ignored":
            seen.add(argument.key)
            if argument.key in changed and argument.literal is None:
                argument = replace(argument, default=changed[argument.key], required=False)
            line.arguments.append(argument)
    if not line.arguments and not names:
        line.notes.append(
            "The script uses argparse, but declares no argument itself: those that another "
            "module declares must be added to `run` by hand."
        )
    line.notes.extend(_fixed(source))
    _find_namespaces(source, "parse_args", "parse_known_args")
    source.keys |= seen
    return line


def _subparsers(source: Source) -> tuple[set[str], list[str]]:
    """The variables that hold subparsers, and the subcommands' names."""
    variables: set[str] = set()
    names: list[str] = []
    for node, scope in source.nodes:
        made = node.value if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(made, ast.Call):
            targets = {t.id for t in node.targets if isinstance(t, ast.Name)}
            variables |= targets if _method(made) == "add_parser" else set()
        if isinstance(node, ast.Call) and _method(node) == "add_parser" and node.args:
            name = value(source, node.args[0], scope)
            names.append(name if isinstance(name, str) else "?")
    return variables, names


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _set_defaults(source: Source) -> dict[str, object]:
    return {
        name: plain(value(source, expr, scope))
        for call, scope in source.calls()
        if _method(call) == "set_defaults"
        for name, expr in keywords(call).items()
    }


def _fixed(source: Source) -> Iterator[str]:
    """A note on `parse_args([])`, which notebooks leave behind."""
    for call, scope in source.calls():
        if _method(call) in ("parse_args", "parse_known_args"):
            given = call.args[0] if call.args else keywords(call).get("args")
            if given is not None and isinstance(value(source, given, scope), list):
                yield (
                    f"Line {call.lineno} gives the parser a fixed list, so the command line is "
                    "ignored: write `parse_args()` there."
                )


def _argument(source: Source, call: ast.Call, scope: Scope) -> Argument | None:
    names = [value(source, arg, scope) for arg in call.args]
    texts = [name for name in names if isinstance(name, str) and writable(name)]
    given = keywords(call)
    dest = value(source, given["dest"], scope) if "dest" in given else None
    if len(texts) != len(names) or (not texts and not isinstance(dest, str)):
        return None
    options = [text for text in texts if text.startswith("-")]
    long = [text for text in options if text.startswith("--")]
    option = next(iter(long or options), None)
    key = dest if isinstance(dest, str) else (option or texts[0]).lstrip("-")
    key = key.replace("-", "_") if option else key
    default = plain(value(source, given["default"], scope)) if "default" in given else NOTHING
    required = "required" in given and value(source, given["required"], scope) is True
    nargs = value(source, given["nargs"], scope) if "nargs" in given else None
    argument = Argument(
        key=key,
        option=option,
        default=default,
        type=source.dotted(given["type"]) if "type" in given else None,
        many=nargs in ("*", "+") or isinstance(nargs, int),
        required=required or (option is None and nargs not in ("?", "*")),
        line=call.lineno,
    )
    return _of_action(source, _of_type(source, argument, given, scope), given, scope)


def _of_type(
    source: Source, argument: Argument, given: dict[str, ast.expr], scope: Scope
) -> Argument:
    made = given.get("type")
    if isinstance(made, ast.Call):
        name = source.dotted(made.func)
        if name.endswith("FileType"):
            mode = value(source, made.args[0], scope) if made.args else "r"
            wrote = isinstance(mode, str) and bool(set(mode) & set("wax"))
            return replace(argument, kind="write" if wrote else "read", type="Path")
        return replace(argument, type=name)
    if argument.type == "open":
        return replace(argument, kind="read", type="Path")
    if argument.type == "bool":
        why = "its type is `bool`, for which every word but the empty one is true"
        return replace(argument, literal="", note=why)
    return argument


def _of_action(
    source: Source, argument: Argument, given: dict[str, ast.expr], scope: Scope
) -> Argument:
    expr = given.get("action")
    if expr is None:
        return argument
    action = value(source, expr, scope)
    if action in ("help", "version"):
        return replace(argument, literal="ignored")
    if action in ("store", UNKNOWN) and not source.dotted(expr).endswith("BooleanOptionalAction"):
        return argument
    if action is UNKNOWN:
        if argument.default is True or argument.default is False:
            name = (argument.option or "").lstrip("-")
            on = f"--{name}" if argument.default else f"--no-{name}"
            return replace(argument, literal=on)
        return replace(argument, literal="", note="a switch")
    if action in ("store_true", "store_false"):
        state = "off" if argument.default is not True else "on"
        return replace(argument, literal="", note=f"a switch, {state} unless it is given")
    return replace(argument, literal="", note=f"its action is `{action}`, which takes no one value")


def _find_namespaces(source: Source, *parsers: str) -> None:
    """Name every variable that holds what `parse_args` gave, also through functions."""
    makers = {*parsers}
    for name, function in source.functions.items():
        if any(isinstance(n, ast.Call) and _called(n) in parsers for n in ast.walk(function)):
            makers.add(name)
    spaces = {"args", "opt", "opts", "options", "hparams", "flags", "FLAGS"}
    for node, _ in source.nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            inner = [n for n in ast.walk(node.value) if isinstance(n, ast.Call)]
            if any(_called(call) in makers for call in inner):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                spaces |= {name for target in targets for name in _target_names(target)}
    source.namespaces |= spaces
    _follow_namespaces(source)
    _spread_namespaces(source)


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _target_names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Attribute):
        return [target.attr]
    if isinstance(target, (ast.Tuple, ast.List)):
        return _target_names(target.elts[0]) if target.elts else []
    return [target.id] if isinstance(target, ast.Name) else []


def _follow_namespaces(source: Source) -> None:
    """Parameters and variables that are given a namespace are namespaces too."""
    functions = [*source.functions.values(), *(f for fs in source.methods.values() for f in fs)]
    scopes = [source.module, *(source.scopes[id(function)] for function in functions)]
    for _ in range(4):  # a chain of more calls than that is no plain script
        before = len(source.namespaces)
        for scope in scopes:
            for name, bounds in scope.names.items():
                held = [bound.expr for bound in bounds if isinstance(bound.expr, ast.Name)]
                if any(expr.id in source.namespaces for expr in held):
                    source.namespaces.add(name.split(".")[-1])
        if len(source.namespaces) == before:
            return


def _spread_namespaces(source: Source) -> None:
    """`main(**vars(args))` gives each argument to the parameter of its name."""
    for call, scope in source.calls():
        spread = [k.value for k in call.keywords if k.arg is None]
        names = {n.id for expr in spread for n in ast.walk(expr) if isinstance(n, ast.Name)}
        function = source.functions.get(_called(call))
        if function is not None and names & source.namespaces:
            inner = source.scopes[id(function)]
            for name, _ in parameters(function):
                inner.names[name] = [Bound(scope, key=name)]
