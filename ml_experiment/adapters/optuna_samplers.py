"""Optuna's samplers by their names, and others by `module:Class`."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.search import Search
from ml_experiment.space import Parameter

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

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
USELESS = {  # options that Optuna still takes and does not look at
    "cmaes": frozenset({"restart_strategy", "inc_popsize"}),
    "tpe": frozenset({"consider_prior", "consider_magic_clip"}),
}


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it: a choice is drawn by its index."""
    if parameter.kind == "choice":
        return CategoricalDistribution(range(len(parameter.choices)))
    if parameter.kind == "int":
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return IntDistribution(low, high, log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def made(
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
            sampler = _class(search.sampler)
            check_options(f"the sampler {search.sampler}", sampler, search.options)
            if search.sampler == "qmc":
                return _Points(search.parameters, **options)
            return sampler(**options)
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


def check_options(what: str, made: Callable[..., Any], options: Iterable[str]) -> None:
    """Raise UserError for an option that a sampler or pruner does not have, with the nearest it has."""
    try:
        known = inspect.signature(made).parameters
    except ValueError:  # of what is not written in Python
        return
    if any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        hint = did_you_mean(unknown, set(known) - {"seed"})
        raise UserError(f"{what}: unexpected keyword argument '{unknown}'", hint=hint)


def _grid(parameters: Sequence[Parameter]) -> dict[str, list[Any]]:
    """Name -> its values; a choice's are indices."""
    found: dict[str, list[Any]] = {}
    for parameter in parameters:
        if parameter.size is None:
            hint = "give it a step, or a list of values"
            raise UserError("a grid of a range without a step", value=parameter.name, hint=hint)
        if parameter.kind == "choice":
            found[parameter.name] = list(range(parameter.size))
        elif parameter.kind != "fixed":
            found[parameter.name] = list(parameter.values())
    return found
