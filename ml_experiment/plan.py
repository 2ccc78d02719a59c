"""The plan: what each declared step becomes, as data.

    Plan ── StepPlan ── Case       one combination of matrix values
                     └─ Replicate  one seed
    A job is one case under one replicate of one step. A study is two steps: one whose jobs are its
    trials, and one with a job for each case that gathers them.
Nothing here reads a file. `resolve.py` makes a plan and reports what is wrong on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ml_experiment import seeds
from ml_experiment.model import Experiment, Scalar, Step, Study, Work
from ml_experiment.paths import label
from ml_experiment.placeholders import Template
from ml_experiment.search import Search, since, trial_label
from ml_experiment.sources import Code

STATE = ".ml_experiment"  # everything of ours that is not a result or a log
TABLES = ("table", "summary")
MATCHING = "{replicate}"  # in a path of a key: the replicate of the job itself
NEEDED = ""  # the name of an input that the program does not see


@dataclass(frozen=True)
class Case:
    """One combination of a step's axes; a step without a matrix has one, without a label.

    Attributes:
        label: the folder, such as `method=forest,size=3`.
        slugs: axis -> its value as it stands in a path, unique for each value.
        values: axis -> value, with what `include` added.
        work: the step's keys for this case.
        params: the parameters that the case's command gets, shared ones among them.
    """

    label: str
    slugs: Mapping[str, str]
    values: Mapping[str, Scalar]
    work: Work
    params: Mapping[str, Any]
    template: Template | None
    code: Code


@dataclass(frozen=True)
class Replicate:
    """One seed of a step.

    Attributes:
        label: what stands behind `seed-` in a path; empty where there are no replicates.
        index: its place in the list, from 0.
        seed: the seed that the user listed, or None where it is derived.
    """

    label: str = ""
    index: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class Source:
    """One declared input: a path, or one file of each job of another step."""

    path: str | None = None
    step: str | None = None
    file: str | None = None  # of the step: its output's or metrics' file name, or a table's
    shared: bool = False  # one file for all jobs of the step (its tables)


@dataclass(frozen=True)
class Input:
    """A named input: its sources, and whether the program gets a list."""

    sources: tuple[Source, ...]
    many: bool


@dataclass(frozen=True)
class StudyPlan:
    """One study.

    Attributes:
        searches: case label -> what is searched there.
        counts: case label -> how many trials.
    """

    name: str
    study: Study
    searches: Mapping[str, Search]
    counts: Mapping[str, int]

    def sees(self, case: Case, trial: int) -> range:
        """The trials that have ended before one begins.

        More than its sampler is told, where the study may end early.
        """
        search = self.searches[case.label]
        early = self.study.max_failures is not None or self.study.stop is not None
        return search.ended_before(trial) if early else search.told_before(trial)


@dataclass(frozen=True)
class StepPlan:
    """One step with its axes spelled out.

    Attributes:
        inputs: case label -> name -> input.
        trials_of: the study whose trials its jobs are.
        part: its own name, where it is not the last step of these trials.
        study: the study that its jobs gather.
    """

    name: str
    step: Step
    axes: tuple[str, ...]
    cases: tuple[Case, ...]
    replicates: tuple[Replicate, ...]
    inputs: Mapping[str, Mapping[str, Input]]
    trials_of: StudyPlan | None = None
    part: str = ""
    study: StudyPlan | None = None

    @property
    def searched(self) -> str:
        """The step that trials are like, by its own name."""
        return self.part or (self.trials_of.study.step if self.trials_of else self.name)

    @property
    def folder(self) -> str:
        """The name of its folder: trials are in that of their study."""
        return self.trials_of.name if self.trials_of else self.name

    def trials(self, case: Case) -> Iterable[int | None]:
        """The numbers of a case's trials; a step that is none has one job, without a number."""
        return range(self.trials_of.counts[case.label]) if self.trials_of else (None,)

    @property
    def replicated(self) -> bool:
        """Whether `replicates` was declared, be it 1."""
        return self.step.replicates is not None

    @property
    def many(self) -> bool:
        """Whether it is more than one job by declaration."""
        return bool(self.axes) or self.replicated

    @property
    def tabled(self) -> bool:
        """Whether there is a `step.table` of its metrics."""
        return self.many and self.step.metrics is not None and self.trials_of is None

    @property
    def files(self) -> dict[str, str]:
        """Every file name that Snakemake expects of a job of it, by name; metrics last."""
        named = {"status": "status.json"} if self.trials_of else dict(self.step.outputs)
        if self.step.metrics is not None:
            named["metrics"] = self.step.metrics
        return named


