"""Studies as steps: one whose jobs are the trials, and one that gathers them.

    studies.tune: {step: fit, …}   ->   tune.trial   like fit, with a job for each trial
                                        tune         a job for each case, which writes the study's files

So inputs, seeds, keys, environments and placeholders of trials are those of any step.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment import placeholders, space
from ml_experiment.errors import did_you_mean
from ml_experiment.hashing import canonical
from ml_experiment.model import Experiment, Step, Study, Tuning, Work
from ml_experiment.plan import (
    NEEDED,
    Case,
    Input,
    Replicate,
    Source,
    StepPlan,
    StudyPlan,
    trials_name,
)
from ml_experiment.search import Search, own
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
CONSTRAINED = frozenset({"gp", "nsgaii", "nsgaiii", "tpe"})
OWN_FILES = ("reports.txt", "status.json", "suggestion.json")

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


@dataclass
class Studies:
    """The studies of an experiment, and what is wrong with them.

    Args:
        experiment: all of it.
        steps: those that could be read.
        problem: reports what is wrong.
    """

    experiment: Experiment
    steps: Mapping[str, Step]
    problem: Report

    def __post_init__(self) -> None:
        studies = self.experiment.studies.items()
        self.known = {name: study for name, study in studies if self._step(name, study)}
        self._parts = {name: self._between(name) for name in self.known}

    def _step(self, name: str, study: Study) -> bool:
        path = ("studies", name)
        if name in self.experiment.steps or name == "all":
            self.problem(path, "a step has this name", value=name, hint="choose another")
            return False
        if study.step in self.steps:
            return self._fits(path, study, self.steps[study.step])
        if study.step not in self.experiment.steps:
            hint = did_you_mean(study.step, self.steps)
            self.problem((*path, "step"), "no such step", value=study.step, hint=hint)
        return False

    def _fits(self, path: tuple[str, ...], study: Study, step: Step) -> bool:
        if step.metrics is None:
            hint = "give it `metrics: metrics.json`"
            self.problem((*path, "step"), "the step has no metrics", value=study.step, hint=hint)
        for file in (step.metrics, *step.outputs.values()):
            if file in OWN_FILES:
                what = f"a trial has a file {file} of ours"
                self.problem(("steps", study.step), what, value=file, hint="choose another name")
        return step.metrics is not None

    def parts(self, name: str) -> list[str]:
        """The steps of a study's trials in declared order; the last is the one that measures.

        Those are the steps that are searched, and what lies between them and that one. All else
        runs once for all trials.
        """
        return self._parts[name]

    def _between(self, name: str) -> list[str]:
        study = self.known[name]
        heads = {head for head, dot, _ in map(_split, self._space(name)) if dot} - {study.step}
        behind = self._behind(study.step)
        for head in sorted(heads):
            if head not in behind:
                hint = did_you_mean(head, behind) or f"{study.step} takes nothing of {head}"
                what = f"no step that {study.step} depends on"
                self.problem(("studies", name, "space"), what, value=head, hint=hint)
        between = [s for s in self.steps if s in behind and {s, *self._behind(s)} & heads]
        return [*between, study.step]

    def named(self, name: str) -> dict[str, str]:
        """Step -> the step of its trials, for all parts of a study's trials."""
        last = self.known[name].step
        return {part: trials_name(name, part if part != last else "") for part in self.parts(name)}

    def _space(self, name: str) -> list[str]:
        study = self.known[name]
        cases = [case for values in study.cases.values() for case in values.values()]
        return [parameter for tuning in (study, *cases) for parameter in tuning.space]

    def _behind(self, step: str) -> set[str]:
        """The steps whose outputs a step takes, directly or not."""
        found: set[str] = set()
        waiting = [step]
        while waiting:
            for head in _heads(self.steps[waiting.pop()]):
                if head in self.steps and head not in found:
                    found.add(head)
                    waiting.append(head)
        return found

    def trials(self, name: str, part: str) -> Step:
        """The step of a study's trials, or of an earlier part of them."""
        study = self.known[name]
        step = self.steps[part]
        changed: dict[str, Any] = {
            "matrix": study.matrix or self.steps[study.step].matrix,
            "replicates": study.replicates,
            "seed_as": step.seed_as or part,
        }
        if study.timeout is not None:
            changed["timeout"] = study.timeout
        return step.model_copy(update=changed)

    def names(self, name: str, step: str | None = None) -> dict[str, Any]:
        """Every parameter that any case of a study searches in a step, with one of its values.

        The step is the one that measures, where it is None.
        """
        study = self.known[name]
        cases = [case for values in study.cases.values() for case in values.values()]
        found: dict[str, Any] = {}
        for tuning in (study, *cases):
            for parameter in space.parse(tuning.space)[0]:
                found.setdefault(parameter.name, (parameter.grid or (parameter.low,))[0])
        return own(found, step or study.step, study.step)

    def gathering(self, name: str) -> Step:
        """The step that gathers a study's trials, as it would be declared."""
        study = self.known[name]
        made = {part: self.steps[part].outputs for part in self.parts(name)}
        matrix = study.matrix or self.steps[study.step].matrix
        return Step.model_construct(outputs=outputs(study, made), matrix=matrix, seeding="none")

    def plan(self, name: str, cases: tuple[Case, ...]) -> StudyPlan:
        """What is searched in each case."""
        study = self.known[name]
        self._cases(name, cases)
        searches, counts = {}, {}
        for case in cases:
            tuning, path = self._tuning(name, study, case)
            search, count = self._search(name, study, tuning, path)
            searches[case.label], counts[case.label] = search, count
        return StudyPlan(name, study, searches, counts)

    def _cases(self, name: str, cases: tuple[Case, ...]) -> None:
        """Every key of `cases` is an axis and a value of it."""
        for axis, values in self.known[name].cases.items():
            path = ("studies", name, "cases", axis)
            known = {placeholders.as_text(c.values[axis]) for c in cases if axis in c.values}
            if not known:
                self.problem(path, "not an axis of this study", value=axis)
                continue
            for value in values:
                if value not in known:
                    hint = did_you_mean(value, known)
                    self.problem((*path, value), f"not a value of {axis}", value=value, hint=hint)

    def _tuning(
        self, name: str, study: Study, case: Case
    ) -> tuple[Tuning, Callable[[str], tuple[str, ...]]]:
        """The keys of a case laid on those of the study, and where each of them was written."""
        keys = {key: getattr(study, key) for key in Tuning.model_fields}
        written: dict[str, tuple[str, ...]] = {}
        for axis, values in study.cases.items():
            text = placeholders.as_text(case.values[axis]) if axis in case.values else ""
            if text in values:
                for key in sorted(values[text].model_fields_set):
                    keys[key] = getattr(values[text], key)
                    written[key] = ("studies", name, "cases", axis, text, key)
        return Tuning.model_construct(**keys), lambda key: written.get(key, ("studies", name, key))

    def _search(
        self, name: str, study: Study, tuning: Tuning, path: Callable[[str], tuple[str, ...]]
    ) -> tuple[Search, int]:
        parameters, mistakes = space.parse(tuning.space)
        for mistake in mistakes:
            place = (*path("space"), *mistake.path)
            self.problem(place, mistake.what, value=mistake.value, expected=mistake.expected,
                         hint=mistake.hint)  # fmt: skip
        sampler, options = self._sampler(tuning, path("sampler"))
        pruner, pruner_options = self._pruner(study, tuning, path("pruner"))
        search = Search(
            name=name, root=self.experiment.seed, parameters=parameters,
            objectives=tuple(study.objectives.values()), sampler=sampler, options=options,
            window=tuning.window, constrained=bool(study.constraints), enqueued=tuning.enqueue,
            pruner=pruner, pruner_options=pruner_options,
        )  # fmt: skip
        if not mistakes:
            self._able(study, search, path("sampler"))
            self._enqueued(search, path("enqueue"))
            return search, self._count(tuning, search, path)
        return search, tuning.trials or 0

    def _sampler(self, tuning: Tuning, path: tuple[str, ...]) -> tuple[str, Mapping[str, Any]]:
        name, options = self._named("sampler", tuning.sampler, SAMPLERS, path)
        if "seed" in options:
            what = "a sampler's seed follows from the experiment's"
            self.problem(path, what, value=options["seed"], hint="remove it")
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
        for index, point in enumerate(search.enqueued):
            for name, value in point.items():
                place = (*path, str(index), name)
                if name not in known or known[name].kind == "fixed":
                    drawn = [p.name for p in search.parameters if p.kind != "fixed"]
                    hint = did_you_mean(name, drawn)
                    self.problem(place, "nothing that is searched", value=name, hint=hint)
                elif not possible(known[name], value):
                    self.problem(place, "not in the space", value=value)

    def _count(self, tuning: Tuning, search: Search, path: Callable[[str], tuple[str, ...]]) -> int:
        points = (
            space.count(search.parameters) if search.sampler in ("grid", "bruteforce") else None
        )
        if search.sampler in ("grid", "bruteforce") and points is None:
            endless = next(p.name for p in search.parameters if p.grid is None)
            hint = "give it a step, or a list of values"
            what = f"{search.sampler} needs a space whose points can be counted"
            self.problem((*path("space"), endless), what, value=endless, hint=hint)
        if tuning.trials is None and points is None:
            expected = "how many trials, such as trials: 40"
            self.problem(path("trials"), "the key `trials` is missing", expected=expected)
        elif points is not None and tuning.trials is not None and tuning.trials > points:
            hint = f"the space has {points} points; without `trials` all of them are tried"
            what = f"more trials than the {search.sampler} has points"
            self.problem(path("trials"), what, value=tuning.trials, hint=hint)
        return tuning.trials if tuning.trials is not None else points or 0


