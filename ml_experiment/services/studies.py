"""`ml-experiment studies`: how far the studies are, by the files of their trials.

Nothing is written and no sampler is asked, so it can be looked at in the middle of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_experiment import keys, staleness, trials
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.plan import Case, Job, Plan, StepPlan
from ml_experiment.search import NOTHING, Layout, Search, chained, made_from
from ml_experiment.services import gather
from ml_experiment.trials import Ended

STATES = ("complete", "failed", "pruned", "removed")  # of trials that have ended


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        state: complete, failed, pruned, removed (by hand), unfinished (it runs, or a run was
            stopped), outdated (what it tries was suggested for another declaration), or unreadable.
        values: objective -> value, of a trial that is complete.
        reason: why it failed, cannot be read, or does not count.
        rank: its place among those that count, the best 0; None where it does not count.
    """

    number: int
    state: str
    values: Mapping[str, float]
    params: Mapping[str, Any]
    reason: str | None
    rank: int | None = None


@dataclass(frozen=True)
class StudyRow:
    """One study in one case.

    Attributes:
        case: its label; empty where the study has no matrix.
        state: complete, unfinished (it runs, a run was stopped, or something has changed), or not
            begun.
        stopped: how many trials it took, where it stopped before the last one.
        best: the trials that no other is better than: one, or several with several objectives.
        changed: what was declared otherwise when the study was gathered.
    """

    study: str
    case: str
    state: str
    declared: int
    stopped: int | None
    objectives: Mapping[str, str]
    trials: tuple[TrialRow, ...]
    best: tuple[TrialRow, ...]
    changed: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many trials have ended."""
        return sum(self.counts.get(state, 0) for state in STATES)


def studies(plan: Plan, name: str | None = None, case: str | None = None) -> list[StudyRow]:
    """All studies, or the cases of one.

    Args:
        plan: the experiment.
        name: of the study.
        case: which cases of it, such as `method=svm`.

    Raises:
        UserError: no such study, or no such case.
    """
    steps = {step.name: step for step in plan.steps.values() if step.study}
    if name is None:
        return [_row(plan, step, of) for step in steps.values() for of in step.cases]
    step = chosen(plan, name)
    return [_row(plan, step, of) for of in cases(step, case)]


def chosen(plan: Plan, name: str) -> StepPlan:
    """The step that gathers a study.

    Raises:
        UserError: no such study.
    """
    steps = {step.name: step for step in plan.steps.values() if step.study}
    if name not in steps:
        hint = did_you_mean(name, steps) or "the experiment declares no studies"
        raise UserError("no such study", value=name, hint=hint)
    return steps[name]


def cases(step: StepPlan, asked: str | None) -> list[Case]:
    """The cases of a study that have these values.

    Raises:
        UserError: there is none.
    """
    if asked is None:
        return list(step.cases)
    if not step.axes:
        raise UserError(f"the study {step.name} has no cases", value=asked, hint="leave it out")
    parts = {case.label: set(case.label.split(",")) for case in step.cases}
    wanted = asked.split(",")
    known = set().union(*parts.values())
    for part in wanted:
        if part not in known:
            raise UserError("no such case", value=part, hint=did_you_mean(part, known))
    found = [case for case in step.cases if parts[case.label].issuperset(wanted)]
    if not found:
        hint = did_you_mean(asked, [case.label for case in step.cases])
        raise UserError("no such case", value=asked, hint=hint)
    return found


def by_value(row: StudyRow) -> list[TrialRow]:
    """The trials of a study, the best first; those that do not count last, by number."""
    return sorted(row.trials, key=lambda t: (t.rank is None, t.rank or 0, t.number))


def _row(plan: Plan, step: StepPlan, case: Case) -> StudyRow:
    study = step.study
    assert study is not None
    job = Job(step, case, step.replicates[0])
    layout, search = keys.layout(plan, job), study.searches[case.label]
    declared, removed = study.counts[case.label], frozenset(study.study.remove)
    stopped, read = _read(plan.folder, layout, search, declared, removed)
    counting = [
        gather.Trial(row.params, ended, removed=False)
        for row, ended in read
        if row.state == "complete" and ended is not None and ended.result.allowed
    ]
    best, ranks = _ranked(counting, search)
    rows = tuple(replace(row, rank=ranks.get(row.number)) for row, _ in read)
    begun = any(row.state != "outdated" for row in rows)
    counts = Counter(row.state for row in rows)
    whole = sum(counts[state] for state in STATES) == (declared if stopped is None else stopped)
    gathered, changed = _gathered(plan, job)
    return StudyRow(
        study=step.name, case=case.label, declared=declared, stopped=stopped,
        state="complete" if whole and gathered else "unfinished" if begun else "not begun",
        objectives=dict(layout.objectives), trials=rows,
        best=tuple(row for row in rows if row.number in best), changed=changed, counts=counts,
    )  # fmt: skip


def _read(
    root: Path, layout: Layout, search: Search, count: int, removed: frozenset[int]
) -> tuple[int | None, list[tuple[TrialRow, Ended | None]]]:
    """At which trial a study stopped, and its trials with what came of them."""
    found: list[tuple[TrialRow, Ended | None]] = []
    chain = _Chain(search)
    for number in range(count):
        folder = root / layout.trial(number)
        if not folder.is_dir():  # of a trial that has not begun, one look
            chain.whole = False
            continue
        try:
            if trials.stopped(root, layout, number):
                return number, found
            kept = trials.kept(folder / "suggestion.json")
            if kept is None:
                chain.whole = False
                continue
            if not chain.holds(kept):
                found.append((TrialRow(number, "outdated", {}, kept.suggestion.params, None), None))
                continue
            ended = trials.ended(root, layout, number, kept.identity)
        except UserError as error:
            found.append((TrialRow(number, "unreadable", {}, {}, error.problem.what), None))
            chain.whole = False
            continue
        chain.add(kept, ended)
        found.append((_trial(layout, search, kept, ended, removed), ended))
    return None, found


class _Chain:
    """Whether suggestions are those that the declaration leads to, as far as can be seen.

    After a change of the declaration the files of earlier trials are there until a run gets to them.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.whole = True  # no trial so far is missing
        self.outdated = False  # and then all that come after it
        self.before = ""
        self.told = [NOTHING]

    def holds(self, kept: trials.Kept) -> bool:
        """Whether the next suggestion is made from those before it."""
        number = kept.suggestion.number
        told = len(self.search.told_before(number))
        if self.whole and told < len(self.told) and not self.outdated:
            made = made_from(self.search, number, self.before, self.told[told])
            self.outdated = made != kept.made
        return not self.outdated

    def add(self, kept: trials.Kept, ended: Ended | None) -> None:
        """The next trial."""
        number = kept.suggestion.number
        self.before = kept.identity
        if ended is not None and number == len(self.told) - 1:
            self.told.append(chained(self.told[-1], ended.result))


