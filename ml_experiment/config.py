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
from ml_experiment.model import Experiment, described, fields
from ml_experiment.yamlio import Node

NAMES = ("experiment.yaml", "experiment.yml", "experiment.json")
OVERRIDE = Place("the command line (--config or --set)")

MAX_CHAIN = 100  # of steps that are like one another

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
        faulty: paths of what is there but could not be read, such as `("steps", "fit")`.
    """

    experiment: Experiment
    file: str
    folder: Path
    variant: str | None
    config: Mapping[str, Any]
    overridden: bool
    places: Mapping[KeyPath, Place]
    problems: tuple[Problem, ...]
    faulty: frozenset[KeyPath]

    def place(self, *path: str) -> Place | None:
        """Where a key was written, or the nearest one above it."""
        return _nearest(self.places, path)[1]


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
    declared = _read_with_bases(file, (), None)
    problems: list[Problem] = []
    root = declared
    if variant is not None:
        root = _apply_variant(root, str(variant), problems)
    if overrides:
        root = merge(root, yamlio.of_data(overrides, OVERRIDE))
    root = _finished(root, problems)
    experiment, faulty = _validate(root, problems)
    problems.extend(_of_other_variants(declared, variant, problems))
    return Loaded(
        experiment=experiment,
        file=file.name,
        folder=file.resolve().parent,
        variant=None if variant is None else str(variant),
        overridden=variant is not None or bool(overrides),
        places=MappingProxyType(_places(root, (), {})),
        problems=tuple(problems),
        faulty=faulty,
    )


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings merge, lists and values replace, null removes.

    What was removed stays as a mark, so that a step's null also removes what `like` would bring.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        if key not in merged:
            merged[key] = node
        elif node.value is None:
            merged[key] = Node(None, node.place, removed=True)
        else:
            merged[key] = merge(merged[key], node)
    return Node(merged, over.place)


def set_config(assignments: Iterable[str]) -> dict[str, Any]:
    """`--set steps.fit.params.C=3` as nested data, to be laid on the experiment.

    Raises:
        UserError: an assignment without `=`, or two that contradict each other.
        ExperimentError: a value that is not YAML.
    """
    data: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(
                "not an assignment", value=text, expected="KEY=VALUE, such as steps.fit.params.C=3"
            )
        *above, last = key.split(".")
        inner: Any = data
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UserError("this contradicts an assignment before it", value=text)
        if isinstance(inner.get(last), dict):
            raise UserError("this contradicts an assignment before it", value=text)
        inner[last] = yamlio.read_value(value, f"--set {key}")
    return data


def _read_with_bases(file: Path, seen: tuple[Path, ...], asked: Place | None) -> Node:
    if file.resolve() in seen:
        raise UserError("`extends` leads back to the same file", where=asked, value=_shown(file))
    root = yamlio.read(_text(file, asked), _shown(file))
    if not isinstance(root.value, dict):
        problem = Problem("not an experiment", root.place, expected="a mapping with name and steps")
        raise ExperimentError([problem])
    base = root.value.get("extends")
    if base is None or not isinstance(base.value, str):
        return root
    below = _read_with_bases(file.parent / base.value, (*seen, file.resolve()), base.place)
    own = {key: node for key, node in root.value.items() if key != "extends"}
    return merge(below, Node(own, root.place))


def _text(file: Path, asked: Place | None) -> str:
    """A file's text; `asked` is the place of the `extends` that names it."""
    where = _shown(file) if asked is None else asked
    value = MISSING if asked is None else _shown(file)
    try:
        return file.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError("no such experiment file", where=where, value=value) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        place = Place(_shown(file), line)
        raise UserError("not UTF-8 text", where=place, hint="save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be read: {what}", where=where, value=value) from None


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
    visible = _like_resolved(root, [])
    for key, node in chosen.value.items():
        wrong = _absent(visible, key.split("."), node.place, f"variants.{variant}.{key}")
        if wrong is not None:
            problems.append(wrong)
            continue
        overlay = node
        for part in reversed(key.split(".")):
            overlay = Node({part: overlay}, node.place)
        root = merge(root, overlay)
    return root


