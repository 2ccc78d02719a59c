"""From a loaded experiment to a plan; every mistake on the way is gathered and told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment import (
    coherence,
    given,
    images,
    matrix,
    paths,
    placeholders,
    plan,
    registered,
    sources,
    studies,
)
from ml_experiment.config import OVERRIDE, Loaded
from ml_experiment.errors import MISSING, ExperimentError, Problem, did_you_mean
from ml_experiment.model import Matrix, Replicates, Scalar, Step, Work
from ml_experiment.plan import Case, Plan, StepPlan, StudyPlan
from ml_experiment.references import References, best_of
from ml_experiment.sources import Code


def resolve(loaded: Loaded) -> Plan:
    """The plan of an experiment.

    Raises:
        ExperimentError: with all problems, those of loading among them.
    """
    resolver = _Resolver(loaded)
    made = resolver.resolve()
    if resolver.problems:
        raise ExperimentError(_once(resolver.problems))
    return made


def _once(problems: Iterable[Problem]) -> Iterable[Problem]:
    """A mistake in a step is told once, and not for each step that is like it."""
    found: dict[Any, Problem] = {}
    for problem in problems:
        head, *below = (problem.key or "").split(".")
        key = tuple(below[1:]) if head == "steps" else problem.key
        found.setdefault((problem.where, problem.what, key, str(problem.value)), problem)
    return found.values()


@dataclass
class _Resolver:
    loaded: Loaded
    problems: list[Problem] = field(default_factory=list)
    codes: dict[tuple[str, str], Code] = field(default_factory=dict)
    templates: dict[str, placeholders.Template] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problems.extend(self.loaded.problems)
        self.experiment = self.loaded.experiment
        kinds = (("steps",), ("studies",))
        self.faulty = {path[-1] for path in self.loaded.faulty if path[:-1] in kinds}
        for name, step in self.experiment.steps.items():
            named = step.matrix.axes if isinstance(step.matrix, Matrix) else step.matrix
            if any(("axes", axis) in self.loaded.faulty for axis in named):
                self.faulty.add(name)  # what it would lead to says nothing new
        steps = self.experiment.steps.items()
        self.steps = {name: step for name, step in steps if name not in self.faulty}
        self.searched: dict[str, str] = {}  # a step of trials -> the step that it is like
        self.study_of: dict[str, str] = {}  # a step of trials -> the study
        self.studies = studies.Studies(self.experiment, self.steps, self.problem, self.function)
        self.cases: dict[str, tuple[Case, ...]] = {}

    def problem(
        self,
        path: tuple[str, ...],
        what: str,
        *,
        value: object = MISSING,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        if path[1:2] and path[1] in self.searched:
            path = (path[0], self.searched[path[1]], *path[2:])
        where = self.loaded.place(*path)
        self.problems.append(Problem(what, where, ".".join(path), value, expected, hint))

    def resolve(self) -> Plan:
        for name, step in self.steps.items():
            self.declaration(name, step)
        every = dict(self.steps)
        for study in self.studies.known:
            for part, name in self.studies.named(study).items():
                every[name], self.searched[name] = self.studies.trials(study, part), part
                self.study_of[name] = study
        axes = {name: self.axes(name, step) for name, step in every.items()}
        searches: dict[str, StudyPlan] = {}
        for name, step in every.items():
            self.cases[name] = tuple(self.expand(name, step, axes[name]))
            if name == plan.trials_name(self.study_of.get(name, "")):
                study = self.study_of[name]
                searches[study] = self.studies.plan(study, self.cases[name])
        steps = self.planned(every, axes, searches)
        named = list(self.named_environments())
        environments = images.environments(self.loaded.folder, named, self.problem)
        pinned = images.pinned(
            self.experiment, self.loaded.folder, environments, named, self.problem
        )
        made = Plan(
            experiment=self.experiment,
            file=self.loaded.file,
            folder=self.loaded.folder,
            suffix=_suffix(self.loaded),
            overridden=self.loaded.overridden,
            config=self.loaded.config,
            environments=environments,
            images=pinned,
            steps=steps,
            pythons=images.pythons(self.experiment, self.loaded.folder, named, self.problem),
            registries=images.registries(self.loaded.folder, pinned),
        )
        coherence.check(made, self.problem)
        registered.check(made, frozenset(self.faulty), self.problem)
        images.check_scripts(made, self.problem)
        self.overrides_without_effect()
        return made

    def planned(
        self,
        every: Mapping[str, Step],
        axes: Mapping[str, matrix.Axes],
        searches: Mapping[str, StudyPlan],
    ) -> dict[str, StepPlan]:
        """The steps with their inputs; what gathers a study stands behind its trials."""
        gathers = {name: self.studies.gathering(name) for name in self.studies.known}
        known = {**every, **gathers}
        axes = {**axes, **{name: axes[plan.trials_name(name)] for name in gathers}}
        within = {name: self.studies.named(study) for name, study in self.study_of.items()}
        told = {".".join(path) for path in self.loaded.faulty}  # raw data, as data.NAME
        faulty = frozenset(self.faulty | told | (self.experiment.studies.keys() - gathers.keys()))
        raw, folder = self.experiment.data, self.loaded.folder
        found = References(folder, known, faulty, axes, self.problem, within, raw)
        steps = {}
        for name, step in every.items():
            study = self.study_of.get(name, "")
            last = name == plan.trials_name(study)
            steps[name] = made = StepPlan(
                name=name,
                step=step,
                axes=tuple(axes[name]),
                cases=self.cases[name],
                replicates=matrix.replicates(step),
                inputs=found.inputs(name, self.cases[name]),
                trials_of=searches.get(study),
                part="" if last else self.searched.get(name, ""),
            )
            if last:
                steps[study] = studies.gather(made, gathers[study])
        return steps

    def overrides_without_effect(self) -> None:
        """A shared parameter that comes from outside has to reach a step."""
        taken = {param for cases in self.cases.values() for case in cases for param in case.params}
        for param in self.experiment.params:
            if self.loaded.place("params", param) == OVERRIDE and param not in taken:
                hint = did_you_mean(param, taken)
                self.problem(("params", param), "no step takes this parameter", hint=hint)

    # ---- one step as it is declared -----------------------------------------------------------

    def declaration(self, name: str, step: Step) -> None:
        path = ("steps", name)
        if name == "all":  # the rule that asks for everything
            self.problem(path, "this name is taken", value=name, hint="choose another")
        if not step.outputs and step.metrics is None:
            self.problem(path, "the step writes nothing", expected="outputs or metrics")
        files: dict[tuple[str, ...], str]
        files = {("outputs", key): file for key, file in step.outputs.items()}
        if step.metrics is not None:
            files["metrics",] = step.metrics
        self.files(path, files)
        self.files(path, {("checkpoints", key): file for key, file in step.checkpoints.items()})
        many = bool(step.matrix) or step.replicates is not None
        for word in ("metrics", *(plan.TABLES if many and step.metrics else ())):
            if word in step.outputs:
                hint = f"{name}.{word} is the reference to what ml-experiment makes itself"
                what = f"the output's name {word} is taken"
                self.problem((*path, "outputs", word), what, hint=hint)
        if isinstance(step.replicates, Replicates):
            listed = step.replicates.seeds
            if len(set(listed)) != len(listed):
                self.problem((*path, "replicates"), "a seed is listed twice", value=list(listed))

    def files(self, path: tuple[str, ...], files: Mapping[tuple[str, ...], str]) -> None:
        """Each is a good name, and no two are one file, or one inside the other."""
        earlier: list[tuple[str, str]] = []
        for key, file in files.items():
            wrong = paths.file_problem(file)
            if wrong:
                self.problem((*path, *key), "not a file name", value=file, expected=wrong)
            own = paths.folded(file.rstrip("/")) + "/"
            for other, second in earlier:
                if own.startswith(second) or second.startswith(own):
                    both = f"{other} and {key[-1]}"
                    what = "write one file" if own == second else "write one inside the other"
                    self.problem((*path, *key), f"{both} {what}", value=file)
            earlier.append((key[-1], own))

    # ---- axes and cases -----------------------------------------------------------------------

    def axes(self, name: str, step: Step) -> matrix.Axes:
        wrong: list[matrix.Wrong] = []
        found = matrix.axes(step, self.experiment.axes, wrong)
        self.wrong(name, wrong)
        return found

    def wrong(self, name: str, wrong: Iterable[matrix.Wrong]) -> None:
        for below, what, value, hint in wrong:
            self.problem(("steps", name, *below), what, value=value, hint=hint)

    def expand(self, name: str, step: Step, axes: matrix.Axes) -> Iterator[Case]:
        wrong = list(matrix.check_cases(step, axes))
        combinations = matrix.combinations(step, axes, wrong)
        self.wrong(name, wrong)
        count = len(combinations) * len(matrix.replicates(step))
        if count > matrix.MAX_JOBS:
            self.problem(("steps", name), f"{count:,} jobs", hint="fewer values or replicates")
        labels: set[str] = set()
        works: dict[Any, tuple[Work, dict[str, Any], placeholders.Template | None, Code]] = {}
        for values in combinations:
            slugs = {axis: paths.slug(values[axis]) for axis in axes}
            label = paths.label(slugs)
            if len(label.encode()) > paths.MAX_NAME:
                what = "the values are too long for a folder's name"
                self.problem(("steps", name, "matrix"), what, value=label)
            chosen = [
                (axis, text)
                for axis in axes
                if axis in step.cases
                and (text := placeholders.as_text(values[axis])) in step.cases[axis]
            ]
            same = (tuple(chosen), tuple(values))
            if same not in works:
                works[same] = self.work(name, step, chosen, values)
            if label in labels and isinstance(step.matrix, Matrix) and step.matrix.include:
                what = "two combinations would write the same files"
                self.problem(("steps", name, "matrix"), what, value=label)
            labels.add(label)
            yield Case(label, slugs, values, *works[same])

    # ---- what a case does ---------------------------------------------------------------------

    def work(
        self, name: str, step: Step, chosen: list[tuple[str, str]], values: Mapping[str, Scalar]
    ) -> tuple[Work, dict[str, Any], placeholders.Template | None, Code]:
        work, path = matrix.merged(step, chosen), ("steps", name)
        if work.environment is None and self.experiment.environment is not None:
            work = work.model_copy(update={"environment": self.experiment.environment})
        if step.by_hand:
            self.by_hand(name, step, work)
            return work, dict(work.params), None, Code({}, frozenset())
        if (work.run is None) == (work.call is None):
            case = ", ".join(f"{axis}={value}" for axis, value in values.items())
            what = "neither run nor call" if work.run is None else "both run and call"
            self.problem(path, what + (f" for {case}" if case else ""), expected="one of run, call")
            return work, dict(work.params), None, Code({}, frozenset())
        key = self.command_path(name, step, chosen, "run" if work.run is not None else "call")
        template, code = self.command(work, key)
        shared = {
            param: value
            for param, value in self.experiment.params.items()
            if param not in work.params and given.reaches(param, template, code)
        }
        params = {**shared, **work.params}
        named = {**self.params_later(name, work), **params}
        trial = name in self.searched or name in self.searched.values()
        more = any(self.studies.functions(study) for study in self.searching(name, work))
        taken = given.Given(step, work, named, values, template, code, trial=trial, more=more)
        for what, hint in taken.problems():
            self.problem(key, what, hint=hint)
        if name in self.searched:
            self.searches_nothing(name, work, template, code)
        return work, params, template, code

    def by_hand(self, name: str, step: Step, work: Work) -> None:
        """A step whose command is in a rule of the Snakefile: only the trials of a study may be."""
        if work.run is not None or work.call is not None:
            what = "a rule does it by hand, and it has run or call"
            self.problem(("steps", name, "by_hand"), what, hint="remove one of them")
        if step.retries:
            what = "a failed trial of a rule by hand is not tried again"
            self.problem(("steps", name, "retries"), what, value=step.retries, hint="remove it")
        if name not in {*self.searched, *self.searched.values()}:
            hint = "declare a study of it; another rule needs no step"
            self.problem(("steps", name, "by_hand"), "no study searches this step", hint=hint)

    def searches_nothing(
        self, name: str, work: Work, template: placeholders.Template | None, code: Code
    ) -> None:
        """A parameter that is searched has to reach the program."""
        study, step = self.study_of[name], self.searched[name]
        for param in self.studies.names(study, step):
            if param not in work.params and not given.reaches(param, template, code):
                hint = did_you_mean(param, work.params)
                expected = f"a parameter of {step}, or {{params.{param}}} in its command"
                full = param if param in self.studies.known[study].space else f"{step}.{param}"
                path = ("studies", study, "space", full)
                self.problem(path, f"nothing of {step} takes this parameter", value=full,
                             expected=expected, hint=hint)  # fmt: skip

    def searching(self, name: str, work: Work) -> set[str]:
        """The studies that a step gets parameters from: as a trial, or the best of."""
        if name in self.searched.values():
            return {self.study_of[t] for t, part in self.searched.items() if part == name}
        study = self.study_of.get(name) or best_of(work.params_from or "")[0]
        return {study} & {*self.studies.known}

    def params_later(self, name: str, work: Work) -> dict[str, Any]:
        """Parameters that are known when the job is about to run, each with a possible value."""
        searching = self.searching(name, work)
        if searching and (name in self.study_of or name in self.searched.values()):
            step = self.searched.get(name, name)
            return {p: v for study in searching for p, v in self.studies.names(study, step).items()}
        if work.params_from is None:
            return {}
        path = ("steps", name, "params_from")
        study, step = best_of(work.params_from)
        if study in self.studies.known and (not step or step in self.studies.named(study)):
            return self.studies.names(study, step or None)
        told = study in self.faulty or study in self.experiment.studies.keys() - self.studies.known
        if not told:
            known = [f"{known}.best.params" for known in self.studies.known]
            hint = did_you_mean(work.params_from, known)
            self.problem(path, "not the best parameters of a study", value=work.params_from,
                         expected="STUDY.best.params", hint=hint)  # fmt: skip
        return {}

    def command_path(
        self, name: str, step: Step, chosen: list[tuple[str, str]], word: str
    ) -> tuple[str, ...]:
        """Where the command that counts was written."""
        for axis, value in reversed(chosen):
            if word in step.cases[axis][value].model_fields_set:
                return ("steps", name, "cases", axis, value, word)
        return ("steps", name, word)

    def command(
        self, work: Work, path: tuple[str, ...]
    ) -> tuple[placeholders.Template | None, Code]:
        folder = self.loaded.folder
        template = None
        if work.run is not None:
            template = self.templates.setdefault(work.run, placeholders.parse(work.run))
            code = self.once(("run", work.run), lambda: sources.of_run(template, folder))
            for what in template.problems:
                self.problem(path, what)
        else:
            target = work.call or ""
            code = self.once(("call", target), lambda: sources.of_call(target, folder))
        for what, hint in code.problems:
            self.problem(path, what, hint=hint)
        return template, code

    def function(self, target: str, path: tuple[str, ...]) -> Code:
        """The code of a function that draws the parameters of a study."""
        code = self.once(("call", target), lambda: sources.of_call(target, self.loaded.folder))
        for what, hint in code.problems:
            self.problem(path, what, hint=hint)
        return code

    def once(self, key: tuple[str, str], make: Callable[[], Code]) -> Code:
        if key not in self.codes:
            self.codes[key] = make()
        return self.codes[key]

    def named_environments(self) -> Iterator[tuple[tuple[str, ...], str | None]]:
        """Each environment that is named, and where; None for a step that names none."""
        if self.experiment.environment is not None:
            yield ("environment",), self.experiment.environment
        for name, cases in self.cases.items():
            for environment in {case.work.environment: None for case in cases}:
                yield ("steps", name, "environment"), environment


def _suffix(loaded: Loaded) -> str:
    """Variants, and experiment files of another name, have results of their own."""
    stem = Path(loaded.file).stem
    parts = ([] if stem == "experiment" else [stem]) + ([loaded.variant] if loaded.variant else [])
    return "".join(f"-{part}" for part in parts)
