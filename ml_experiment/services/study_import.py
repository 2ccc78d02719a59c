"""Trials of an Optuna storage as the first ones of a study: what they tried is tried here too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment import space
from ml_experiment.errors import UserError
from ml_experiment.hashing import canonical
from ml_experiment.placeholders import as_text
from ml_experiment.plan import Plan, StepPlan
from ml_experiment.services import study_edits
from ml_experiment.services.studies import cases, chosen, studies
from ml_experiment.services.study_edits import Change
from ml_experiment.space import Parameter

if TYPE_CHECKING:
    from ml_experiment.adapters.optuna_import import Earlier, Found

NO_ROOM = "no trial of this study is left for them"


@dataclass(frozen=True)
class Taken:
    """A trial that is taken over.

    Attributes:
        number: in the study that it comes from.
        point: what it tried, of what is searched here.
    """

    number: int
    point: Mapping[str, Any]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Import:
    """What is taken from a storage.

    Attributes:
        study: its name there.
        ordered: whether the best are first.
        left: why trials are left out -> their numbers.
        others: how many trials there are not complete.
        first: the number here of the first of them.
        again: how many trials of this study have been suggested that will be others now.
    """

    study: str
    change: Change | None
    taken: tuple[Taken, ...]
    ordered: bool
    left: Mapping[str, Sequence[int]]
    others: int
    first: int
    again: int


def propose(
    plan: Plan,
    file: Path,
    name: str,
    storage: str,
    *,
    study: str | None = None,
    case: str | None = None,
    most: int | None = None,
) -> Import:
    """What would be written. Writes nothing, and nothing into the storage.

    The best first, where there is one objective: not all may find room, and the sampler knows the
    results of the first trials longest.

    Args:
        plan: the experiment.
        file: its file.
        name: of the study that gets the trials.
        storage: of Optuna.
        study: the name of a study in it.
        case: the case that gets them; all where it is None.
        most: at most so many.

    Raises:
        UserError: there is no such study, storage or study in it, or no place in the file.
    """
    from ml_experiment.adapters import optuna_import  # noqa: PLC0415  # half a second of Optuna

    step = chosen(plan, name)
    path, labels = _target(step, case)
    assert step.study is not None
    searches = [step.study.searches[label] for label in labels]
    count = min(step.study.counts[label] for label in labels)
    found = optuna_import.read(storage, study)
    if any(search.function for search in searches):
        raise UserError("no trial can be taken over where a function draws the space", value=name)
    held = searches[0].enqueued
    spaces = [search.parameters for search in searches]
    taken, left = _sifted(_ordered(found), spaces, held, max(0, count - len(held)), most)
    items = [dict(each.point) for each in taken]
    study_edits.check_place(plan, file, path, items)
    made = study_edits.change(file, path, items) if items else None
    rows = studies(plan, name, case)
    again = max(sum(1 for trial in row.trials if trial.number >= len(held)) for row in rows)
    return Import(
        found.study, made, tuple(taken), len(found.directions) == 1, left, found.others,
        len(held), again if items else 0,
    )  # fmt: skip


def _ordered(found: Found) -> list[Earlier]:
    """The best first, where there is one objective; what broke a constraint last."""
    sign = -1.0 if found.directions[0] == "maximize" else 1.0
    ordered = len(found.directions) == 1
    return sorted(
        found.trials,
        key=lambda t: (not t.allowed, sign * t.values[0] if ordered else 0.0, t.number),
    )


def _sifted(
    trials: Sequence[Earlier],
    spaces: Sequence[tuple[Parameter, ...]],
    held: Sequence[Mapping[str, Any]],
    room: int,
    most: int | None,
) -> tuple[list[Taken], dict[str, list[int]]]:
    """The trials that are taken over, and why others are not."""
    known = {canonical(point) for point in held}
    taken: list[Taken] = []
    left: dict[str, list[int]] = {}
    for trial in trials:
        point, why = _in_all(spaces, trial.params)
        if why is None and canonical(point) in known:
            why = "the same as another one"
        elif why is None and len(taken) == room:
            why = NO_ROOM
        elif why is None and len(taken) == most:
            why = f"more than {most}"
        if why is not None:
            left.setdefault(why, []).append(trial.number)
        else:
            known.add(canonical(point))
            taken.append(Taken(trial.number, point, trial.values))
    return taken, left


def _target(step: StepPlan, asked: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The list that gets them, and the cases that go by it."""
    assert step.study is not None
    study, found = step.study.study, cases(step, asked)
    labels = [case.label for case in found]
    if asked is None:
        own = [
            f"{axis}={value}"
            for axis, values in study.cases.items()
            for value, tuning in values.items()
            if "enqueue" in tuning.model_fields_set
        ]
        if own:
            what = f"{', '.join(own)} has an `enqueue` of its own"
            raise UserError(what, hint=f"take them over for each case: --case {own[0]}")
        return ("studies", step.name, "enqueue"), labels
    if "," in asked:
        what = "the keys of a case are those of one value of one axis"
        raise UserError(what, value=asked, expected="AXIS=VALUE")
    axis = asked.partition("=")[0]
    value = as_text(found[0].values[axis])
    tuning = study.cases.get(axis, {}).get(value)
    if study.enqueue and (tuning is None or "enqueue" not in tuning.model_fields_set):
        what = f"a list for {asked} would take the place of studies.{step.name}.enqueue"
        raise UserError(what, hint="move that into the cases first")
    return ("studies", step.name, "cases", axis, value, "enqueue"), labels


def _in_all(
    spaces: Sequence[tuple[Parameter, ...]], params: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """What to try of what was tried, and why it cannot be in every one of some spaces."""
    point: dict[str, Any] = {}
    for parameters in spaces:
        point, why = placed(parameters, params)
        if why is not None:
            return {}, why
    return point, None


def placed(
    parameters: tuple[Parameter, ...], params: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """The point of a space that some values are, and why they are none.

    What is fixed here is left out, and so is what is not said there: the sampler adds it.
    """
    unknown = sorted({*params} - {parameter.name for parameter in parameters})
    if unknown:
        return {}, f"{unknown[0]} is not searched here"
    every: dict[str, Any] = {}
    for parameter in parameters:
        name = parameter.name
        there = space.exists(parameter, every)
        if parameter.kind == "fixed" and there:
            every[name] = parameter.choices[0]
        if name not in params:
            continue
        value = _typed(parameter, params[name])
        if not there:
            parents = ", ".join(parent for parent, _ in parameter.when)
            return {}, f"{name} does not exist here with what {parents} is"
        if not parameter.has(value):
            return {}, f"{name} is not {_allowed(parameter)}"
        every[name] = value
    drawn = {p.name: every[p.name] for p in parameters if p.name in params and p.kind != "fixed"}
    return drawn, None if drawn else "nothing of it is searched here"


def _typed(parameter: Parameter, value: Any) -> Any:
    """1.0 for an int is 1, as 1 for a float is 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if parameter.kind == "int" and float(value).is_integer():
        return int(value)
    return float(value) if parameter.kind == "float" else value


def _allowed(parameter: Parameter) -> str:
    if parameter.kind in ("choice", "fixed"):
        return "one of " + ", ".join(map(as_text, parameter.choices))
    step = f" in steps of {parameter.step:g}" if parameter.step else ""
    return f"from {parameter.low:g} to {parameter.high:g}{step}"
