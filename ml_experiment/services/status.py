"""`ml-experiment status`: what is current, and why the rest is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ml_experiment import staleness, travelling
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.plan import Plan
from ml_experiment.staleness import State

ORDER = ("failed", "edited", "stale", "missing", "unrecorded", "current")  # the worst first


@dataclass(frozen=True)
class Row:
    """One step: how many of its jobs are in which state, and why."""

    step: str
    counts: dict[str, int]
    reasons: tuple[str, ...]

    @property
    def jobs(self) -> int:
        """All of them."""
        return sum(self.counts.values())


def status(plan: Plan, step: str | None = None) -> list[State]:
    """The state of every job, or of one step's.

    Raises:
        UserError: no such step.
    """
    travelling.take(plan)
    found = staleness.states(plan)
    if step is None:
        return found
    names = {state.step for state in found}
    if step not in names:
        raise UserError("no such step", value=step, hint=did_you_mean(step, names))
    return [state for state in found if state.step == step]


def rows(states: Sequence[State]) -> list[Row]:
    """The states of each step, in the order in which the steps run."""
    steps = dict.fromkeys(state.step for state in states)
    grouped: dict[str, list[State]] = {step: [] for step in steps}
    for state in states:
        grouped[state.step].append(state)
    found = []
    for step, members in grouped.items():
        counts = Counter(state.word for state in members)
        own = f"data of {step}"  # a table's, of its jobs: they say why themselves
        reasons = dict.fromkeys(r for state in members for r in state.reasons if r != own)
        ordered = {word: counts[word] for word in ORDER if counts[word]}
        found.append(Row(step, ordered, tuple(reasons)))
    return found
