"""YAML and JSON, read safely and with the line of everything.

YAML 1.2's core schema: `no` is a string, `1e3` a number, a date a string. Tags, duplicate keys,
merge keys and aliases that contain themselves are refused. Mapping keys are always strings, as
they were written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml
from yaml._yaml import CParser  # libyaml: every wheel of PyYAML has it
from yaml.resolver import Resolver

from ml_experiment.errors import ExperimentError, Place, Problem

KeyPath = tuple[str, ...]

MAX_NODES = 100_000  # or one a character: aliases of aliases can grow a small file without end
MAX_DEPTH = 100
MAX_DIGITS = 1000


@dataclass(frozen=True)
class Node:
    """A value and where it was written. The value is a dict or list of nodes, or a scalar."""

    value: dict[str, Node] | list[Node] | str | int | float | bool | None
    place: Place
    removed: bool = False  # a null that took the place of something: see config.merge

    def plain(self) -> Any:
        """The value without places; lists as tuples, since the model is immutable."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value


_SCALARS = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        (
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
)


_TAGS = {f"tag:yaml.org,2002:{_name}" for _name in ("str", "null", "bool", "int", "float")}


class _Loader(CParser, Resolver):
    """Composes nodes; constructs nothing."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Resolver.__init__(self)


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read(text: str, file: str) -> Node:
    """The document in `text`; `file` is its name in messages. JSON where the name ends so.

    Raises:
        ExperimentError: with every problem of the form; what the values mean is not looked at.
    """
    text = text.removeprefix("\ufeff")
    if file.endswith(".json"):
        text = _json_as_yaml(text, file)
    try:
        _check_depth(text, file)
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"not valid YAML: {error.problem or error.context}"
        hint = "a value that holds ': ' or ' #', or begins with one of {[&*!|>%@, needs quotes"
        _refuse(what, file, mark.line + 1 if mark else None, hint)
    except (yaml.YAMLError, ValueError) as error:
        _refuse(f"not valid YAML: {str(error).splitlines()[0]}", file, 1)
    builder = _Builder(file, max(MAX_NODES, len(text)))
    node = Node({}, Place(file, 1)) if root is None else builder.build(root, (), frozenset())
    if builder.problems:
        raise ExperimentError(builder.problems)
    return node


def of_data(data: Any, place: Place) -> Node:
    """Plain data (an override) as nodes, all at one place.

    Raises:
        ExperimentError: it holds something that no YAML or JSON file can say.
    """
    if isinstance(data, dict):
        return Node({str(key): of_data(value, place) for key, value in data.items()}, place)
    if isinstance(data, list | tuple):
        return Node([of_data(value, place) for value in data], place)
    if data is not None and not isinstance(data, str | int | float):
        raise ExperimentError([Problem("not a plain value", place, value=repr(data))])
    if isinstance(data, str) and (what := _unusable(data)):
        raise ExperimentError([Problem(what, place, value=data)])
    return Node(data, place)


def places(node: Node) -> dict[KeyPath, Place]:
    """The place of every key and list item."""
    found: dict[KeyPath, Place] = {}

    def visit(node: Node, path: KeyPath) -> None:
        found[path] = node.place
        if isinstance(node.value, dict):
            for key, child in node.value.items():
                visit(child, (*path, key))
        elif isinstance(node.value, list):
            for index, child in enumerate(node.value):
                visit(child, (*path, str(index)))

    visit(node, ())
    return found


def nearest_place(found: Mapping[KeyPath, Place], path: KeyPath) -> Place | None:
    """Where a key was written, or the nearest one above it."""
    ends = range(len(path), -1, -1)
    return next((found[path[:end]] for end in ends if path[:end] in found), None)


def read_value(text: str, place: str) -> Any:
    """One YAML value, such as the right side of `--set a.b=VALUE`; `place` is for messages."""
    return read(text, place).plain() if text.strip() else ""


def _refuse(what: str, file: str, line: int | None, hint: str | None = None) -> NoReturn:
    raise ExperimentError([Problem(what, Place(file, line), hint=hint)]) from None


def _check_depth(text: str, file: str) -> None:
    """The recursion of libyaml has no end: deep nesting would crash the process."""
    depth = 0
    if text.count("[") + text.count("{") > MAX_DEPTH or _NESTED.search(text):
        for event in yaml.parse(text, Loader=yaml.CLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                _refuse("values within values without end", file, 1)


_NESTED = re.compile(r"(?:[-?:][ \t]+){20}")  # `- - - -`: indented ones need too much text


def _json_as_yaml(text: str, file: str) -> str:
    """JSON, checked, in the form in which it is YAML as well."""
    try:
        json.loads(text, parse_constant=_not_json)
    except json.JSONDecodeError as error:
        _refuse(f"not valid JSON: {error.msg}", file, error.lineno)
    except (ValueError, RecursionError) as error:
        _refuse(f"not valid JSON: {error}", file, None)
    # Tabs stand between values only; a pair of surrogates is one character.
    return _PAIR.sub(_character, text.replace("\t", " "))


_PAIR = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def _character(match: re.Match[str]) -> str:
    text = match.group()
    return text if text == "\\\\" else str(json.loads(f'"{text}"'))


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _unusable(text: str) -> str | None:
    """Why a text can be in no command and no file name, or None."""
    if "\0" in text:
        return "a NUL character, which no command can hold"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "half of a surrogate pair, which is no character"
    return None


class _Builder:
    """Turns composed nodes into ours, gathering problems as it goes."""

    def __init__(self, file: str, most: int) -> None:
        self.file = file
        self.most = most
        self.problems: list[Problem] = []
        self.count = 0

    def build(self, node: yaml.Node, path: tuple[str, ...], open_: frozenset[int]) -> Node:
        place = Place(self.file, node.start_mark.line + 1)
        self.count += 1
        if self.count > self.most:
            _refuse("aliases of aliases make this too large", self.file, place.line)
        if id(node) in open_:
            self.problem("an alias that contains itself", place, path)
            return Node(None, place)
        if isinstance(node, yaml.MappingNode) and self.plain_tag(node, "map", path):
            return Node(self.mapping(node, path, open_ | {id(node)}), place)
        if isinstance(node, yaml.SequenceNode) and self.plain_tag(node, "seq", path):
            inside = open_ | {id(node)}
            items = [self.build(n, (*path, str(i)), inside) for i, n in enumerate(node.value)]
            return Node(items, place)
        if isinstance(node, yaml.ScalarNode):
            return Node(self.scalar(node, path), place)
        return Node(None, place)

    def mapping(
        self, node: yaml.MappingNode, path: tuple[str, ...], open_: frozenset[int]
    ) -> dict[str, Node]:
        built: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = Place(self.file, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _TAGS:
                self.problem("a key that is not a plain name", place, path)
                continue
            key = str(key_node.value)
            if key in built:
                self.problem("this key is here twice", place, (*path, key))
            elif key == "<<" and not key_node.style:
                hint = "use `extends:` or `like:`, or write the keys out"
                self.problem("YAML merge keys are not read", place, (*path, key), hint)
            child = self.build(value_node, (*path, key), open_)
            built[key] = Node(child.value, place)
        return built

    def scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        what = _unusable(text)
        if tag in {"int", "float"} and len(text) > MAX_DIGITS:
            what = f"a number of more than {MAX_DIGITS} digits (text needs quotes)"
        if what:
            self.problem(what, Place(self.file, node.start_mark.line + 1), path)
        elif tag == "str":
            return text
        elif node.tag in _TAGS and _matches(tag, text):
            return _convert(tag, text)
        else:
            self.plain_tag(node, "str", path)
        return None

    def plain_tag(self, node: yaml.Node, kind: str, path: tuple[str, ...]) -> bool:
        if node.tag == f"tag:yaml.org,2002:{kind}":
            return True
        place = Place(self.file, node.start_mark.line + 1)
        shown = node.tag.replace("tag:yaml.org,2002:", "!!")
        self.problem(
            f"a YAML tag ({shown})", place, path, "write a plain value: tags are never followed"
        )
        return False

    def problem(
        self, what: str, place: Place, path: tuple[str, ...], hint: str | None = None
    ) -> None:
        self.problems.append(Problem(what, place, ".".join(path) or None, hint=hint))


def _matches(tag: str, text: str) -> bool:
    return any(name == tag and re.fullmatch(pattern, text) for name, pattern, _ in _SCALARS)


def _convert(tag: str, text: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    lower = text.lower()
    if lower.endswith((".inf", ".nan")):
        sign = -1.0 if lower.startswith("-") else 1.0
        return math.nan if lower.endswith(".nan") else sign * math.inf
    return float(text)
