"""The plan: what each declared step becomes, as data.

    Plan ── StepPlan ── Case       one combination of matrix values
                     └─ Replicate  one seed
    A job is one case under one replicate of one step.

Nothing here reads a file. `resolve.py` makes a plan and reports what is wrong on the way.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ml_experiment import seeds
from ml_experiment.model import Experiment, Scalar, Step, Work
from ml_experiment.placeholders import Template, as_text
from ml_experiment.sources import Code

STATE = ".ml_experiment"  # everything of ours that is not a result or a log
MAX_NAME = 200  # bytes: file systems take 255, temporary names need some
TABLES = ("table", "summary")
MATCHING = "{replicate}"  # in a path of a key: the replicate of the job itself


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
class StepPlan:
    """One step with its axes spelled out."""

    name: str
    step: Step
    axes: tuple[str, ...]
    cases: tuple[Case, ...]
    replicates: tuple[Replicate, ...]
    inputs: Mapping[str, Mapping[str, Input]]  # case label -> name -> input

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
        return self.many and self.step.metrics is not None

    @property
    def files(self) -> dict[str, str]:
        """Every file name that a job of it writes, by name; metrics last."""
        named = dict(self.step.outputs)
        if self.step.metrics is not None:
            named["metrics"] = self.step.metrics
        return named


@dataclass(frozen=True)
class Job:
    """One case under one replicate of one step."""

    step: StepPlan
    case: Case
    replicate: Replicate

    @property
    def id(self) -> str:
        """Its name in paths and messages, such as `final/method=forest/seed-0`."""
        return job_id(self.step.name, self.case.label, self.replicate.label)


def job_id(step: str, case: str, replicate: str) -> str:
    """A job's name, of the labels of its parts; either may be empty."""
    name = f"{step}/{case}" if case else step
    return f"{name}/seed-{replicate}" if replicate else name


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
    steps: Mapping[str, StepPlan]
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
        """All jobs of a step: axis values outside, replicates inside, in declared order."""
        for case in step.cases:
            for replicate in step.replicates:
                yield Job(step, case, replicate)

    def all_jobs(self) -> Iterator[Job]:
        """All jobs of all steps."""
        for step in self.steps.values():
            yield from self.jobs(step)

    def job(self, step: str, slugs: Mapping[str, str], replicate: str = "") -> Job:
        """The job with these path parts.

        Raises:
            KeyError: the matrix has no such combination (it may be excluded).
        """
        if not self._jobs:
            for job in self.all_jobs():
                self._jobs[job.step.name, job.case.label, job.replicate.label] = job
        axes = self.steps[step].axes
        return self._jobs[step, label({axis: slugs[axis] for axis in axes}), replicate]

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
            paths = [path for source in item.sources for path in self._expand(source, job)]
            found[name] = paths if item.many else paths[0]
        return found

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
            for replicate in (job.replicate,) if matched else step.replicates:
                name = job_id(step.name, case.label, replicate.label)
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
        """The path of the key file of a job: one for all replicates of a case."""
        return self.state("keys", "/".join(filter(None, (job.step.name, job.case.label))) + ".json")

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


def slug(value: Scalar) -> str:
    """A value as a part of a path: readable, safe in a shell and on any file system, unique."""
    text = as_text(value)
    if text.isascii() and _PLAIN.fullmatch(text) and text.strip("."):
        return text
    safe = "".join(c if c.isalnum() or c in "._+-" else quote(c, safe="") for c in text)
    if not safe.strip("."):  # "", "." and ".." would be other folders
        return safe.replace(".", "%2E") or "%"
    return safe


_PLAIN = re.compile(r"[A-Za-z0-9_+.-]+")  # most values: read without a loop


def folded(name: str) -> str:
    """Equal for two names that are one file where the file system does not know capitals."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def label(slugs: Mapping[str, str]) -> str:
    """The folder of a combination, such as `method=forest,size=3`."""
    return ",".join(f"{axis}={text}" for axis, text in slugs.items())


def file_problem(file: str) -> str | None:
    """What is wrong with the name of a file that a job writes, or None."""
    if not file.isprintable() or re.search(r"[{}]", file):
        return "a name without { or }, line breaks and other invisible characters"
    if any(len(part.encode()) > MAX_NAME for part in file.split("/")):
        return f"names of at most {MAX_NAME} bytes"
    if os.path.isabs(file) or ".." in Path(file).parts:
        return "a name inside the step's own folder: not absolute, without .."
    if os.path.normpath(file) != file.removesuffix("/") or file in {"", ".", "/"}:
        return "a plain file name, or folder/name; a folder's name ends with one /"
    return None
