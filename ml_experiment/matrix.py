"""A step's matrix: its axes, and the combinations that are jobs, by the rules of GitHub's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ml_experiment import plan
from ml_experiment.errors import did_you_mean
from ml_experiment.model import AxisValues, Matrix, Scalar, Step
from ml_experiment.placeholders import as_text

Wrong = tuple[tuple[str, ...], str, object, str | None]  # keys below the step, what, value, hint
Axes = Mapping[str, tuple[Scalar, ...]]

RESERVED = {"get", "items", "keys", "metric", "replicate", "seed", "value"}


def axes(step: Step, declared: Mapping[str, AxisValues], wrong: list[Wrong]) -> Axes:
    """Axis -> values, in declared order."""
    matrix = step.matrix
    found: dict[str, tuple[Scalar, ...]] = {}
    for axis in matrix.axes if isinstance(matrix, Matrix) else matrix:
        if axis in declared:
            found[axis] = declared[axis]
        else:
            hint = did_you_mean(axis, declared) or "declare it in `axes:`"
            wrong.append((("matrix",), "no such axis", axis, hint))
    if isinstance(matrix, Matrix):
        found.update(matrix.__pydantic_extra__)
    for axis, values in found.items():
        if hasattr(list, axis) or axis in RESERVED:  # Snakemake's wildcards are a list with names
            wrong.append((("matrix",), "an axis cannot have this name", axis, "choose another"))
        slugs = [plan.slug(value) for value in values]
        twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if twice:
            what = f"two values of {axis} would write the same files"
            wrong.append((("matrix",), what, ", ".join(twice), "remove one"))
    return found


def combinations(step: Step, axes: Axes, wrong: list[Wrong]) -> list[dict[str, Scalar]]:
    """The product of the axes, less `exclude`; then `include` adds values or combinations."""
    product = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    if not isinstance(step.matrix, Matrix):
        return product
    for index, entry in enumerate(step.matrix.exclude):
        kept = [combination for combination in product if not _agrees(entry, combination, entry)]
        if len(kept) == len(product):
            unknown = [axis for axis in entry if axis not in axes]
            hint = did_you_mean(unknown[0], axes) if unknown else None
            path = ("matrix", "exclude", str(index))
            wrong.append((path, "excludes nothing", dict(entry), hint))
        product = kept
    original = [dict(combination) for combination in product]
    for index, entry in enumerate(step.matrix.include):
        overlap = [axis for axis in entry if axis in axes]
        targets = [
            combination
            for combination, before in zip(product, original, strict=False)
            if _agrees(entry, before, overlap)
        ]
        for combination in targets:
            combination.update(entry)
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