def _trial(
    layout: Layout,
    search: Search,
    kept: trials.Kept,
    ended: Ended | None,
    removed: frozenset[int],
) -> TrialRow:
    number, params = kept.suggestion.number, kept.suggestion.params
    named = search.ordered(params)
    if ended is None:
        return TrialRow(number, "unfinished", {}, named, None)
    values = dict(zip(layout.objectives, ended.result.values, strict=False))
    state = "removed" if number in removed else ended.result.ended
    reason = ended.reason or _broken(layout, ended)
    return TrialRow(number, state, values, named, reason)


def _broken(layout: Layout, ended: Ended) -> str | None:
    """The constraints that a trial breaks."""
    named = [
        n for n, bounds in layout.constraints.items() for b in bounds.values() if b is not None
    ]
    excess = zip(named, ended.result.excess, strict=False)
    broken = dict.fromkeys(name for name, amount in excess if amount > 0)
    return f"out of bounds: {', '.join(broken)}" if broken else None


def _ranked(counting: Sequence[gather.Trial], search: Search) -> tuple[set[int], dict[int, int]]:
    """The numbers of the best trials, and the place of each that counts."""
    ranked = gather.ranked(counting, search)
    best = ranked[:1]
    if len(search.objectives) > 1:
        best = gather.pareto(counting, search)
        first = {trial.result.number for trial in best}
        ranked.sort(key=lambda trial: trial.result.number not in first)
    places = {trial.result.number: place for place, trial in enumerate(ranked)}
    return {trial.result.number for trial in best}, places


def _gathered(plan: Plan, job: Job) -> tuple[bool, tuple[str, ...]]:
    """Whether a study's files are those of what is declared now, and what has changed since."""
    study = job.step.study
    assert study is not None
    several = len(study.study.objectives) > 1
    key, made = plan.key(job), plan.path(job, "pareto.json" if several else "best.json")
    changed = _changed(staleness.read_json(plan.folder / key), keys.of_study(plan, job))
    times = [_time(plan.folder / path) for path in (key, made)]
    return times[1] > 0 and times[0] <= times[1] and not changed, changed


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between two keys of a study, as it is called in the experiment file."""
    if not old:
        return ()
    were, are = ({**{k: v for k, v in key.items() if k != "study"}, **key["study"]}
                 for key in (old, new))  # fmt: skip
    return tuple("trials" if word == "count" else word for word in keys.changes(were, are))


def _time(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
