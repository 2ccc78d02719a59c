"""From a loaded experiment to a plan; every mistake on the way is gathered and told at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment import given, hashing, matrix, placeholders, plan, sources
from ml_experiment.config import Loaded
from ml_experiment.errors import MISSING, ExperimentError, Problem, did_you_mean, nearest
from ml_experiment.model import Replicates, Scalar, Step, Work
from ml_experiment.plan import Case, Input, Plan, Replicate, Source, StepPlan
from ml_experiment.sources import Code

MAX_FOLDER = 200  # bytes of a case's label: file systems take 255, temporary names need some


def resolve(loaded: Loaded) -> Plan:
    """The plan of an experiment.

    Raises:
        ExperimentError: with all problems, those of loading among them.
    """
    resolver = _Resolver(loaded)
    made = resolver.plan()
    if resolver.problems:
        raise ExperimentError(resolver.problems)
    return made


@dataclass
class _Resolver:
    loaded: Loaded
    problems: list[Problem] = field(default_factory=list)
    codes: dict[tuple[str, str], Code] = field(default_factory=dict)
    templates: dict[str, placeholders.Template] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problems.extend(self.loaded.problems)
        self.experiment = self.loaded.experiment
        self.steps = self.experiment.steps
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
        where = self.loaded.place(*path)
        self.problems.append(Problem(what, where, ".".join(path), value, expected, hint))

    def plan(self) -> Plan:
        axes = {name: self.axes(name, step) for name, step in self.steps.items()}
        for name, step in self.steps.items():
            self.declaration(name, step)
            self.cases[name] = tuple(self.expand(name, step, axes[name]))
        steps = {
            name: StepPlan(
                name=name,
                step=step,
                axes=tuple(axes[name]),
                cases=self.cases[name],
                replicates=_replicates(step),
                inputs=self.inputs(name, step),
            )
            for name, step in self.steps.items()
        }
        made = Plan(
            experiment=self.experiment,
            file=self.loaded.file,
            folder=self.loaded.folder,
            suffix=_suffix(self.loaded),
            overridden=self.loaded.overridden,
            config=self.loaded.config,
            environments=self.environments(),
            steps=steps,
        )
        self.matching(made)
        self.cycles(made)
        self.links(made)
        return made

    # ---- one step as it is declared -----------------------------------------------------------

    def declaration(self, name: str, step: Step) -> None:
        path = ("steps", name)
        if name == "all" or name.endswith((".table",)):
            self.problem(path, "this name is taken", value=name, hint="choose another")
        if not step.outputs and step.metrics is None:
            self.problem(path, "the step writes nothing", expected="outputs or metrics")
        files = {**{f"outputs.{key}": file for key, file in step.outputs.items()}}
        if step.metrics is not None:
            files["metrics"] = step.metrics
        for key, file in files.items():
            wrong = plan.file_problem(file)
            if wrong:
                self.problem((*path, *key.split(".")), "not a file name", value=file, expected=wrong)
        for (key, file), (other, second) in itertools.combinations(files.items(), 2):
            one, two = file.rstrip("/") + "/", second.rstrip("/") + "/"
            if one.startswith(two) or two.startswith(one):
                what = f"{key} and {other} write one file" if one == two else f"{key} and {other}: one is inside the other"
                self.problem((*path, *other.split(".")), what, value=second)
        many = bool(step.matrix) or step.replicates is not None
        for word in ("metrics", *(plan.TABLES if many and step.metrics else ())):
            if word in step.outputs:
                self.problem(
                    (*path, "outputs", word), f"the output's name {word} is taken",
                    hint=f"{name}.{word} is the reference to what ml-experiment makes itself",
                )
        for key, file in step.checkpoints.items():
            wrong = plan.file_problem(file)
            if wrong:
                self.problem((*path, "checkpoints", key), "not a file name", value=file, expected=wrong)
        if isinstance(step.replicates, Replicates):
            listed = step.replicates.seeds
            if len(set(listed)) != len(listed):
                self.problem((*path, "replicates"), "a seed is listed twice", value=list(listed))

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
        works: dict[str, tuple[Work, dict[str, Any], placeholders.Template | None, Code]] = {}
        for values in combinations:
            slugs = {axis: plan.slug(values[axis]) for axis in axes}
            label = plan.label(slugs)
            if len(label.encode()) > MAX_FOLDER:
                what = "the values are too long for a folder's name"
                self.problem(("steps", name, "matrix"), what, value=label)
            texts = {axis: placeholders.as_text(values[axis]) for axis in axes}
            chosen = [(a, text) for a, text in texts.items() if text in step.cases.get(a, {})]
            same = repr((chosen, sorted(values)))
            if same not in works:
                works[same] = self.work(name, step, chosen, values)
            yield Case(label, slugs, values, *works[same])

    # ---- what a case does ---------------------------------------------------------------------

    def work(
        self, name: str, step: Step, chosen: list[tuple[str, str]], values: Mapping[str, Scalar]
    ) -> tuple[Work, dict[str, Any], placeholders.Template | None, Code]:
        work, path = _merged(step, chosen), ("steps", name)
        if work.environment is None and self.experiment.environment is not None:
            work = work.model_copy(update={"environment": self.experiment.environment})
        if (work.run is None) == (work.call is None):
            case = ", ".join(f"{axis}={value}" for axis, value in chosen) or ", ".join(map(str, values.values()))
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
        taken = given.Given(step, work, params, values, template, code)
        for what, hint in taken.problems():
            self.problem(key, what, hint=hint)
        return work, params, template, code

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

    def once(self, key: tuple[str, str], make: Callable[[], Code]) -> Code:
        if key not in self.codes:
            self.codes[key] = make()
        return self.codes[key]

    # ---- inputs -------------------------------------------------------------------------------

    def inputs(self, name: str, step: Step) -> dict[str, dict[str, Input]]:
        found: dict[str, dict[str, Input]] = {}
        same: dict[str, dict[str, Input]] = {}
        for case in self.cases[name]:
            declared = case.work.inputs
            varying = "{" in repr(dict(declared))
            token = repr((sorted(declared.items()), case.values if varying else None))
            if token not in same:
                same[token] = {key: self.input(name, step, case, key, value) for key, value in declared.items()}
            found[case.label] = same[token]
        return found

    def input(self, name: str, step: Step, case: Case, key: str, value: str | tuple[str, ...]) -> Input:
        path = ("steps", name, "inputs", key)
        texts = (value,) if isinstance(value, str) else value
        found = [self.source(text, path, case) for text in texts]
        many = not isinstance(value, str) or any(self.several(step, name, source) for source in found)
        return Input(tuple(found), many)

    def several(self, step: Step, name: str, source: Source) -> bool:
        """Whether a single reference stands for a list, by declaration and not by number."""
        if source.step is None or source.shared:
            return False
        producer = self.steps[source.step]
        own = {axis for case in self.cases[name] for axis in case.slugs}
        theirs = {axis for case in self.cases[source.step] for axis in case.slugs}
        return bool(theirs - own) or (producer.replicates is not None and step.replicates is None)

    def source(self, text: str, path: tuple[str, ...], case: Case) -> Source:
        head, dot, rest = text.partition(".")
        if dot and head in self.loaded.faulty:
            return Source(path=text)
        if dot and head in self.steps:
            return self.output(head, rest, path)
        if head in self.steps and not (self.loaded.folder / text).exists():
            known = [f"{head}.{output}" for output in _outputs(self.steps[head])]
            self.problem(path, "a step, but not one of its outputs", value=text, expected=", ".join(known))
        near = nearest(head, self.steps)
        if dot and near and "/" not in text and not (self.loaded.folder / text).exists():
            known = [f"{near}.{output}" for output in _outputs(self.steps[near])]
            hint = did_you_mean(f"{near}.{rest}", known) or ""
            self.problem(path, "no such step, and no such file", value=text, hint=f"{hint} A file: ./{text}".strip())
        return Source(path=self.filled(text, path, case))

    def output(self, head: str, rest: str, path: tuple[str, ...]) -> Source:
        step = self.steps[head]
        many = bool(step.matrix) or step.replicates is not None
        if rest in step.outputs:
            return Source(step=head, file=step.outputs[rest])
        if rest == "metrics" and step.metrics is not None:
            return Source(step=head, file=step.metrics)
        if rest in plan.TABLES and many and step.metrics is not None:
            return Source(step=head, file=f"{rest}.csv", shared=True)
        known = [f"{head}.{output}" for output in _outputs(step)]
        self.problem(
            path, f"{head} has no output {rest}", value=f"{head}.{rest}",
            hint=did_you_mean(f"{head}.{rest}", known) or f"a file: ./{head}.{rest}",
        )
        return Source(path=f"{head}.{rest}")

    def filled(self, text: str, path: tuple[str, ...], case: Case) -> str:
        """A path with {matrix.x} filled in."""
        def value(match: re.Match[str]) -> str:
            axis = match.group(1)
            if axis not in case.values:
                self.problem(path, f"{match.group()} names nothing", value=text, hint=did_you_mean(axis, case.values))
            return placeholders.as_text(case.values.get(axis, ""))

        filled = re.sub(r"\{matrix\.([^{}]*)\}", value, text)
        if re.search(r"[{}\0]", filled):
            self.problem(path, "only {matrix.NAME} may stand in a path", value=text)
        return filled.removeprefix("./") or filled

    # ---- the whole ----------------------------------------------------------------------------

    def matching(self, made: Plan) -> None:
        """Each job finds the jobs that its inputs come from."""
        for step in made.steps.values():
            for job in made.jobs(step):
                for name, item in step.inputs[job.case.label].items():
                    for source in item.sources:
                        if source.step is not None and not source.shared:
                            self.matches(made, job, name, source)

    def matches(self, made: Plan, job: plan.Job, name: str, source: Source) -> None:
        producer = made.steps[source.step or ""]
        path = ("steps", job.step.name, "inputs", name)
        if not made.matching(producer, job.case):
            self.problem(path, f"{producer.name} has no job for {job.case.label}")
        if producer.replicated and job.step.replicated:
            if all(job.replicate.label != other.label for other in producer.replicates):
                self.problem(path, f"{producer.name} has no replicate {job.replicate.label}")

    def cycles(self, made: Plan) -> None:
        needs = {
            name: {
                source.step
                for inputs in step.inputs.values()
                for item in inputs.values()
                for source in item.sources
                if source.step is not None
            }
            for name, step in made.steps.items()
        }
        done: set[str] = set()

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                circle = " -> ".join((*above[above.index(name) :], name))
                self.problem(("steps", name, "inputs"), f"a circle: {circle}")
            elif name not in done:
                for other in sorted(needs[name]):
                    visit(other, (*above, name))
                done.add(name)

        for name in needs:
            visit(name, ())

    def environments(self) -> dict[str, str]:
        found: dict[str, str] = {}
        root = self.loaded.folder / "envs"
        wanted = [(("environment",), self.experiment.environment)]
        for name in self.steps:
            wanted += [(("steps", name, "environment"), c.work.environment) for c in self.cases[name]]
        for path, name in wanted:
            if name is None or name in found:
                continue
            if (root / name).is_dir():
                found[name] = hashing.of_folder(root / name)
                continue
            known = [entry.name for entry in root.iterdir()] if root.is_dir() else []
            hint = did_you_mean(name, known) or f"make the folder envs/{name} with a requirements.txt"
            self.problem(path, "no such environment", value=name, hint=hint)
            found[name] = ""
        return found

    def links(self, made: Plan) -> None:
        """No folder of an output is a link that leaves the workspace."""
        root = made.folder.resolve()
        seen: set[Path] = set()
        for step in made.steps.values():
            for job in made.jobs(step):
                for name, file in step.files.items():
                    self.link(made.folder / made.path(job, file), root, seen, (step.name, name))

    def link(self, path: Path, root: Path, seen: set[Path], what: tuple[str, str]) -> None:
        for parent in path.parents:
            if parent in seen or parent == root or parent == self.loaded.folder:
                return
            seen.add(parent)
            if parent.is_symlink() and not parent.resolve().is_relative_to(root):
                shown = parent.relative_to(self.loaded.folder)
                self.problem(
                    ("steps", what[0]), f"{what[1]} would be written through a link that leaves the project",
                    value=f"{shown} -> {parent.resolve()}", hint="remove the link, or move the project there",
                )


def _merged(step: Step, chosen: list[tuple[str, str]]) -> Work:
    """A step's keys with those of its cases laid on them, axis by axis."""
    keys = {name: getattr(step, name) for name in Work.model_fields}
    for axis, value in chosen:
        case = step.cases[axis][value]
        for name in sorted(case.model_fields_set):
            own = getattr(case, name)
            keys[name] = {**keys[name], **own} if name in {"params", "inputs"} else own
        if "run" in case.model_fields_set:
            keys["call"] = None
        elif "call" in case.model_fields_set:
            keys["run"] = None
    return Work.model_construct(**keys)


def _replicates(step: Step) -> tuple[Replicate, ...]:
    declared = step.replicates
    if declared is None:
        return (Replicate(),)
    if isinstance(declared, Replicates):
        return tuple(Replicate(str(seed), i, seed) for i, seed in enumerate(declared.seeds))
    return tuple(Replicate(str(index), index) for index in range(declared))


def _outputs(step: Step) -> list[str]:
    many = bool(step.matrix) or step.replicates is not None
    metrics = ["metrics"] if step.metrics is not None else []
    return [*step.outputs, *metrics, *(plan.TABLES if many and metrics else ())]


def _suffix(loaded: Loaded) -> str:
    """Variants, and experiment files of another name, have results of their own."""
    stem = Path(loaded.file).stem
    parts = ([] if stem == "experiment" else [stem]) + ([loaded.variant] if loaded.variant else [])
    return "".join(f"-{part}" for part in parts)
