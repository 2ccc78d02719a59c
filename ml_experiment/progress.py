"""How far the studies are while they run, in a line for each.

    tune 12/40, 2 failed, best accuracy 0.983 (trial 7), ~20 s to go

What is left takes as long as the trials that have ended did, as many at once as there were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_experiment import keys
from ml_experiment.ending import duration
from ml_experiment.model import Bounds
from ml_experiment.plan import Job, Plan, StepPlan

ENOUGH = 3  # trials, until it is said when the rest will have ended
EVERY = 30.0  # seconds at most between two lines, where each is printed below the last

Trial = tuple[str, int]  # the label of its case, and its number
Record = Mapping[str, Any]


@dataclass
class Progress:
    """One study in one run.

    Attributes:
        trials: how many are declared, in all cases.
        objectives: metric -> direction.
        replicates: how many jobs a trial is.
        constraints: metric -> bounds.
        removed: numbers of trials that do not count.
        earlier: how many trials had ended before this run.
        todo: how many are to run.
    """

    name: str
    trials: int
    objectives: Mapping[str, str]
    replicates: int = 1
    constraints: Mapping[str, Bounds] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()
    earlier: int = 0
    todo: int = 0
    best: dict[str, tuple[float, Trial]] = field(default_factory=dict)  # of each objective
    _records: dict[Trial, list[Record]] = field(default_factory=dict)
    _states: dict[Trial, str] = field(default_factory=dict)  # of those that have ended
    _values: dict[Trial, dict[str, float]] = field(default_factory=dict)  # of those that count
    _void: set[Trial] = field(default_factory=set)  # what is known of them is of an earlier run
    _ended: int = 0  # in this run
    _running: dict[str, float] = field(default_factory=dict)
    _took: list[float] = field(default_factory=list)
    _first: float = math.inf

    def known(self, trial: Trial, record: Record) -> None:
        """A job of a trial that had ended before this run."""
        self._void.add(trial)
        self._add(trial, record)

    def begun(self, trial: Trial, job: str, at: float) -> None:
        """A job of a trial has begun; what the trial gave in an earlier run is void."""
        if trial in self._void:
            self._void.discard(trial)
            for held in (self._records, self._states, self._values):
                held.pop(trial, None)
            self.best = {}
            for other in sorted(self._values):
                self._compare(other)
        self._running[job] = at
        self._first = min(self._first, at)

    def gave_up(self, job: str) -> None:
        """An attempt has failed that is no result."""
        self._running.pop(job, None)

    def ended(self, trial: Trial, record: Record, at: float) -> bool:
        """A job of a trial has ended. Whether the trial is a new best one."""
        began = self._running.pop(str(record.get("job")), at)
        if _state(record) != "stopped":
            self._took.append(at - began)
        if not self._add(trial, record):
            return False
        self._ended += 1
        return any(held == trial for _, held in self.best.values())

    def _add(self, trial: Trial, record: Record) -> bool:
        """Whether it was the last job of its trial."""
        records = self._records.setdefault(trial, [])
        records.append(record)
        if len(records) < self.replicates:
            return False
        states = {_state(one) for one in self._records.pop(trial)}
        state = next((s for s in ("failed", "pruned", "stopped") if s in states), "complete")
        self._states[trial] = state
        if state != "complete" or trial[1] in self.removed:
            return True
        means = {name: _mean(name, records) for name in (*self.objectives, *self.constraints)}
        if all(_within(means[name], bounds) for name, bounds in self.constraints.items()):
            self._values[trial] = means
            self._compare(trial)
        return True

    def _compare(self, trial: Trial) -> None:
        for name, direction in self.objectives.items():
            value, held = self._values[trial][name], self.best.get(name)
            sign = -1.0 if direction == "maximize" else 1.0
            if math.isfinite(value) and (held is None or sign * value < sign * held[0]):
                self.best[name] = (value, trial)

    @property
    def done(self) -> int:
        """How many trials have ended."""
        return min(self.trials, self.earlier + self._ended)

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to run."""
        return self._ended >= self.todo

    def left(self, at: float) -> float | None:
        """Seconds until the last trial will have ended, as far as can be said."""
        if self._ended < ENOUGH or not self._took or self.over:
            return None
        each = math.fsum(self._took) / len(self._took) * self.replicates
        busy = math.fsum([*self._took, *(at - began for began in self._running.values())])
        at_once = busy / max(at - self._first, 1e-3)
        return (self.todo - self._ended) * each / max(at_once, 1e-3)

    def line(self, at: float) -> str:
        """All of it."""
        states = list(self._states.values())
        parts = [f"{self.name} {self.done}/{self.trials}"]
        parts += [f"{states.count(s)} {s}" for s in ("failed", "pruned") if s in states]
        best = [f"{name} {v:.4g} ({_shown(t)})" for name, (v, t) in self.best.items()]
        parts += [f"best {', '.join(best)}"] if best else []
        left = self.left(at)
        parts += [f"~{_about(left)} to go"] if left is not None else []
        return ", ".join(parts)


