"""Experiment files in, a validated `Experiment` out, with every problem at once.

Later wins: `extends` < the file < the variant < overrides. Mappings merge, lists replace, `null`
removes. `like` is resolved last, so that a change to a step reaches the steps that are like it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic

from ml_experiment import yamlio
from ml_experiment.errors import (
    MISSING,
    ExperimentError,
    Place,
    Problem,
    UserError,
    did_you_mean,
)
from ml_experiment.model import Experiment, Matrix, Replicates, Step, Work
from ml_experiment.yamlio import Node

NAMES = ("experiment.yaml", "experiment.yml", "experiment.json")
OVERRIDE = Place("the command line (--config or --set)")

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """An experiment and what is known of where it came from.

    Attributes:
        experiment: without the steps that are faulty, where there are problems.
        file: the experiment file, relative to `folder`.
        folder: the workspace: paths in the experiment are relative to it.
        variant: the chosen variant, or None.
        config: what was given as Snakemake's config: the file, the variant, overrides.
        overridden: whether a variant or an override changed what the file says.
        places: the file and line of each key.
        problems: what is wrong so far; references are checked by the plan.
        faulty: names of steps that exist but could not be read.
    """

    experiment: Experiment
    file: str
    folder: Path
    variant: str | None
    config: Mapping[str, Any]
    overridden: bool
    places: Mapping[KeyPath, Place]
    problems: tuple[Problem, ...]
    faulty: frozenset[str]

    def place(self, *path: str) -> Place | None:
        """Where a key was written, or the nearest one above it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


def find(folder: Path) -> Path:
    """The experiment file of a folder.

    Raises:
        UserError: there is none.
    """
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        "no experiment file here",
        where=str(folder),
        expected=" or ".join(NAMES),
        hint="`ml-experiment init` makes one; `--config experiment=FILE` names another",
    )


def load(file: Path, config: Mapping[str, Any] | None = None) -> Loaded:
    """Read an experiment; `config` is Snakemake's: `variant`, and keys that override the file's.

    Raises:
        UserError: no such file, or no such variant.
        ExperimentError: the file cannot be read as YAML or JSON, or is no experiment at all.
    """
    overrides = dict(config or {})
    overrides.pop("experiment", None)
    variant = overrides.pop("variant", None)
    root = _read_with_bases(file, ())
    problems: list[Problem] = []
    if variant is not None:
        root = _apply_variant(root, str(variant), problems)
    if overrides:
        root = merge(root, yamlio.of_data(overrides, OVERRIDE))
    root = _resolve_like(root, problems)
    experiment, faulty = _validate(root, problems)
    return Loaded(
        experiment=experiment,
        file=file.name,
        folder=file.resolve().parent,
        variant=None if variant is None else str(variant),
        config=MappingProxyType(dict(config or {})),
        overridden=variant is not None or bool(overrides),
        places=MappingProxyType(_places(root, (), {})),
        problems=tuple(problems),
        faulty=faulty,
    )


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings merge, lists and values replace, null removes."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        if node.value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, over.place)


def set_config(assignments: Iterable[str]) -> dict[str, Any]:
    """`--set steps.fit.params.C=3` as nested data, to be laid on the experiment.

    Raises:
        UserError: an assignment without `=`.
    """
    data: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(
                "not an assignment", value=text, expected="KEY=VALUE, such as steps.fit.params.C=3"
            )
        *above, last = key.split(".")
        inner = data
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UserError("two assignments contradict each other", value=text)
        inner[last] = yamlio.read_value(value)
    return data