def _absent(root: Node, path: list[str], place: Place, key: str) -> Problem | None:
    """What is wrong with a variant's key: all of it but the last part has to be there."""
    above = root
    for index, part in enumerate(path):
        found = _child(above, part)
        last = index == len(path) - 1
        if found is None and (not part or not last or not isinstance(above.value, dict)):
            names = list(above.value) if isinstance(above.value, dict) else []
            hint = did_you_mean(part, names) or f"write it out at {'.'.join(path[:index])} first"
            return Problem(f"{part} is not there to be changed", place, key, hint=hint)
        above = found or above
    return None


def _of_other_variants(root: Node, chosen: object, known: list[Problem]) -> list[Problem]:
    """What is wrong with the variants that were not chosen, where the rest is right."""
    variants = _child(root, "variants")
    if known or variants is None or not isinstance(variants.value, dict):
        return []
    problems: list[Problem] = []
    for name, node in variants.value.items():
        if name != str(chosen) and isinstance(node.value, dict):
            found: list[Problem] = []
            _validate(_finished(_apply_variant(root, name, found), found), found)
            problems.extend(
                replace(problem, what=f"{problem.what} (in the variant {name})")
                if not (problem.key or "").startswith("variants.")
                else problem
                for problem in found
            )
    return problems


def _finished(root: Node, problems: list[Problem]) -> Node:
    """After the last merge: `like` resolved, what was removed gone."""
    return _pruned(_like_resolved(root, problems))


def _pruned(node: Node) -> Node:
    if isinstance(node.value, dict):
        kept = {key: _pruned(n) for key, n in node.value.items() if not n.removed}
        return replace(node, value=kept)
    return node


def _child(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node and isinstance(node.value, dict) else None


def _like_resolved(root: Node, problems: list[Problem]) -> Node:
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
        elif len(above) > MAX_CHAIN:
            problems.append(Problem("too long a chain of `like`", wish.place, key, wish.value))
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


def _validate(root: Node, problems: list[Problem]) -> tuple[Experiment, frozenset[KeyPath]]:
    """The experiment without what does not fit the model, and the paths of that."""
    data = root.plain()
    faulty: set[KeyPath] = set()
    if "extends" in data and data["extends"] is not None:
        expected = "the path of a file, and in an experiment file only"
        _, place = _nearest(_places(root, (), {}), ("extends",))
        problems.append(Problem("not allowed here", place, "extends", expected=expected))
    data.pop("extends", None)
    for _ in range(2):  # once to find what is faulty, once more without it
        try:
            return Experiment.model_validate(data), frozenset(faulty)
        except pydantic.ValidationError as error:
            found = _by_path(data, error)
        places = _places(root, (), {})
        problems.extend(_problem(places, data, path, item) for path, item in found.items())
        for path in found:
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


def _remove(data: dict[str, Any], path: KeyPath, faulty: set[KeyPath]) -> None:
    """Take out the step, axis, parameter or variant that is faulty, or the whole key."""
    inner = data.get(path[0])
    if len(path) > 1 and isinstance(inner, dict):
        inner.pop(path[1], None)
        faulty.add(path[:2])
    else:
        data.pop(path[0], None)
        faulty.add(path[:1])


def _nearest(places: Mapping[KeyPath, Place], path: KeyPath) -> tuple[KeyPath, Place | None]:
    """The innermost part of a path that was written somewhere, and where."""
    for end in range(len(path), -1, -1):
        if path[:end] in places:
            return path[:end], places[path[:end]]
    return (), None


def _problem(places: Mapping[KeyPath, Place], data: Any, path: KeyPath, item: Any) -> Problem:
    _, place = _nearest(places, path)
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
    value = data
    for part in path:
        value = value[part] if isinstance(value, dict) else value[int(part)]
    what = "wrong type" if _is_type(item) else "not allowed here"
    return Problem(what, place, key, _listed(value), expected=expected)


def _listed(value: Any) -> Any:
    """Tuples as the lists that the user wrote."""
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value
