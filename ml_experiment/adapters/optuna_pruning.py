"""Optuna's pruners: as a table for the trial that is to come, and again when it is told.

A table is worked out from the trials that the study was told before, so that a trial needs nobody
to ask. It says what Optuna's pruner would say of any reports; when the trial is told its reports
are shown to that pruner itself, which has to agree.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ml_experiment.adapters.optuna_samplers import check_options
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.search import Result, Search

PRUNERS = {
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "patient": "PatientPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
}
MOST_STEPS = 10**9  # up to which rungs are listed


class _Seen(optuna.Study):
    """A study as one trial sees it: that trial, and those that were told before it began."""

    def __init__(self, study: optuna.Study, storage: Any, numbers: set[int]) -> None:
        super().__init__(study.study_name, storage, pruner=study.pruner)
        self._numbers = numbers

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:  # noqa: FBT001, FBT002
        """Its trials only."""
        found = super().get_trials(deepcopy, states)
        return [trial for trial in found if trial.number in self._numbers]

    @property
    def best_trial(self) -> FrozenTrial:
        """The best of its trials; Optuna's own asks the storage, which knows later ones as well.

        Raises:
            ValueError: none of them is complete and allowed.
        """
        complete: list[FrozenTrial] = self.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        allowed = [t for t in complete if all(value <= 0 for value in t.constraints.values())]
        best = max if self.direction == StudyDirection.MAXIMIZE else min
        return best(allowed, key=lambda trial: trial.value or 0.0)


class Pruning:
    """The pruner of one study.

    Args:
        search: the declaration.
        storage: of the study.

    Raises:
        UserError: there is no such pruner, or it does not take these options.
    """

    def __init__(self, search: Search, storage: Any) -> None:
        self.search = search
        self.storage = storage
        self.pruner = made(search.pruner, search.pruner_options) if search.pruner else None

    def begin(self, study: optuna.Study) -> None:
        """Hyperband makes its brackets when it is asked for the first time: now."""
        if isinstance(self.pruner, HyperbandPruner):
            self.pruner.prune(study, optuna.trial.create_trial(state=TrialState.RUNNING))

    def table(self, study: optuna.Study, number: int) -> dict[str, Any] | None:
        """What a trial needs to know to give itself up; JSON."""
        if self.pruner is None:
            return None
        seen = self._seen(study, number)
        return _table(
            self.search.pruner or "", self.search.pruner_options, seen, number, self.pruner
        )

    def replay(self, study: optuna.Study, trial_id: int, result: Result) -> None:
        """Show the reports of a trial to Optuna's pruner, which leaves its marks in the storage.

        Raises:
            UserError: the trial was given up, and Optuna would not have.
        """
        seen = self._seen(study, result.number)
        pruner = self._of_trial(study, result.number)
        decision = False
        for step, value in result.reports:
            self.storage.set_trial_intermediate_value(trial_id, step, value)
            if pruner is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    decision = pruner.prune(seen, self.storage.get_trial(trial_id))
        if result.ended == "pruned" and not decision:
            what = f"trial {result.number} was given up, and {self.search.pruner} would go on"
            raise UserError(what, hint="only `report` of ml_experiment may end a trial as pruned")

    def _seen(self, study: optuna.Study, number: int) -> _Seen:
        return _Seen(study, self.storage, {*self.search.told_before(number), number})

    def _of_trial(self, study: optuna.Study, number: int) -> BasePruner | None:
        """Of hyperband the successive halving of the trial's bracket."""
        if not isinstance(self.pruner, HyperbandPruner):
            return self.pruner
        return _Bracket(self.pruner, study, number, self.search.pruner_options)


