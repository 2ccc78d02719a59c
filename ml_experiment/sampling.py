"""What a study searches, with which sampler and pruner; and what is wrong with that."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment import space
from ml_experiment.errors import did_you_mean
from ml_experiment.hashing import canonical
from ml_experiment.model import Study, Tuning
from ml_experiment.search import Search
from ml_experiment.sources import Code
from ml_experiment.space import Parameter

SAMPLERS = ("bruteforce", "cmaes", "gp", "grid", "nsgaii", "nsgaiii", "qmc", "random", "tpe")
PACKAGES = {"cmaes": ("cmaes",), "gp": ("torch", "scipy"), "qmc": ("scipy",)}
ONE_OBJECTIVE = frozenset({"cmaes"})
NO_CONDITIONS = frozenset({"grid"})
PRUNERS = (
    "hyperband",
    "median",
    "patient",
    "percentile",
    "successive_halving",
    "threshold",
    "wilcoxon",
)
# Left out, Optuna takes these from the first trial that ends, which is another one each time.
GIVEN = {"hyperband": "max_resource", "successive_halving": "min_resource"}
# Options of Optuna's samplers that say what is declared elsewhere.
GIVEN_ELSEWHERE = {
    "constraints_func": "the study's `constraints`",
    "search_space": "its `space`",
    "seed": "the experiment's",
}
MOST = 1_000_000  # points of a grid, which Optuna keeps all in memory
DECLARED_ONLY = frozenset({"bruteforce", "cmaes", "grid", "qmc"})  # asked again where one goes on
CONSTRAINED = frozenset({"gp", "nsgaii", "nsgaiii", "tpe"})

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


@dataclass(frozen=True)
class Sampling:
    """Reads the searches of studies.

    Args:
        seed: of the experiment.
        problem: reports what is wrong.
        function: the code of `module:function` or `module:Class`, and where it was written.
    """

    seed: int
    problem: Report
    function: Callable[[str, tuple[str, ...]], Code]

    def search(
        self, name: str, study: Study, tuning: Tuning, path: Callable[[str], tuple[str, ...]]
    ) -> tuple[Search, int]:
        """What a study searches in one case, and in how many trials.

        `path` tells where a key was written.
        """
        function = tuning.space if isinstance(tuning.space, str) else None
        mistakes: list[space.Mistake] = []
        parameters: tuple[Parameter, ...] = ()
        if not isinstance(tuning.space, str):
            parameters, mistakes = space.parse(tuning.space)
        for mistake in mistakes:
            place = (*path("space"), *mistake.path)
            self.problem(place, mistake.what, value=mistake.value, expected=mistake.expected,
                         hint=mistake.hint)  # fmt: skip
        sampler, options = self._sampler(tuning, path("sampler"))
        pruner, pruner_options = self._pruner(study, tuning, path("pruner"))
        code: dict[str, str] = {}
        for key, target in (("space", function), ("sampler", sampler), ("pruner", pruner)):
            if target and ":" in target:
                code |= self.function(target, path(key)).files
        search = Search(
            name=name, root=self.seed, parameters=parameters,
            objectives=tuple(study.objectives.values()), sampler=sampler, options=options,
            window=tuning.window, constrained=bool(study.constraints), enqueued=tuning.enqueue,
            function=function, code=code, pruner=pruner, pruner_options=pruner_options,
        )  # fmt: skip
        if not mistakes:
            self._able(study, search, path("sampler"))
            self._enqueued(search, path("enqueue"))
            self._ends(study, search.name)
            trials = self._count(tuning, search, path)
            if trials and len(search.enqueued) > trials:
                what = f"more points than the {trials} trials"
                self.problem(path("enqueue"), what, value=len(search.enqueued), hint="more trials")
            return search, trials
        return search, tuning.trials or 0

    def _sampler(self, tuning: Tuning, path: tuple[str, ...]) -> tuple[str, Mapping[str, Any]]:
        name, options = self._named("sampler", tuning.sampler, SAMPLERS, path)
        for option, source in GIVEN_ELSEWHERE.items():
            if option in options and name in SAMPLERS:
                what = f"a sampler's {option} follows from {source}"
                self.problem(path, what, value=options[option], hint="remove it")
        for package in PACKAGES.get(name, ()):
            if importlib.util.find_spec(package) is None:
                hint = f"pip install {package}"
                self.problem(path, f"the sampler {name} needs {package}", value=name, hint=hint)
        return name or "random", options

    def _pruner(
        self, study: Study, tuning: Tuning, path: tuple[str, ...]
    ) -> tuple[str | None, Mapping[str, Any]]:
        if tuning.pruner is None:
            return None, {}
        name, options = self._named("pruner", tuning.pruner, PRUNERS, path)
        if len(study.objectives) > 1:
            self.problem(path, "a pruner is for one objective", value=name, hint="remove it")
        if study.replicates is not None:
            what = "a pruner is for trials without replicates"
            self.problem(path, what, value=name, hint="remove one of them")
        self._without_auto(name, options, path)
        inner = options.get("wrapped_pruner")
        if name == "patient" and inner is not None:
            self._without_auto(*self._named("pruner", inner, PRUNERS, path), path)
        return name or None, options

    def _without_auto(self, name: str, options: Mapping[str, Any], path: tuple[str, ...]) -> None:
        option = GIVEN.get(name)
        if option is not None and not isinstance(options.get(option), int):
            expected = f"{{{name}: {{{option}: STEPS}}}}"
            what = f"{name} needs {option}: left out, it would depend on which trial ends first"
            self.problem(path, what, value=options.get(option, name), expected=expected)

    def _named(
        self, kind: str, declared: Any, known: Sequence[str], path: tuple[str, ...]
    ) -> tuple[str, dict[str, Any]]:
        """A sampler or pruner as it is declared: its name, or {name: {option: value}}."""
        if isinstance(declared, str):
            name, options = declared, {}
        elif isinstance(declared, Mapping) and len(declared) == 1:
            ((name, given),) = declared.items()
            options = dict(given)
        else:
            expected = "one name, or {name: {option: value}}"
            self.problem(path, f"not one {kind}", value=declared, expected=expected)
            return "", {}
        if name not in known and ":" not in name:
            expected = ", ".join(known) + ", or module:Class"
            hint = did_you_mean(name, known)
            self.problem(path, f"no such {kind}", value=name, expected=expected, hint=hint)
            return "", {}
        return name, options

    def _able(self, study: Study, search: Search, path: tuple[str, ...]) -> None:
        """Whether the sampler can do what the study asks of it."""
        name = search.sampler
        wants = (
            (len(search.objectives) > 1, name in ONE_OBJECTIVE, "several objectives", ONE_OBJECTIVE),
            (bool(search.function), name in DECLARED_ONLY, "a space that a function draws",
             DECLARED_ONLY),
            (any(p.when for p in search.parameters), name in NO_CONDITIONS,
             "parameters with `when`", NO_CONDITIONS),
            (search.constrained, name in SAMPLERS and name not in CONSTRAINED, "constraints",
             frozenset(SAMPLERS) - CONSTRAINED),
        )  # fmt: skip
        for wanted, unable, what, others in wants:
            if wanted and unable:
                able = ", ".join(sorted({*SAMPLERS} - others))
                self.problem(path, f"{name} cannot do {what}", value=name, expected=able)
        if len(search.objectives) > 1 and study.stop is not None:
            what = "`stop` is for one objective"
            self.problem(("studies", search.name, "stop"), what, hint="remove it")

    def _enqueued(self, search: Search, path: tuple[str, ...]) -> None:
        known = {parameter.name: parameter for parameter in search.parameters}
        if search.function and search.enqueued:
            what = "no point of a space that a function draws can be enqueued"
            self.problem(path, what, hint="remove it, or declare the space")
            return
        for index, point in enumerate(search.enqueued):
            self._possible(known, point, (*path, str(index)))
            for name, value in point.items():
                place = (*path, str(index), name)
                if name not in known or known[name].kind == "fixed":
                    drawn = [p.name for p in search.parameters if p.kind != "fixed"]
                    hint = did_you_mean(name, drawn)
                    self.problem(place, "nothing that is searched", value=name, hint=hint)
                elif not known[name].has(value):
                    self.problem(place, "not in the space", value=value)

    def _possible(
        self, known: Mapping[str, Parameter], point: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        """Whether an enqueued point has a value for what does not exist with another of its values."""
        for name in filter(known.get, point):
            for parent, values in known[name].when:
                allowed = [canonical(value) for value in values]
                if parent in point and canonical(point[parent]) not in allowed:
                    what = f"{name} is there only with another {parent}"
                    expected = ", ".join(allowed)
                    self.problem((*path, name), what, value=point[parent], expected=expected)

    def _ends(self, study: Study, name: str) -> None:
        """Bounds and targets that are none."""
        stop = study.stop
        lacks = stop is not None and stop.target is None and stop.no_improvement is None
        if lacks or (stop is not None and stop.target is not None and math.isnan(stop.target)):
            expected = "no_improvement, target or both, as numbers"
            self.problem(("studies", name, "stop"), "nothing that ends it", expected=expected)
        for metric, bounds in study.constraints.items():
            place = ("studies", name, "constraints", metric)
            limits = [b for b in (bounds.min, bounds.max) if b is not None]
            if not limits or any(map(math.isnan, limits)):
                self.problem(place, "no bound", expected="min, max or both, as numbers")
            elif len(limits) == 2 and limits[0] > limits[1]:
                self.problem(place, "the bounds are the wrong way round", value=limits)

    def _count(self, tuning: Tuning, search: Search, path: Callable[[str], tuple[str, ...]]) -> int:
        counted = search.sampler in ("grid", "bruteforce") and not search.function
        points = space.count(search.parameters) if counted else None
        besides = (
            len(search.enqueued) if search.sampler == "grid" else 0
        )  # it knows nothing of these
        if counted and points is None:
            endless = next(p.name for p in search.parameters if p.size is None)
            hint = "give it a step, or a list of values"
            what = f"{search.sampler} needs a space whose points can be counted"
            self.problem((*path("space"), endless), what, value=endless, hint=hint)
        if points is not None and points > MOST:
            hint = "coarser steps, or the sampler random or qmc"
            what = f"more points than the {search.sampler} can keep"
            self.problem(path("space"), what, value=points, expected=f"at most {MOST:,}", hint=hint)
        if tuning.trials is None and points is None:
            expected = "how many trials, such as trials: 40"
            self.problem(path("trials"), "the key `trials` is missing", expected=expected)
        elif points is not None and (tuning.trials or 0) > points + besides:
            more = f", and {besides} are enqueued" if besides else ""
            hint = f"the space has {points} points{more}; without `trials` all of them are tried"
            what = f"more trials than the {search.sampler} has points"
            self.problem(path("trials"), what, value=tuning.trials, hint=hint)
        return tuning.trials if tuning.trials is not None else (points or 0) + besides
