"""The only importer of Optuna: asks samplers for trials, one after the other.

Nothing that Optuna keeps is stored but what a sampler adds to a trial or to the study as JSON. The
pickles of CMA-ES are not: where it goes on from files, what was suggested is asked again.
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ml_experiment import space
from ml_experiment.adapters.optuna_pruning import Pruning
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.hashing import canonical
from ml_experiment.search import Result, Search, Suggestion
from ml_experiment.space import Parameter

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS = {
    "bruteforce": "BruteForceSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "grid": "GridSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "random": "RandomSampler",
    "tpe": "TPESampler",
}
REPLAYED = frozenset({"bruteforce", "cmaes", "grid", "qmc"})  # asked again from the beginning
USELESS = {  # options that Optuna still takes and does not look at
    "cmaes": frozenset({"restart_strategy", "inc_popsize"}),
    "tpe": frozenset({"consider_prior", "consider_magic_clip"}),
}
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
        self._tell(number, results)
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
        self._tell(number, results)
        if self.search.sampler in REPLAYED:
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
            texts = suggestion.state["distributions"].items()
            distributions = {name: json_to_distribution(text) for name, text in texts}
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
        if self.search.sampler not in KEPT_BY_ONE:
            return _made(self.search, number, self._broken)
        self._one = self._one or _made(self.search, number, self._broken)
        return self._one

    def _broken(self, trial: FrozenTrial) -> tuple[float, ...]:
        return self._excess[trial.number]

    def _state(self) -> dict[str, Any]:
        return dict(self._storage.get_study_system_attrs(self._study_id))

    def _added(self, trial: Trial, before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What the sampler has added, as far as it is JSON and no pickle."""
        if self.search.sampler in REPLAYED:
            return {}
        frozen = self._storage.get_trial(self._id(trial.number))
        study = {k: v for k, v in self._state().items() if k not in before or before[k] != v}
        found = {"study": _json(study), "trial": _json(frozen.system_attrs)}
        if self.search.function:  # what it draws is known only now
            texts = {name: distribution_to_json(d) for name, d in frozen.distributions.items()}
            found |= {"distributions": texts, "drawn": dict(frozen.params)}
        return {name: held for name, held in found.items() if held}


def pinned() -> dict[str, str]:
    """Variables under which x86 machines differ as little as can be, for a process to start with.

    The same ask gives other numbers under another BLAS kernel, other SIMD extensions of NumPy, or
    other threads.
    """
    import numpy as np  # noqa: PLC0415  # Optuna has it loaded

    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **one,
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "OPENBLAS_CORETYPE": "Haswell",
    }


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


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it: a choice is drawn by its index."""
    if parameter.kind == "choice":
        return CategoricalDistribution(range(len(parameter.choices)))
    if parameter.kind == "int":
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return IntDistribution(low, high, log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


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


def _made(
    search: Search, number: int, broken: Callable[[FrozenTrial], Sequence[float]]
) -> BaseSampler:
    """The sampler of one trial. `broken` tells by how much a trial breaks each constraint.

    Raises:
        UserError: there is none of that name, or it does not take these options.
    """
    options = {"seed": search.seed(number), **search.options}
    if search.constrained:
        options["constraints_func"] = broken
    if search.sampler == "grid":
        options["search_space"] = _grid(search.parameters)
    if search.sampler == "qmc":
        options.setdefault("scramble", True)
        options.setdefault("warn_asynchronous_seeding", False)
    if search.sampler in ("qmc", "cmaes", "gp"):
        options.setdefault("warn_independent_sampling", False)
    if search.sampler == "cmaes":
        # Conditional parameters and choices are drawn by this one: seeded as well.
        options.setdefault(
            "independent_sampler", optuna.samplers.RandomSampler(search.seed(number))
        )
    useless = sorted(USELESS.get(search.sampler, frozenset()) & {*search.options})
    if useless:
        what = f"the sampler {search.sampler}: {', '.join(useless)} does nothing any more"
        raise UserError(what, hint="leave it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if search.sampler == "qmc":
                return _Points(search.parameters, **options)
            return _class(search.sampler)(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"the sampler {search.sampler}: {error}") from None
    except ImportError as error:
        raise UserError(f"the sampler {search.sampler} needs a package: {error.name}") from None


class _Points(optuna.samplers.QMCSampler):
    """QMC over all parameters that always exist.

    Optuna's own learns from the first trials which those are, so what it suggests depends on what
    has finished.
    """

    def __init__(self, parameters: Sequence[Parameter], **options: Any) -> None:
        super().__init__(**options)
        drawn = (p for p in parameters if p.kind != "fixed" and not p.when)
        self._always = {p.name: distribution(p) for p in drawn if not distribution(p).single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Known from the beginning."""
        return self._always


def _class(name: str) -> Callable[..., BaseSampler]:
    if name in SAMPLERS:
        made: Callable[..., BaseSampler] = getattr(optuna.samplers, SAMPLERS[name])
        return made
    module, colon, attribute = name.partition(":")
    if not colon:
        hint = did_you_mean(name, SAMPLERS)
        raise UserError("no such sampler", value=name, hint=hint)
    try:
        found: Callable[..., BaseSampler] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no such sampler: {error}", value=name) from None
    return found


def _grid(parameters: Sequence[Parameter]) -> dict[str, list[Any]]:
    """Name -> its values; a choice's are indices."""
    found: dict[str, list[Any]] = {}
    for parameter in parameters:
        values = parameter.grid
        if values is None:
            hint = "give it a step, or a list of values"
            raise UserError("a grid of a range without a step", value=parameter.name, hint=hint)
        if parameter.kind == "choice":
            found[parameter.name] = list(range(len(values)))
        elif parameter.kind != "fixed":
            found[parameter.name] = list(values)
    return found
