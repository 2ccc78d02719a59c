"""Studies as steps: one whose jobs are the trials, and one that gathers them.

    studies.tune: {step: fit, …}   ->   tune.trial   like fit, with a job for each trial
                                        tune         a job for each case, which writes the study's files

So inputs, seeds, keys, environments and placeholders of trials are those of any step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_experiment import placeholders, space
from ml_experiment.errors import did_you_mean
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
from ml_experiment.sampling import Sampling
from ml_experiment.search import own
from ml_experiment.sources import Code

OWN_FILES = ("attempts.txt", "reports.txt", "status.json", "suggestion.json")

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


@dataclass
class Studies:
    """The studies of an experiment, and what is wrong with them.

    Args:
        experiment: all of it.
        steps: those that could be read.
        problem: reports what is wrong.
        function: the code of `module:function`, and where it was written.
    """

    experiment: Experiment
    steps: Mapping[str, Step]
    problem: Report
    function: Callable[[str, tuple[str, ...]], Code]

    def __post_init__(self) -> None:
        self._sampling = Sampling(self.experiment.seed, self.problem, self.function)
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
        spaces = [tuning.space for tuning in (study, *cases)]
        return [name for space in spaces if not isinstance(space, str) for name in space]

    def functions(self, name: str) -> bool:
        """Whether a function draws the parameters of a study, in any case."""
        study = self.known[name]
        cases = [case for values in study.cases.values() for case in values.values()]
        return any(isinstance(tuning.space, str) for tuning in (study, *cases))

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
            declared = {} if isinstance(tuning.space, str) else tuning.space
            for parameter in space.parse(declared)[0]:
                found.setdefault(parameter.name, parameter.first)
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
            search, count = self._sampling.search(name, study, tuning, path)
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
