"""Experiment files in, a validated `Experiment` out, with every problem at once.

Later wins: `extends` < the file < the variant < overrides. Mappings merge, lists replace, `null`
removes. `like` is resolved last, so that a change to a step reaches the steps that are like it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ml_experiment import yamlio
from ml_experiment.errors import (
    MISSING,
    ExperimentError,
    Place,
    Problem,
    UserError,
    did_you_mean,
)
from ml_experiment.model import Experiment
from ml_experiment.validate import validate
from ml_experiment.yamlio import KeyPath, Node

NAMES = ("experiment.yaml", "experiment.yml", "experiment.json")
OVERRIDE = Place("the command line (--config or --set)")

MAX_CHAIN = 100  # of steps that are like one another


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
        likes: step -> the step that it is like, which the experiment does not tell any more.
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
    likes: Mapping[str, str]

    def place(self, *path: str) -> Place | None:
        """Where a key was written, or the nearest one above it."""
        return yamlio.nearest_place(self.places, path)


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


def load(file: Path, config: Mapping[str, Any] | None = None, *, text: str | None = None) -> Loaded:
    """Read an experiment; `config` is Snakemake's: `variant`, and keys that override the file's.

    `text` is read in place of what the file holds, to see what would come of a change.

    Raises:
        UserError: no such file, or no such variant.
        ExperimentError: the file cannot be read as YAML or JSON, or is no experiment at all.
    """
    overrides = dict(config or {})
    overrides.pop("experiment", None)
    variant = overrides.pop("variant", None)
    declared = _read_with_bases(file, (), None, text)
    problems: list[Problem] = []
    root = declared
    if variant is not None:
        root = _apply_variant(root, str(variant), problems)
    if overrides:
        root = merge(root, yamlio.of_data(overrides, OVERRIDE))
    likes = _likes(root)
    root = _finished(root, problems)
    experiment, faulty = validate(root, problems)
    problems.extend(_of_other_variants(declared, variant, problems))
    return Loaded(
        experiment=experiment,
        file=file.name,
        folder=file.resolve().parent,
        variant=None if variant is None else str(variant),
        config=MappingProxyType(dict(config or {})),
        overridden=variant is not None or bool(overrides),
        places=MappingProxyType(yamlio.places(root)),
        problems=tuple(problems),
        faulty=faulty,
        likes=MappingProxyType(likes),
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


def _read_with_bases(
    file: Path, seen: tuple[Path, ...], asked: Place | None, text: str | None = None
) -> Node:
    if file.resolve() in seen:
        raise UserError("`extends` leads back to the same file", where=asked, value=_shown(file))
    root = yamlio.read(_text(file, asked) if text is None else text, _shown(file))
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
            hint = did_you_mean(part, names) or f"{'.'.join(path[:index])} has no keys"
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
            validate(_finished(_apply_variant(root, name, found), found), found)
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


def _likes(root: Node) -> dict[str, str]:
    steps = _child(root, "steps")
    found = steps.value if steps and isinstance(steps.value, dict) else {}
    wishes = {name: _child(node, "like") for name, node in found.items()}
    return {name: str(wish.value) for name, wish in wishes.items() if wish and wish.value}


def _like_resolved(root: Node, problems: list[Problem]) -> Node:
    steps = _child(root, "steps")
    if steps is None or not isinstance(steps.value, dict) or not isinstance(root.value, dict):
        return root
    written = {name: _params_from(node) for name, node in steps.value.items()}
    done: dict[str, Node] = {}
    for name in written:
        _like(name, written, done, (), problems)
    return replace(root, value={**root.value, "steps": Node(done, steps.place)})


def _params_from(node: Node) -> Node:
    """`params: tune.best.params` in its long form, so that what `like` brings stays below it."""
    if not isinstance(node.value, dict):
        return node
    keys = dict(node.value)
    params = keys.get("params")
    if params is not None and isinstance(params.value, str):
        keys["params_from"] = keys.pop("params")
    cases = _child(node, "cases")
    if cases is not None and isinstance(cases.value, dict):
        keys["cases"] = replace(
            cases,
            value={
                axis: replace(of, value={v: _params_from(work) for v, work in of.value.items()})
                if isinstance(of.value, dict)
                else of
                for axis, of in cases.value.items()
            },
        )
    return replace(node, value=keys)


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
