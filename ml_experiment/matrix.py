"""A step's matrix: its axes, and the combinations that are jobs, by the rules of GitHub's."""

from __future__ import annotations

import collections
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_experiment import paths
from ml_experiment.errors import MISSING, did_you_mean
from ml_experiment.model import AXIS, AxisValues, Matrix, Replicates, Scalar, Step, Work
from ml_experiment.placeholders import as_text
from ml_experiment.plan import Replicate

Wrong = tuple[tuple[str, ...], str, object, str | None]  # keys below the step, what, value, hint
Axes = Mapping[str, tuple[Scalar, ...]]

# Names of Snakemake's wildcards, and columns of a table and its summary.
RESERVED = frozenset(
    (
        "get",
        "high",
        "items",
        "keys",
        "low",
        "mean",
        "metric",
        "n",
        "replicate",
        "sd",
        "seed",
        "value",
    )
)

MAX_JOBS = 100_000  # of one step: far beyond what Snakemake plans in a reasonable time


def axes(step: Step, declared: Mapping[str, AxisValues], wrong: list[Wrong]) -> Axes:
    """Axis -> values, in declared order."""
    matrix = step.matrix
    found: dict[str, tuple[Scalar, ...]] = {}
    names = list(matrix.axes if isinstance(matrix, Matrix) else matrix)
    for axis in names:
        if axis in declared:
            found[axis] = declared[axis]
        else:
            hint = did_you_mean(axis, declared) or "declare it in `axes:`"
            wrong.append((("matrix",), "no such axis", axis, hint))
    if isinstance(matrix, Matrix):
        found.update(matrix.__pydantic_extra__)
        names.extend(matrix.__pydantic_extra__)
        if not names:
            hint = "name axes, or give them here, as method: [forest, logistic]"
            wrong.append((("matrix",), "a matrix without axes", MISSING, hint))
        names.extend({name for entry in matrix.include for name in entry} - {*names})
    wrong.extend((("matrix",), *problem) for problem in _of_names(names))
    for axis, values in found.items():
        counts = collections.Counter(paths.folded(paths.slug(value)) for value in values)
        twice = sorted(slug for slug, count in counts.items() if count > 1)
        if twice:
            what = f"two values of {axis} would write the same files"
            wrong.append((("matrix",), what, ", ".join(twice), "remove one"))
    return found


def _of_names(names: list[str]) -> Iterator[tuple[str, object, str]]:
    """What is wrong with the names of axes: what, value, hint."""
    for axis, count in collections.Counter(names).items():
        if not re.fullmatch(AXIS, axis):
            yield "not a name", axis, "letters, digits and _, beginning with a letter"
        if hasattr(list, axis) or axis in RESERVED:  # Snakemake's wildcards are a list with names
            yield "an axis cannot have this name", axis, "choose another"
        if count > 1:
            yield "an axis is here twice", axis, "name it once"


def combinations(step: Step, axes: Axes, wrong: list[Wrong]) -> list[dict[str, Scalar]]:
    """The product of the axes, less `exclude`; then `include` adds values or combinations."""
    size = math.prod(map(len, axes.values()))
    if size > MAX_JOBS:
        hint = "fewer values, or several steps"
        wrong.append((("matrix",), f"{size:,} combinations", MISSING, hint))
        return []
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if not isinstance(step.matrix, Matrix):
        return product
    everything = product
    for index, entry in enumerate(step.matrix.exclude):
        if not any(_agrees(entry, combination, entry) for combination in everything):
            unknown = [axis for axis in entry if axis not in axes]
            near = did_you_mean(unknown[0], axes) if unknown else None
            path = ("matrix", "exclude", str(index))
            wrong.append((path, "excludes nothing", dict(entry), near))
        product = [values for values in product if not _agrees(entry, values, entry)]
    original = [dict(combination) for combination in product]
    for index, entry in enumerate(step.matrix.include):
        overlap = [axis for axis in entry if axis in axes]
        targets = [
            combination
            for combination, before in zip(product, original, strict=False)
            if _agrees(entry, before, overlap)
        ]
        for combination in targets:
            combination.update({axis: entry[axis] for axis in entry if axis not in axes})
        if not targets and len(overlap) == len(axes):
            product.append({**{axis: entry[axis] for axis in axes}, **entry})
        elif not targets:
            missing = ", ".join(axis for axis in axes if axis not in entry)
            what = "a new combination must name every axis"
            path = ("matrix", "include", str(index))
            wrong.append((path, what, dict(entry), f"add a value for {missing}"))
    if not product:
        wrong.append((("matrix",), "no combination is left", "exclude", "exclude fewer"))
    return product


def check_cases(step: Step, axes: Axes) -> Iterator[Wrong]:
    """What is wrong with the keys of `cases`."""
    added = step.matrix.include if isinstance(step.matrix, Matrix) else ()
    for axis, cases in step.cases.items():
        path = ("cases", axis)
        if axis not in axes:
            yield path, "not an axis of this step", axis, did_you_mean(axis, axes)
            continue
        known = [as_text(value) for value in axes[axis]]
        known += [as_text(entry[axis]) for entry in added if axis in entry]
        for value in cases:
            if value not in known:
                yield (*path, value), f"not a value of {axis}", value, did_you_mean(value, known)


def _agrees(entry: Mapping[str, Scalar], combination: Mapping[str, Scalar], axes: Any) -> bool:
    return all(
        axis in combination
        and combination[axis] == entry[axis]
        and isinstance(combination[axis], bool) == isinstance(entry[axis], bool)
        for axis in axes
    )


def merged(step: Step, chosen: list[tuple[str, str]]) -> Work:
    """A step's keys with those of its cases laid on them, axis by axis."""
    keys = {name: getattr(step, name) for name in Work.model_fields}
    for axis, value in chosen:
        case = step.cases[axis][value]
        for name in sorted(case.model_fields_set):
            own = getattr(case, name)
            keys[name] = {**keys[name], **own} if name in {"params", "inputs"} else own
        if "run" in case.model_fields_set:
            keys["call"] = None
        elif "call" in case.model_fields_set:
            keys["run"] = None
    return Work.model_construct(**keys)


def replicates(step: Step) -> tuple[Replicate, ...]:
    declared = step.replicates
    if declared is None:
        return (Replicate(),)
    if isinstance(declared, Replicates):
        return tuple(Replicate(str(seed), i, seed) for i, seed in enumerate(declared.seeds))
    return tuple(Replicate(str(index), index) for index in range(declared))