def gather(trials: StepPlan, step: Step) -> StepPlan:
    """The step that gathers a study's trials."""
    assert trials.trials_of is not None
    source = Source(step=trials.name, file=trials.step.metrics)
    needed = {NEEDED: Input((source,), many=True)}
    nothing = Code({}, frozenset())
    cases = tuple(
        Case(case.label, case.slugs, case.values, Work.model_construct(), {}, None, nothing)
        for case in trials.cases
    )
    return StepPlan(
        name=trials.trials_of.name, step=step, axes=trials.axes, cases=cases,
        replicates=(Replicate(),), inputs={case.label: needed for case in cases},
        study=trials.trials_of,
    )  # fmt: skip


def outputs(study: Study, made: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Name -> file of what the gathering job writes, as references name it.

    `made` is step -> its outputs, of all steps of a trial.
    """
    found = {"table": "trials.csv", "trials": "trials/"}
    if len(study.objectives) > 1:
        return {**found, "pareto": "pareto.json"}
    found["best"] = "best.json"
    labels = [str(index) for index in range(study.replicates or 0)] or [""]
    for part, files in made.items():
        earlier = part != study.step
        for name, file in files.items():
            for label in labels:
                key = f"best.{part}.{name}" if earlier else f"best.{name}"
                key = key if label == labels[0] else f"{key}.{label}"
                folder = "/".join(filter(None, ("best", f"seed-{label}" if label else "")))
                found[key] = f"{folder}/{part}/{file}" if earlier else f"{folder}/{file}"
    return found


def _split(name: str) -> tuple[str, str, str]:
    return name.partition(".")


def _heads(step: Step) -> set[str]:
    """What stands before the first dot of a step's inputs."""
    cases = [work for values in step.cases.values() for work in values.values()]
    values = [value for work in (step, *cases) for value in work.inputs.values()]
    texts = [text for value in values for text in ((value,) if isinstance(value, str) else value)]
    return {text.partition(".")[0] for text in texts if "." in text}


def possible(parameter: Parameter, value: Any) -> bool:
    """Whether a parameter can have a value."""
    if parameter.kind in ("choice", "fixed"):
        return any(canonical(value) == canonical(choice) for choice in parameter.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not parameter.low <= value <= parameter.high:
        return False
    return parameter.grid is None or any(abs(value - known) < 1e-9 for known in parameter.grid)