@dataclass(frozen=True)
class Job:
    """One case under one replicate of one step."""

    step: StepPlan
    case: Case
    replicate: Replicate
    trial: int | None = None

    @property
    def id(self) -> str:
        """Its name in paths and messages, such as `final/method=forest/seed-0`."""
        labels = self.case.label, self.replicate.label
        return job_id(self.step.folder, *labels, self.trial, self.step.part)


def job_id(step: str, case: str, replicate: str, trial: int | None = None, part: str = "") -> str:
    """A job's name, of the labels of its parts; any but the first may be empty."""
    name = f"{step}/{case}" if case else step
    name = name if trial is None else f"{name}/trial-{trial_label(trial)}"
    name = f"{name}/seed-{replicate}" if replicate else name
    return f"{name}/{part}" if part else name


def trials_name(study: str, part: str = "") -> str:
    """The name of the step that a study's trials are of, or an earlier part of them."""
    return f"{study}.trial.{part}" if part else f"{study}.trial"


def by_hand_id(rule: str, wildcards: Mapping[str, str]) -> str:
    """The name of a job of a rule that was written by hand."""
    parts = (f"{key}={value}".replace("/", "%2F") for key, value in wildcards.items())
    return "/".join([rule, *parts])


@dataclass(frozen=True)
class Plan:
    """All steps in declared order, and where their files are."""

    experiment: Experiment
    file: str
    folder: Path
    suffix: str  # of the results folder: "-smoke" for the variant smoke
    overridden: bool
    config: Mapping[str, Any]  # what was given to Snakemake's --config
    environments: Mapping[str, str]  # name -> digest
    images: Mapping[str, str]  # environment -> the id of the image that its jobs run in, if they do
    steps: Mapping[str, StepPlan]
    pythons: Mapping[str, str] = field(default_factory=dict)  # environment -> its Python's folder
    registries: Mapping[str, str] = field(default_factory=dict)  # environment -> `name@sha256:…`
    folders: Mapping[str, str] = field(default_factory=dict)  # raw input that is one -> its digest
    _jobs: dict[tuple[str, str, str], Job] = field(default_factory=dict, compare=False, repr=False)
    _cases: dict[tuple[str, ...], dict[tuple[str, ...], list[Case]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def results(self) -> str:
        """The folder of all outputs, relative to the workspace."""
        return f"results{self.suffix}"

    @property
    def logs(self) -> str:
        """The folder of all logs."""
        return f"logs{self.suffix}"

    def state(self, kind: str, name: str = "") -> str:
        """A path for files of ours, such as keys or records."""
        return f"{STATE}/{kind}{self.suffix}" + (f"/{name}" if name else "")

    def jobs(self, step: StepPlan) -> Iterator[Job]:
        """All jobs of a step: axis values outside, then trials, replicates inside."""
        return (job for case in step.cases for job in self.jobs_of(step, case))

    def jobs_of(self, step: StepPlan, case: Case) -> Iterator[Job]:
        """All jobs of one case of a step."""
        for trial in step.trials(case):
            for replicate in step.replicates:
                yield Job(step, case, replicate, trial)

    def is_many(self, step: StepPlan) -> bool:
        """Whether a step has more than one job."""
        return next(islice(self.jobs(step), 1, None), None) is not None

    @cached_property
    def only_searched(self) -> frozenset[str]:
        """The steps that are there for studies: nothing that is run by itself takes their files."""
        found = {step.searched for step in self.steps.values() if step.trials_of}
        while True:
            taken = {
                source.step
                for step in self.steps.values()
                if not step.trials_of and step.name not in found
                for named in step.inputs.values()
                for item in named.values()
                for source in item.sources
            }
            if not found & taken:
                return frozenset(found)
            found -= taken

    def all_jobs(self) -> Iterator[Job]:
        """All jobs of all steps."""
        return (job for step in self.steps.values() for job in self.jobs(step))

    def job(self, step: str, slugs: Mapping[str, str]) -> Job:
        """The job with these path parts: axis values, `trial` and `replicate`.

        Raises:
            KeyError: the matrix has no such combination (it may be excluded), or no such trial.
        """
        if not self._jobs:
            for job in self.all_jobs():
                if not job.trial:
                    self._jobs[job.step.name, job.case.label, job.replicate.label] = job
        planned = self.steps[step]
        case = label({axis: slugs[axis] for axis in planned.axes})
        job = self._jobs[step, case, slugs.get("replicate", "")]
        if planned.trials_of is None:
            return job
        trial = int(slugs["trial"])
        if trial_label(trial) != slugs["trial"] or trial >= planned.trials_of.counts[case]:
            raise KeyError(slugs["trial"])
        return Job(job.step, job.case, job.replicate, trial)

    def path(self, job: Job, file: str) -> str:
        """Where a job writes a file that it declares."""
        return f"{self.results}/{job.id}/{file}"

    def table(self, step: StepPlan, kind: str = "table") -> str:
        """Where a step's table or summary is."""
        return f"{self.results}/{step.name}/{kind}.csv"

    def files(self, job: Job) -> list[str]:
        """Every file and folder that a job makes."""
        return [self.path(job, file).rstrip("/") for file in job.step.files.values()]

    def outputs(self, job: Job) -> dict[str, str]:
        """Name -> path of every declared output, without the metrics."""
        return {name: self.path(job, file) for name, file in job.step.step.outputs.items()}

    def metrics(self, job: Job) -> str | None:
        """The path of a job's metrics."""
        file = job.step.step.metrics
        return None if file is None else self.path(job, file)

    def inputs(self, job: Job) -> dict[str, str | list[str]]:
        """Name -> path, or list of paths, of every declared input."""
        found: dict[str, str | list[str]] = {}
        for name, item in job.step.inputs[job.case.label].items():
            if name != NEEDED:
                paths = self.expand(item, job)
                found[name] = paths if item.many else paths[0]
        return found

    def needs(self, job: Job) -> list[str]:
        """The path of every input, those that the program does not see among them; each once."""
        items = job.step.inputs[job.case.label].values()
        known = (self._declared(source) for item in items for source in item.sources)
        return list(dict.fromkeys(path for source in known for path in self._expand(source, job)))

    def _declared(self, source: Source) -> Source:
        """What Snakemake knows of a source: of an earlier part of a trial its status."""
        earlier = source.step is not None and self.steps[source.step].part
        return replace(source, file="status.json") if earlier else source

    def expand(self, item: Input, job: Job) -> list[str]:
        """The paths of one input."""
        return [path for source in item.sources for path in self._expand(source, job)]

    def _expand(self, source: Source, job: Job) -> Iterator[str]:
        if source.path is not None:
            yield source.path
            return
        assert source.step is not None
        assert source.file is not None
        step = self.steps[source.step]
        if source.shared:
            yield f"{self.results}/{step.name}/{source.file}"
            return
        matched = step.replicated and job.step.replicated
        for case in self.matching(step, job.case):
            same = step.trials_of is not None and job.step.trials_of is not None
            for trial in (job.trial,) if same else step.trials(case):
                for replicate in (job.replicate,) if matched else step.replicates:
                    name = job_id(step.folder, case.label, replicate.label, trial, step.part)
                    yield f"{self.results}/{name}/{source.file}"

    def matching(self, producer: StepPlan, consumer: Case) -> list[Case]:
        """The producer's cases with the consumer's values on the axes that both have."""
        shared = [axis for axis in producer.axes if axis in consumer.slugs]
        index = self._cases.get((producer.name, *shared))
        if index is None:
            index = self._cases[producer.name, *shared] = {}
            for case in producer.cases:
                index.setdefault(tuple(case.slugs[axis] for axis in shared), []).append(case)
        return index.get(tuple(consumer.slugs[axis] for axis in shared), [])

    def key(self, job: Job) -> str:
        """The path of the key file of a job: one for all replicates of a case.

        Trials share one while they see the same of their study: see `keys.since`.
        """
        parts = [job.step.name, job.case.label]
        if job.trial is not None:
            parts.append(f"from-{since(job.trial)}")
        return self.state("keys", "/".join(filter(None, parts)) + ".json")

    def suggestion(self, job: Job) -> str:
        """Where the parameters of a trial are."""
        name = job_id(job.step.folder, job.case.label, "", job.trial)
        return f"{self.results}/{name}/suggestion.json"

    def log(self, job: Job) -> str:
        """What the job printed."""
        return f"{self.logs}/{job.id}.log"

    def boot(self, job: Job) -> str:
        """The boot report: a line of JSON for each Python process of the job."""
        return self.state("boot", f"{job.id}.jsonl")

    def stream(self, step: StepPlan) -> str:
        """The name of a step's seed stream."""
        return step.step.seed_as or step.name

    def seed(self, job: Job) -> int | None:
        """The number that a job gets as {seed}; None where nothing is random."""
        if job.step.step.seeding == "none":
            return None
        if job.replicate.seed is not None:
            return job.replicate.seed
        return seeds.derive(self.experiment.seed, self.stream(job.step), job.replicate.index)
