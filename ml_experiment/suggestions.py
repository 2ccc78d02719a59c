"""The suggestions of a study, one after the other, each made when it is wanted for the first time.

While what a suggestion was made from is the same, it is read from its file and nobody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ml_experiment import trials
from ml_experiment.asking import Asking
from ml_experiment.errors import UserError
from ml_experiment.model import Stop
from ml_experiment.plan import Case, StudyPlan, trials_name
from ml_experiment.search import (
    NOTHING,
    Direction,
    Layout,
    Result,
    Suggestion,
    chained,
    identity,
    made_from,
)
from ml_experiment.trials import Ended, Kept


class TrialsFailedError(UserError):
    """Too many trials have failed; `first` is the number of the first of them."""

    def __init__(self, first: int, what: str, **more: Any) -> None:
        super().__init__(what, **more)
        self.first = first


class Suggestions:
    """What the trials of one study try.

    Args:
        root: the workspace.
        layout: where its trials are.
        study: what is searched, when that ends, and how many trials may fail.
        case: the case of the study.
        asking: makes what is not there yet.
    """

    def __init__(
        self, root: Path, layout: Layout, study: StudyPlan, case: Case, asking: Asking
    ) -> None:
        self.root = root
        self.layout = layout
        self.plan = study
        self.case = case
        self.search = study.searches[case.label]
        self.asking = asking
        self.stopped: int | None = None  # the first trial that does nothing
        self._kept: list[Kept] = []
        self._ended: list[Ended] = []
        self._told = [NOTHING]  # the digest of the first 0, 1, 2, … results
        self._failures = [0]  # among the first 0, 1, 2, … results

    def at(self, number: int, *, ask: bool) -> Kept | Literal["stopped"] | None:
        """What a trial tries; None where that is not known yet and nobody is to be asked.

        Raises:
            UserError: there is no such sampler, a file of an earlier trial is not what it should
                be, or too many have failed.
        """
        while len(self._kept) <= number and self.stopped is None:
            if not self._next(len(self._kept), ask=ask):
                return None
        if self.stopped is not None and number >= self.stopped:
            return "stopped"
        return self._kept[number]

    def _next(self, number: int, *, ask: bool) -> bool:
        """Go on by one trial, as far as is known."""
        seen = len(self.plan.sees(self.case, number))
        if not self._read(seen):
            return False
        self._check_failures(seen)
        if enough(self._ended[:seen], self.search.objectives[0], self.plan.study.stop):
            self.stopped = number
            return True
        before = self._kept[-1].identity if self._kept else ""
        told = self._told[len(self.search.told_before(number))]
        made = made_from(self.search, number, before, told)
        file = self.root / self.layout.trial(number) / "suggestion.json"
        found = trials.kept(file)
        if found is None or found.made != made:
            if not ask:
                return False
            found = self._ask(made, file)
        self._kept.append(found)
        return True

    def _read(self, count: int) -> bool:
        """The results of the first trials; false where they are not all there."""
        for number in range(len(self._ended), count):
            identity = self._kept[number].identity
            came = trials.ended(self.root, self.layout, number, identity)
            if came is None:
                return False
            self._ended.append(came)
            self._told.append(chained(self._told[-1], came.result))
            self._failures.append(self._failures[-1] + (came.result.ended == "failed"))
        return True

    def _ask(self, made: str, file: Path) -> Kept:
        before = [kept.suggestion for kept in self._kept]
        results = [came.result for came in self._ended]
        suggestion, by = self.asking.suggest(self.layout.folder, self.search, before, results)
        found = Kept(suggestion, made, identity(made, suggestion))
        trials.keep(file, found, by)
        self._ask_ahead([*before, suggestion], results)
        return found

    def _ask_ahead(self, before: list[Suggestion], results: list[Result]) -> None:
        """Have the next trial suggested while this one begins.

        A result that is read too early may be that of an earlier run. Then the question is another
        one when the trial is wanted, and is asked again.
        """
        number = len(before)
        told = len(self.search.told_before(number))
        if number >= self.plan.counts[self.case.label] or told > len(results) + 1:
            return
        try:
            if told > len(results):
                if told > len(self._kept):  # with a window of 1: the trial that begins now
                    return
                known = self._kept[told - 1].identity
                came = trials.ended(self.root, self.layout, told - 1, known)
                if came is None:
                    return
                results = [*results, came.result]
            self.asking.begin(self.layout.folder, self.search, before, results)
        except UserError:
            return  # whoever wants the trial is told

    def _check_failures(self, seen: int) -> None:
        """Too many trials that failed end a study.

        Raises:
            UserError: they do.
        """
        failed, most = self._failures[seen], self.plan.study.max_failures
        if failed and most is not None and failed > most:
            self._refuse(f"{failed} trials have failed", f"at most {most}")
        if failed == seen >= self.search.window:
            self._refuse(f"all {seen} trials so far have failed", None)

    def _refuse(self, what: str, expected: str | None) -> None:
        came = next(came for came in self._ended if came.result.ended == "failed")
        first = f"the first is trial {came.result.number}: {came.reason}"
        rule = trials_name(self.plan.name)
        hint = f"mend it; if that changes nothing of the experiment, `snakemake --forcerun {rule}`"
        told = f"{what}, {first}"
        raise TrialsFailedError(
            came.result.number, told, where=self.layout.folder, expected=expected, hint=hint
        )


def enough(seen: Sequence[Ended], direction: Direction, stop: Stop | None) -> bool:
    """Whether a study has found what it was to find, by the trials that have ended."""
    if stop is None:
        return False
    sign = 1.0 if direction == "minimize" else -1.0
    best, since = math.inf, 0
    for came in seen:
        value = sign * came.result.values[0] if came.result.allowed else math.inf
        best, since = (value, 0) if value < best else (best, since + 1)
    if stop.target is not None and best <= sign * stop.target:
        return True
    return stop.no_improvement is not None and best < math.inf and since >= stop.no_improvement
