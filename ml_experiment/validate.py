"""An experiment as nodes, held against the model; every mismatch in words of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pydantic

from ml_experiment.errors import ExperimentError, Place, Problem, did_you_mean
from ml_experiment.model import Experiment, described, fields
from ml_experiment.yamlio import KeyPath, Node, nearest_place, places


def validate(root: Node, problems: list[Problem]) -> tuple[Experiment, frozenset[KeyPath]]:
    """The experiment without what does not fit the model, and the paths of that."""
    data = root.plain()
    faulty: set[KeyPath] = set()
    if "extends" in data and data["extends"] is not None:
        expected = "the path of a file, and in an experiment file only"
        place = nearest_place(places(root), ("extends",))
        problems.append(Problem("not allowed here", place, "extends", expected=expected))
    data.pop("extends", None)
    data.pop("$schema", None)  # editors of JSON write it
    for _ in range(2):  # once to find what is faulty, once more without it
        try:
            return Experiment.model_validate(data), frozenset(faulty)
        except pydantic.ValidationError as error:
            found = _by_path(data, error)
        written = places(root)
        problems.extend(_problem(written, data, path, item) for path, item in found.items())
        for path, item in found.items():
            if item["type"] == "extra_forbidden":
                _forget(data, path, faulty)
            else:
                _remove(data, path, faulty)
        data.setdefault("name", "?")  # so that the rest can be checked as well
    raise ExperimentError(problems)


def _by_path(data: Any, error: pydantic.ValidationError) -> dict[KeyPath, Any]:
    """One of pydantic's findings for each place: the most precise.

    Where several forms are allowed, it tells of each that did not fit.
    """
    found: dict[KeyPath, Any] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = _cut(data, item["loc"])
        if item["type"] == "missing":
            path = (*path, str(item["loc"][-1]))
        if path not in found or _is_type(found[path]):
            found[path] = item
    above = {path[:end] for path in found for end in range(len(path))}
    return {path: item for path, item in found.items() if path not in above}


def _is_type(item: Any) -> bool:
    return re.search(r"_type$|_parsing$", item["type"]) is not None


def _cut(data: Any, loc: tuple[Any, ...]) -> KeyPath:
    """The part of pydantic's location that is in the data (it adds the branches of unions)."""
    path: list[str] = []
    for part in loc:
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, tuple) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]
        else:
            continue
        path.append(str(part))
    return tuple(path)


def _forget(data: dict[str, Any], path: KeyPath, faulty: set[KeyPath]) -> None:
    """Take out an unknown key; the whole step where it was probably one that the step needs."""
    inner: Any = data
    for part in path[:-1]:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):  # something above it is gone already
        return
    inner.pop(path[-1], None)
    whole = inner.keys() & {"run", "call", "cases"} and inner.keys() & {"outputs", "metrics"}
    if len(path) == 3 and path[0] == "steps" and not whole:
        _remove(data, path, faulty)


def _remove(data: dict[str, Any], path: KeyPath, faulty: set[KeyPath]) -> None:
    """Take out the step, axis, parameter or variant that is faulty, or the whole key."""
    inner = data.get(path[0])
    if len(path) > 1 and isinstance(inner, dict):
        inner.pop(path[1], None)
        faulty.add(path[:2])
    else:
        data.pop(path[0], None)
        faulty.add(path[:1])


def _problem(written: Mapping[KeyPath, Place], data: Any, path: KeyPath, item: Any) -> Problem:
    place = nearest_place(written, path)
    key, kind = ".".join(path), item["type"]
    expected = described(path)
    if kind == "missing":
        return Problem(f"the key `{path[-1]}` is missing", place, key, expected=expected)
    if kind == "extra_forbidden":
        known = [name for name in fields(path[:-1]) if name != "extends"]
        hint = did_you_mean(path[-1], known)
        return Problem("unknown key", place, key, hint=hint)
    if item["loc"][-1:] == ("[key]",):
        rule = "letters, digits, _ and - (an axis: no -), beginning with a letter"
        return Problem("not a name", place, key, path[-1], expected=rule)
    value = _value(data, path)
    what = "wrong type" if _is_type(item) else "not allowed here"
    return Problem(what, place, key, _listed(value), expected=expected)


def _value(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part] if isinstance(data, dict) else data[int(part)]
    return data


def _listed(value: Any) -> Any:
    """Tuples as the lists that the user wrote."""
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value