class Studies:
    """The studies of a run.

    Attributes:
        planned: rule -> how many jobs of it are to run.
    """

    def __init__(self) -> None:
        self.planned: Mapping[str, int] = {}
        self.running: dict[str, Progress] = {}
        self._new: set[str] = set()  # those with a new best trial
        self._said: dict[str, float] = {}

    def begun(
        self, plan: Plan | None, job: Job | None, before: Mapping[str, Record], at: float
    ) -> None:
        """A job has begun. `before` is the last record of every job, from before this run."""
        if plan is None or job is None or job.trial is None:
            return
        name = job.step.name
        if name not in self.running:
            self.running[name] = _progress(plan, job.step, self.planned.get(name), before)
            self._said[name] = at
        self.running[name].begun((job.case.label, job.trial), job.id, at)

    def gave_up(self, job: Job | None) -> None:
        """An attempt of a job has failed."""
        if job is not None and job.step.name in self.running:
            self.running[job.step.name].gave_up(job.id)

    def ended(self, job: Job | None, record: Record, at: float) -> None:
        """A job has ended."""
        if job is None or job.trial is None or job.step.name not in self.running:
            return
        if self.running[job.step.name].ended((job.case.label, job.trial), record, at):
            self._new.add(job.step.name)

    def lines(self, at: float) -> list[str]:
        """A line for each study that is not done."""
        return [study.line(at) for study in self.running.values() if not study.over]

    def news(self, at: float) -> list[str]:
        """The lines with a new best trial, and those of which nothing was said for long."""
        due = [
            name
            for name, study in self.running.items()
            if name in self._new or (at - self._said[name] >= EVERY and not study.over)
        ]
        self._new.clear()
        self._said.update(dict.fromkeys(due, at))
        return [self.running[name].line(at) for name in due]


def _progress(
    plan: Plan, step: StepPlan, planned: int | None, before: Mapping[str, Record]
) -> Progress:
    """A study as it was before this run."""
    study = step.trials_of
    assert study is not None
    made = Progress(
        name=study.name, trials=sum(study.counts.values()), objectives=study.study.objectives,
        replicates=len(step.replicates), constraints=study.study.constraints,
        removed=frozenset(study.study.remove),
    )  # fmt: skip
    every = list(plan.jobs(step))
    digests: dict[str, str] = {}  # trials share keys
    known = []
    for job in every:
        path = plan.key(job)
        if path not in digests:
            digests[path] = keys.digest(keys.of_case(plan, job))
        record = before.get(job.id, {})
        if record.get("key_digest") == digests[path]:
            known.append((job, record))
    to_run = len(every) if planned is None else planned
    made.todo = -(-to_run // made.replicates)
    made.earlier = min(len(every) - to_run, len(known)) // made.replicates
    if to_run < len(every):  # else all of them run again, and what they gave is void
        for job, record in known:
            made.known((job.case.label, job.trial or 0), record)
    return made


def _state(record: Record) -> str | None:
    return (record.get("trial") or {}).get("state")


def _mean(name: str, records: Sequence[Record]) -> float:
    values = [record["metrics"].get(name, math.nan) for record in records]
    return math.fsum(values) / len(values)


def _within(value: float, bounds: Bounds) -> bool:
    low = -math.inf if bounds.min is None else bounds.min
    high = math.inf if bounds.max is None else bounds.max
    return low <= value <= high


def _shown(trial: Trial) -> str:
    case, number = trial
    return f"{case}, trial {number}" if case else f"trial {number}"


def _about(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 10 else duration(seconds)