class _Bracket(SuccessiveHalvingPruner):
    """The successive halving of one bracket of hyperband, among the trials of that bracket."""

    def __init__(
        self, whole: HyperbandPruner, study: optuna.Study, number: int, options: Mapping[str, Any]
    ) -> None:
        self.bracket = bracket(whole, study, number)
        self.whole = whole
        given = _arguments(HyperbandPruner, options)
        names = ("min_resource", "reduction_factor", "bootstrap_count")
        super().__init__(
            min_early_stopping_rate=self.bracket, **{name: given[name] for name in names}
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """As hyperband does."""
        everyone = study.get_trials(deepcopy=False)
        same = {t.number for t in everyone if bracket(self.whole, study, t.number) == self.bracket}
        return super().prune(_Seen(study, study._storage, same), trial)  # noqa: SLF001


def bracket(whole: HyperbandPruner, study: optuna.Study, number: int) -> int:
    """Hyperband's bracket of a trial: a private method, which a test names."""
    trial = optuna.trial.create_trial(state=TrialState.RUNNING)
    trial.number = number
    return whole._get_bracket_id(study, trial)  # noqa: SLF001


def made(name: str, options: Mapping[str, Any]) -> BasePruner:
    """A pruner.

    Raises:
        UserError: there is none of that name, or it does not take these options.
    """
    given = dict(options)
    try:
        if name == "patient":
            given["wrapped_pruner"] = _wrapped(given.get("wrapped_pruner"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_options(f"the pruner {name}", _class(name), given)
            pruner: BasePruner = _class(name)(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"the pruner {name}: {error}") from None
    return pruner


def _wrapped(declared: Any) -> BasePruner | None:
    if declared is None:
        return None
    name, options = _named(declared)
    return made(name, options)


def _named(declared: Any) -> tuple[str, Mapping[str, Any]]:
    """A pruner as it is declared: its name, or {name: {option: value}}."""
    if isinstance(declared, str):
        return declared, {}
    ((name, options),) = declared.items()
    return name, options


def _class(name: str) -> Any:
    if name in PRUNERS:
        return getattr(optuna.pruners, PRUNERS[name])
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UserError("no such pruner", value=name, hint=did_you_mean(name, PRUNERS))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no such pruner: {error}", value=name) from None


def _arguments(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the defaults of what was left out."""
    bound = inspect.signature(kind).bind(**options)
    bound.apply_defaults()
    return dict(bound.arguments)


def _table(
    name: str, options: Mapping[str, Any], seen: _Seen, number: int, pruner: BasePruner
) -> dict[str, Any] | None:
    direction = seen.direction.name.lower()
    kind = _class(name)
    if name in ("median", "percentile"):
        return _percentile(_arguments(kind, options), seen, direction)
    if name == "threshold":
        given = _arguments(kind, options)
        known = {key: given[key] for key in ("lower", "upper")}
        return {"kind": "threshold", **known, **_intervals(given)}
    if name in ("successive_halving", "hyperband"):
        given = _arguments(kind, options)
        told: Sequence[FrozenTrial] = seen.get_trials(deepcopy=False)
        if isinstance(pruner, HyperbandPruner):
            own = bracket(pruner, seen, number)
            told = [t for t in told if bracket(pruner, seen, t.number) == own]
            given["min_early_stopping_rate"] = own
        return {"direction": direction, "kind": "rungs", "rungs": _rungs(given, told, direction)}
    if name == "patient":
        given = _arguments(kind, options)
        inner = given["wrapped_pruner"]
        within = None
        if inner is not None:
            wrapped, its = _named(inner)
            within = _table(wrapped, its, seen, number, made(wrapped, its)) or {"kind": "never"}
        known = {key: given[key] for key in ("patience", "min_delta")}
        return {"direction": direction, "inner": within, "kind": "patient", **known}
    if name == "wilcoxon":
        return _best_reports(_arguments(kind, options), seen, direction)
    return _asked_there(kind, options, seen, direction, number)


def _intervals(given: Mapping[str, Any]) -> dict[str, int]:
    return {"interval": given["interval_steps"], "warmup": given["n_warmup_steps"]}


def _percentile(given: Mapping[str, Any], seen: _Seen, direction: str) -> dict[str, Any] | None:
    """The percentile of what complete trials reported, for each step."""
    complete = seen.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete or len(complete) < given["n_startup_trials"]:
        return None
    percentile = given.get("percentile", 50.0)
    percentile = 100 - percentile if direction == "maximize" else percentile
    steps: dict[int, list[float]] = {}
    for trial in complete:
        for step, value in trial.intermediate_values.items():
            steps.setdefault(step, []).append(value)
    limits = {}
    for step, values in sorted(steps.items()):
        if len(values) >= given["n_min_trials"] and not all(map(math.isnan, values)):
            limits[str(step)] = float(np.nanpercentile(np.array(values, dtype=float), percentile))
    return {"direction": direction, "kind": "percentile", "limits": limits, **_intervals(given)}


def _rungs(
    given: Mapping[str, Any], told: Sequence[FrozenTrial], direction: str
) -> list[tuple[int, float | str | None]]:
    """The step of each rung and the value that one has to reach there: none, or the end."""
    factor, rate = given["reduction_factor"], given["min_early_stopping_rate"]
    found: list[tuple[int, float | str | None]] = []
    for rung in range(64):
        step = given["min_resource"] * factor ** (rate + rung)
        if step > MOST_STEPS:
            break
        key = f"completed_rung_{rung}"
        values = [t.system_attrs[key] for t in told if key in t.system_attrs]
        limit: float | str | None = None
        if len(values) + 1 <= given["bootstrap_count"]:
            limit = "end"
        else:
            best = max((len(values) + 1) // factor, 1)  # so many of the best go on
            if len(values) >= best:
                limit = sorted(values, reverse=direction == "maximize")[best - 1]
        found.append((step, limit))
    return found


def _best_reports(given: Mapping[str, Any], seen: _Seen, direction: str) -> dict[str, Any] | None:
    """What the best trial reported, which the test compares with."""
    try:
        best = seen.best_trial
    except ValueError:
        return None
    known = {"startup": given["n_startup_steps"], "threshold": given["p_threshold"]}
    reports = [list(item) for item in best.intermediate_values.items()]
    return {"best": reports, "direction": direction, "kind": "wilcoxon", **known}


def _asked_there(
    kind: Any, options: Mapping[str, Any], seen: _Seen, direction: str, number: int
) -> dict[str, Any]:
    """What the trial needs to ask the pruner itself, in its own environment."""
    trials = [
        {
            "constraints": dict(trial.constraints),
            "reports": [list(item) for item in trial.intermediate_values.items()],
            "state": trial.state.name,
            "value": trial.value,
        }
        for trial in seen.get_trials(deepcopy=False)
        if trial.number != number and trial.state.is_finished()
    ]
    return {
        "direction": direction,
        "kind": "optuna",
        "options": dict(options),
        "pruner": f"{kind.__module__}:{kind.__qualname__}",
        "trials": trials,
    }
