"""A study as data: what is searched, what was suggested, what came of it.

Trial `t` is suggested by a sampler that has been told the results of trials `0 … t - window` and of
no other, in that order, and knows the trials in between as running. So what trial `t` is depends
on the declaration and those results alone, never on who finished first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ml_experiment.hashing import canonical, of_text
from ml_experiment.seeds import derive
from ml_experiment.space import Parameter

Direction = Literal["minimize", "maximize"]
Ended = Literal["complete", "failed", "pruned"]
BY_INDEX = frozenset({"grid", "qmc"})  # trial t is their t-th point, so one seed serves all trials


@dataclass(frozen=True)
class Search:
    """What a study declares.

    Attributes:
        name: the study's name in the experiment.
        root: the experiment's seed.
        objectives: each direction, in order.
        sampler: its short name, or `module:Class`.
        options: of the sampler, by Optuna's names.
    """

    name: str
    root: int
    parameters: tuple[Parameter, ...]
    objectives: tuple[Direction, ...]
    sampler: str = "tpe"
    options: Mapping[str, Any] = field(default_factory=dict)
    window: int = 8

    def seed(self, trial: int) -> int:
        """The seed of the sampler that suggests a trial."""
        number = 0 if self.sampler in BY_INDEX else trial
        return derive(self.root, f"study/{self.name}", number, "sampler")

    def told_before(self, trial: int) -> range:
        """The trials whose results the sampler knows when it suggests one."""
        return range(max(0, trial - self.window + 1))

    def data(self) -> dict[str, Any]:
        """As JSON; `search` reads it."""
        return asdict(self)


def search(data: Mapping[str, Any]) -> Search:
    """A declaration from its JSON."""
    parameters = tuple(
        Parameter(
            **{
                **parameter,
                "choices": tuple(parameter["choices"]),
                "when": tuple((parent, tuple(values)) for parent, values in parameter["when"]),
            }
        )
        for parameter in data["parameters"]
    )
    objectives = tuple(data["objectives"])
    return Search(**{**data, "parameters": parameters, "objectives": objectives})


@dataclass(frozen=True)
class Suggestion:
    """What a trial is to try.

    Attributes:
        params: by name, in the order in which they were drawn.
        state: what the sampler keeps with the trial and in the study, JSON; it is given back when
            the study is made again from files.
    """

    number: int
    params: Mapping[str, Any]
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of a trial: a value for each objective, none of one that failed."""

    number: int
    ended: Ended
    values: tuple[float, ...] = ()
    reports: tuple[tuple[int, float], ...] = ()


def digest(
    search: Search, trial: int, suggestions: Sequence[Suggestion], results: Sequence[Result]
) -> str:
    """What a suggestion was made from: while it holds, the suggestion is read and never asked again.

    Args:
        search: the declaration.
        trial: the number of the trial.
        suggestions: those of all trials before it.
        results: those of at least the trials that it was told.
    """
    known = search.told_before(trial)
    before = [[s.number, s.params] for s in suggestions if s.number < trial]
    told = [[r.number, r.ended, r.values, r.reports] for r in results if r.number in known]
    made_of = {
        "before": sorted(before, key=lambda entry: int(str(entry[0]))),
        "objectives": search.objectives,
        "options": dict(search.options),
        "sampler": search.sampler,
        "seed": search.seed(trial),
        "space": [vars(parameter) for parameter in search.parameters],
        "told": sorted(told, key=lambda entry: int(str(entry[0]))),
        "trial": trial,
    }
    return of_text(canonical(made_of))
