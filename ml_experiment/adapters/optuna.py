"""The only importer of Optuna: asks samplers for trials, one after the other.

Nothing that Optuna keeps is stored but what a sampler adds to a trial or to the study as JSON. The
pickles of CMA-ES are not: where it goes on from files, what was suggested is asked again. So is
what a sampler has suggested that is none of Optuna's, as nobody knows what that keeps, and where.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ml_experiment import space
from ml_experiment.adapters.kernels import pinned
from ml_experiment.adapters.optuna_pruning import Pruning
from ml_experiment.adapters.optuna_samplers import distribution, made
from ml_experiment.errors import UserError
from ml_experiment.hashing import canonical
from ml_experiment.search import Result, Search, Suggestion
from ml_experiment.space import Parameter

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

REPLAYED = frozenset({"bruteforce", "cmaes", "grid", "qmc"})  # asked again from the beginning
KEPT_BY_ONE = frozenset({"grid", "qmc"})  # their sampler counts, so it is one for all trials
NAME = "study"  # never the display name: hyperband hashes it
STATES = {
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "pruned": TrialState.PRUNED,
}


class Asker:
    """A study that is asked for trial after trial.

    Args:
        search: the declaration.

    Raises:
        UserError: there is no such sampler, or it does not take these options.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.asked = 0
        self.told = 0
        self._one: BaseSampler | None = None
        self._excess: dict[int, tuple[float, ...]] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = InMemoryStorage()
        self._pruning = Pruning(search, self._storage)
        self._study = optuna.create_study(
            storage=self._storage, study_name=NAME, directions=list(search.objectives),
            sampler=self._sampler(0), pruner=self._pruning.pruner,
        )  # fmt: skip
        self._pruning.begin(self._study)
        self._study_id = self._storage.get_study_id_from_name(NAME)
        # Grid and brute force end the study with their last trial; here the declaration ends it.
        self._study.stop = lambda: None  # type: ignore[method-assign]

    def ask(self, results: Sequence[Result]) -> Suggestion:
        """Suggest the next trial.

        Args:
            results: of at least the trials that the window tells; others are not looked at.
        """
        number = self.asked
        self._begin(number, results)
        self._study.sampler = self._sampler(number)
        before = self._state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental samplers
            trial = self._next(number)
            params = self._drawn(trial)
        self.asked += 1
        pruning = self._pruning.table(self._study, number)
        return Suggestion(number, params, self._added(trial, before), pruning)

    def _drawn(self, trial: Trial) -> dict[str, Any]:
        """The parameters of a trial; a function may draw others than it returns."""
        target = self.search.function
        if target is None:
            return space.draw(self.search.parameters, lambda p: _suggest(trial, p))
        try:
            module, _, name = target.partition(":")
            found = getattr(importlib.import_module(module), name)(trial)
            params = dict(trial.params if found is None else found)
            canonical(params)
        except Exception as error:  # noqa: BLE001  # it is the user's code
            what = f"{target}: {type(error).__name__}: {error}"
            raise UserError(what, hint="it takes Optuna's trial and returns a mapping") from None
        return params

    def restore(self, suggestion: Suggestion, results: Sequence[Result]) -> None:
        """Take a suggestion that was made before, as the next trial."""
        number = self.asked
        self._begin(number, results)
        if self._replayed:
            self._replay(number, suggestion)
        else:
            self._add(suggestion)
        self.asked += 1

    def _replay(self, number: int, suggestion: Suggestion) -> None:
        """Ask again. What was suggested then counts, should another CPU suggest something else."""
        self._study.sampler = self._sampler(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._next(number)
            trial_id = self._id(number)
            if self.search.function:
                self._drawn(trial)
                for name, kind in _distributions(suggestion).items():
                    internal = kind.to_internal_repr(suggestion.state["drawn"][name])
                    self._storage.set_trial_param(trial_id, name, internal, kind)
                return

            def value_of(parameter: Parameter) -> Any:
                value = suggestion.params[parameter.name]
                if canonical(_suggest(trial, parameter)) != canonical(value):
                    kind = distribution(parameter)
                    internal = kind.to_internal_repr(_internal(parameter, value))
                    self._storage.set_trial_param(trial_id, parameter.name, internal, kind)
                return value

            space.draw(self.search.parameters, value_of)

    def _next(self, number: int) -> Trial:
        known = {parameter.name: parameter for parameter in self.search.parameters}
        fixed = self.search.enqueued_at(number)
        if fixed:
            self._study.enqueue_trial({n: _internal(known[n], v) for n, v in fixed.items()})
        return self._study.ask()

    def _add(self, suggestion: Suggestion) -> None:
        """Put a trial where it was, with what the sampler had kept."""
        known = {p.name: p for p in self.search.parameters if p.kind != "fixed"}
        drawn = {name: known[name] for name in suggestion.params if name in known}
        params = {n: _internal(p, suggestion.params[n]) for n, p in drawn.items()}
        distributions = {n: distribution(p) for n, p in drawn.items()}
        if self.search.function:
            params = dict(suggestion.state["drawn"])
            distributions = _distributions(suggestion)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=distributions,
                system_attrs=dict(suggestion.state.get("trial", {})),
            )
        )
        for key, value in suggestion.state.get("study", {}).items():
            self._storage.set_study_system_attr(self._study_id, key, value)

    def _id(self, number: int) -> int:
        """The storage's id of a trial."""
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    @property
    def _replayed(self) -> bool:
        """Whether trials that were suggested before are asked again."""
        return self.search.own or self.search.sampler in REPLAYED

    def _begin(self, number: int, results: Sequence[Result]) -> None:
        """Tell what the next trial is told. A sampler of others may draw from any generator."""
        if self.search.own:
            _seed_all(self.search.seed_around(number))
        self._tell(number, results)

    def _tell(self, number: int, results: Sequence[Result]) -> None:
        """Tell what the window of a trial tells, in the order of the trials."""
        known = {result.number: result for result in results}
        for told in self.search.told_before(number)[self.told :]:
            result = known[told]
            self._pruning.replay(self._study, self._id(told), result)
            self._study.sampler = self._sampler(told)
            self._excess[told] = result.excess
            values = list(result.values) if result.ended == "complete" else None
            self._study.tell(told, values, STATES[result.ended])
            self.told = told + 1

    def _sampler(self, number: int) -> BaseSampler:
        if not self.search.own and self.search.sampler not in KEPT_BY_ONE:
            return made(self.search, number, self._broken)
        self._one = self._one or made(self.search, number, self._broken)
        return self._one

    def _broken(self, trial: FrozenTrial) -> tuple[float, ...]:
        return self._excess[trial.number]

    def _state(self) -> dict[str, Any]:
        return dict(self._storage.get_study_system_attrs(self._study_id))

    def _added(self, trial: Trial, before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What the sampler has added, as far as it is JSON and no pickle."""
        frozen = self._storage.get_trial(self._id(trial.number))
        found: dict[str, dict[str, Any]] = {}
        if not self._replayed:
            study = {k: v for k, v in self._state().items() if k not in before or before[k] != v}
            found = {"study": _json(study), "trial": _json(frozen.system_attrs)}
        if self.search.function:  # what it draws is known only now
            texts = {name: distribution_to_json(d) for name, d in frozen.distributions.items()}
            found |= {"distributions": texts, "drawn": dict(frozen.params)}
        return {name: held for name, held in found.items() if held}


def _seed_all(seed: int) -> None:
    """Seed the generators that all code of this process shares."""
    import numpy as np  # noqa: PLC0415  # Optuna has it loaded

    random.seed(seed)
    np.random.seed(seed % 2**32)  # for samplers that draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed % 2**63)


def made_by() -> dict[str, Any]:
    """What suggestions of this process depend on besides their study."""
    import numpy as np  # noqa: PLC0415

    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return {
        "kernels": {name: os.environ.get(name) for name in sorted(pinned())},
        "numpy": np.__version__,
        "optuna": optuna.__version__,
        "simd": extensions.get("baseline", []),
    }


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    """A choice is asked by its index: 1, 1.0 and true are one choice to Optuna."""
    name = parameter.name
    if parameter.kind == "choice":
        return parameter.choices[trial.suggest_categorical(name, range(len(parameter.choices)))]
    if parameter.kind == "int":
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return trial.suggest_int(name, low, high, step=step, log=parameter.log)
    return trial.suggest_float(
        name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
    )


def _distributions(suggestion: Suggestion) -> dict[str, BaseDistribution]:
    """Of what a function drew."""
    texts = suggestion.state["distributions"].items()
    return {name: json_to_distribution(text) for name, text in texts}


def _internal(parameter: Parameter, value: Any) -> Any:
    """A value as Optuna has it: of a choice its index."""
    if parameter.kind != "choice":
        return value
    return [canonical(choice) for choice in parameter.choices].index(canonical(value))


def _json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are JSON as they are."""
    found = {}
    for name, value in attributes.items():
        try:
            if json.loads(json.dumps(value)) == value:
                found[name] = value
        except (TypeError, ValueError):
            continue
    return found
