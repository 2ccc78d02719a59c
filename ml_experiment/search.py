"""A study as data: what is searched, what was suggested, what came of it.

Trial `t` is suggested by a sampler that has been told the results of trials `0 … t - window` and of
no other, in that order, and knows the trials in between as running. So what trial `t` is depends
on the declaration and those results alone, never on who finished first. Samplers that look at no
result are told none.

Suggestions are a chain, as commits are: each names by digest what it was made from, the suggestion
before it and the results that it was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ml_experiment.hashing import canonical, of_text
from ml_experiment.seeds import derive
from ml_experiment.space import Parameter

Direction = Literal["minimize", "maximize"]
Ended = Literal["complete", "failed", "pruned"]
BY_INDEX = frozenset({"grid", "qmc"})  # trial t is their t-th point, so one seed serves all trials
WITHOUT_MEMORY = frozenset({"bruteforce", "grid", "qmc", "random"})  # results change nothing
NOTHING = of_text("")  # the digest of no results


@dataclass(frozen=True)
class Search:
    """What a study declares.

    Attributes:
        name: the study's name in the experiment.
        root: the experiment's seed.
        objectives: each direction, in order.
        sampler: its short name, or `module:Class`.
        options: of the sampler, by Optuna's names.
        constrained: whether results say how far a trial is from what is allowed.
        enqueued: what the first trials try; parameters that are left out are sampled.
        function: draws the parameters of Optuna's trial, as `module:function`, in the place of
            `parameters`.
        code: file -> digest, of all that the function is of, and a sampler or pruner of the project.
        pruner: its short name, or `module:Class`; None where all trials run to their end.
        pruner_options: by Optuna's names.
    """

    name: str
    root: int
    parameters: tuple[Parameter, ...]
    objectives: tuple[Direction, ...]
    sampler: str = "tpe"
    options: Mapping[str, Any] = field(default_factory=dict)
    window: int = 8
    constrained: bool = False
    enqueued: tuple[Mapping[str, Any], ...] = ()
    function: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    pruner: str | None = None
    pruner_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether the sampler is none of Optuna's: one object then suggests all trials."""
        return ":" in self.sampler

    def seed(self, trial: int) -> int:
        """The seed of the sampler that suggests a trial."""
        number = 0 if self.own or self.sampler in BY_INDEX else trial
        return derive(self.root, f"study/{self.name}", number, "sampler")

    def seed_around(self, trial: int) -> int:
        """The seed of all other generators while a trial is suggested."""
        return derive(self.root, f"study/{self.name}", trial, "around")

    def told_before(self, trial: int) -> range:
        """The trials whose results the sampler knows when it suggests one."""
        alone = self.sampler in WITHOUT_MEMORY and self.pruner is None
        return range(0) if alone else self.ended_before(trial)

    def ended_before(self, trial: int) -> range:
        """The trials that are behind the window of one."""
        return range(max(0, trial - self.window + 1))

    def enqueued_at(self, trial: int) -> Mapping[str, Any]:
        """What a trial is to try, whatever the sampler says."""
        return self.enqueued[trial] if trial < len(self.enqueued) else {}

    def declared(self) -> dict[str, Any]:
        """What all its suggestions depend on."""
        code = {"code": dict(self.code)} if self.code and not self.function else {}
        return {
            **code,
            "constrained": self.constrained,
            "function": self.function and {self.function: dict(self.code)},
            "name": self.name,
            "objectives": self.objectives,
            "options": dict(self.options),
            "pruner": self.pruner and {self.pruner: dict(self.pruner_options)},
            "root": self.root,
            "sampler": self.sampler,
            "space": [vars(parameter) for parameter in self.parameters],
        }

    def ordered(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a trial as people read them: as declared, or else by name."""
        names = sorted(params) if self.function else [p.name for p in self.parameters]
        return {name: params[name] for name in names if name in params}

    def data(self) -> dict[str, Any]:
        """As JSON; `search` reads it."""
        return asdict(self)


def search(data: Mapping[str, Any]) -> Search:
    """A declaration from its JSON."""
    found = parameters(data["parameters"])
    objectives, enqueued = tuple(data["objectives"]), tuple(data["enqueued"])
    return Search(**{**data, "parameters": found, "objectives": objectives, "enqueued": enqueued})


def parameters(data: Iterable[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """Parameters from their JSON."""
    return tuple(
        Parameter(
            **{
                **parameter,
                "choices": tuple(parameter["choices"]),
                "when": tuple((parent, tuple(values)) for parent, values in parameter["when"]),
            }
        )
        for parameter in data
    )


@dataclass(frozen=True)
class Layout:
    """Where the trials of one study are, and what counts in them.

    Attributes:
        folder: of the study, relative to the workspace.
        replicates: the labels of the replicates of each trial; one empty text where there are none.
        metrics: the file that a trial measures into, in its folder.
        outputs: name -> file or folder, in a trial's folder.
        objectives: metric -> direction.
        constraints: metric -> its bounds, `min` and `max`.
    """

    folder: str
    replicates: tuple[str, ...]
    metrics: str
    outputs: Mapping[str, str]
    objectives: Mapping[str, Direction]
    constraints: Mapping[str, Mapping[str, float | None]]

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return Path(self.folder) / f"trial-{trial_label(number)}"

    def job(self, number: int, replicate: str) -> Path:
        """The folder of one job of a trial."""
        return self.trial(number) / (f"seed-{replicate}" if replicate else "")

    def data(self) -> dict[str, Any]:
        """As JSON; `layout` reads it. A key's mappings are sorted, and here the order counts."""
        ordered = {
            name: list(getattr(self, name).items()) for name in ("objectives", "constraints")
        }
        return {**vars(self), **ordered}


def layout(data: Mapping[str, Any]) -> Layout:
    """A layout from its JSON."""
    ordered = {name: dict(data[name]) for name in ("objectives", "constraints")}
    return Layout(**{**data, "replicates": tuple(data["replicates"]), **ordered})


@dataclass(frozen=True)
class Suggestion:
    """What a trial is to try.

    Attributes:
        params: by name, in the order in which they were drawn.
        state: what the sampler keeps with the trial and in the study, JSON; it is given back when
            the study is made again from files.
        pruning: what the trial needs to know to give itself up.
    """

    number: int
    params: Mapping[str, Any]
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pruning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        values: one for each objective; none of a trial that failed.
        reports: step -> value, on the way.
        excess: by how much each constraint is broken; 0 and less is allowed.
    """

    number: int
    ended: Ended
    values: tuple[float, ...] = ()
    reports: tuple[tuple[int, float], ...] = ()
    excess: tuple[float, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether it counts: it is complete and breaks no constraint."""
        return self.ended == "complete" and all(amount <= 0 for amount in self.excess)


def own(params: Mapping[str, Any], step: str, last: str) -> dict[str, Any]:
    """The parameters of one step of a trial: `step.name`, and of the last step plain names too."""
    found = {}
    for name, value in params.items():
        head, dot, rest = name.partition(".")
        if head == step if dot else step == last:
            found[rest if dot else name] = value
    return found


def trial_label(number: int) -> str:
    """A trial's number in a path: names sort by number, and do not change when trials are added."""
    return f"{number:05d}"


def since(trial: int) -> int:
    """The first of the trials that share a key: 0, 1, 2-3, 4-7, 8-15 and so on.

    The key says which window they see. When the window changes, those that saw no history before
    and see none now keep theirs.
    """
    return 0 if trial == 0 else 1 << (trial.bit_length() - 1)


def result(data: Mapping[str, Any]) -> Result:
    """A result from its JSON."""
    reports = tuple((step, value) for step, value in data["reports"])
    values, excess = tuple(data["values"]), tuple(data["excess"])
    return Result(data["number"], data["ended"], values, reports, excess)


def made_from(search: Search, trial: int, before: str, told: str) -> str:
    """The digest of what a suggestion is made from: while it holds, nobody is asked again.

    Args:
        search: the declaration.
        trial: the number of the trial.
        before: the id of the suggestion before it; an empty text for the first.
        told: the digest of the results that it is told (`chained`).
    """
    return of_text(canonical([search.declared(), trial, search.enqueued_at(trial), before, told]))


def identity(made: str, suggestion: Suggestion) -> str:
    """The id of a suggestion: of what it was made from and what it says."""
    return of_text(canonical([made, vars(suggestion)]))


def chained(before: str, result: Result) -> str:
    """The digest of some results and one more."""
    return of_text(before + canonical(vars(result)))