def _read_with_bases(file: Path, seen: tuple[Path, ...]) -> Node:
    if file.resolve() in seen:
        raise UserError("`extends` leads back to the same file", where=str(file))
    root = yamlio.read(_text(file), _shown(file))
    if not isinstance(root.value, dict):
        problem = Problem("not an experiment", root.place, expected="a mapping with name and steps")
        raise ExperimentError([problem])
    base = root.value.get("extends")
    if base is None or not isinstance(base.value, str):
        return root
    below = _read_with_bases(file.parent / base.value, (*seen, file.resolve()))
    own = {key: node for key, node in root.value.items() if key != "extends"}
    return merge(below, Node(own, root.place))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        raise UserError("no such experiment file", where=_shown(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=_shown(file)) from None


def _shown(file: Path) -> str:
    """A path as the user would write it: relative to where they are, if it is below."""
    path = os.path.relpath(file)
    return str(file) if path.startswith("..") else path


def _apply_variant(root: Node, variant: str, problems: list[Problem]) -> Node:
    variants = _child(root, "variants")
    known = list(variants.value) if variants and isinstance(variants.value, dict) else []
    chosen = _child(variants, variant) if variants else None
    if chosen is None or not isinstance(chosen.value, dict):
        raise UserError(
            "no such variant",
            value=variant,
            expected=", ".join(known) if known else "the experiment declares no variants",
            hint=did_you_mean(variant, known),
        )
    for key, node in chosen.value.items():
        path = key.split(".")
        above = root
        for part in path[:-1]:
            found = _child(above, part)
            if found is None:
                names = list(above.value) if isinstance(above.value, dict) else []
                problems.append(
                    Problem(
                        f"{part} is not there to be changed",
                        node.place,
                        f"variants.{variant}.{key}",
                        hint=did_you_mean(part, names),
                    )
                )
                break
            above = found
        else:
            overlay = node
            for part in reversed(path):
                overlay = Node({part: overlay}, node.place)
            root = merge(root, overlay)
    return root


def _child(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node and isinstance(node.value, dict) else None


def _resolve_like(root: Node, problems: list[Problem]) -> Node:
    steps = _child(root, "steps")
    if steps is None or not isinstance(steps.value, dict) or not isinstance(root.value, dict):
        return root
    done: dict[str, Node] = {}
    for name in steps.value:
        _like(name, steps.value, done, (), problems)
    return replace(root, value={**root.value, "steps": Node(done, steps.place)})


def _like(
    name: str,
    steps: dict[str, Node],
    done: dict[str, Node],
    above: tuple[str, ...],
    problems: list[Problem],
) -> Node:
    if name in done:
        return done[name]
    node = steps[name]
    wish = _child(node, "like")
    if wish is not None and isinstance(wish.value, str) and isinstance(node.value, dict):
        key = f"steps.{name}.like"
        if wish.value in (*above, name):
            circle = " -> ".join((*above, name, wish.value))
            problems.append(Problem(f"a circle of `like`: {circle}", wish.place, key))
        elif wish.value not in steps:
            hint = did_you_mean(wish.value, [step for step in steps if step != name])
            problems.append(Problem("no such step", wish.place, key, wish.value, hint=hint))
        else:
            model = _like(wish.value, steps, done, (*above, name), problems)
            own = {part: value for part, value in node.value.items() if part != "like"}
            node = merge(model, Node(own, node.place))
    done[name] = node
    return node


def _places(node: Node, path: KeyPath, into: dict[KeyPath, Place]) -> dict[KeyPath, Place]:
    into[path] = node.place
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            _places(child, (*path, key), into)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            _places(child, (*path, str(index)), into)
    return into


def _validate(root: Node, problems: list[Problem]) -> tuple[Experiment, frozenset[str]]:
    """The experiment, without the steps that do not fit the model; their names."""
    data = root.plain()
    data.pop("extends", None)
    faulty: set[str] = set()
    for _ in range(2):  # once to find what is faulty, once more without it
        try:
            return Experiment.model_validate(data), frozenset(faulty)
        except pydantic.ValidationError as error:
            items = [(_cut(data, item["loc"]), item) for item in error.errors(include_url=False)]
            bad = {path for path, _ in items}
            problems.extend(
                _problem(root, data, path, item)
                for path, item in items
                if item["type"] == "missing" or not _covered(path, bad)
            )
        for path in bad:
            if path[:1] == ("steps",) and len(path) > 1:
                faulty.add(path[1])
                data["steps"].pop(path[1], None)
            elif path:
                data.pop(path[0], None)
    raise ExperimentError(problems)


def _cut(data: Any, loc: tuple[int | str, ...]) -> KeyPath:
    """The part of pydantic's location that is in the data (it adds the branches of unions)."""
    path: list[str] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(str(part))
    return tuple(path)


def _covered(path: KeyPath, others: set[KeyPath]) -> bool:
    """Whether a more precise problem is known (the other branches of a union failed as well)."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def _value(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part] if isinstance(data, dict) else data[int(part)]
    return data


def _problem(root: Node, data: Any, path: KeyPath, item: Any) -> Problem:
    places = _places(root, (), {})
    place = next(
        (places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places), None
    )
    key = ".".join(path) or None
    kind = item["type"]
    if kind == "missing":
        missing = str(item["loc"][-1])
        return Problem(f"the key `{missing}` is missing", place, key, expected=_expected((missing,)))
    if kind == "extra_forbidden":
        known = _model_at(path[:-1]).model_fields
        return Problem("unknown key", place, key, hint=did_you_mean(path[-1], known))
    if item["loc"][-1:] == ("[key]",):
        hint = "letters, digits, _ and - (an axis: no -), beginning with a letter"
        return Problem("not a name", place, key, path[-1], expected=hint)
    what = "wrong type" if re.search(r"_type$|_parsing$", kind) else "not allowed here"
    value = _value(data, path) if path else MISSING
    return Problem(what, place, key, _listed(value), expected=_expected(path))


def _listed(value: Any) -> Any:
    """Tuples as the lists that the user wrote."""
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value


def _model_at(path: KeyPath) -> type[pydantic.BaseModel]:
    if len(path) == 2 and path[0] == "steps":
        return Step
    if len(path) > 2 and path[2] == "cases":
        return Work
    if path[-1:] == ("replicates",):
        return Replicates
    return Experiment


def _expected(path: KeyPath) -> str | None:
    """The description of the innermost key that the model knows."""
    for part in reversed(path):
        for model in (Experiment, Step, Work, Matrix, Replicates):
            if part in model.model_fields:
                return model.model_fields[part].description
    return None
