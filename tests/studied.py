"""Studies for tests: the files that trials leave, without a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ml_experiment import keys, search, space, trials
from ml_experiment.plan import Job, Plan
from ml_experiment.search import NOTHING, Suggestion
from ml_experiment.trials import Kept

FAILED: Mapping[str, float] = {}  # in the place of a trial's metrics
OPEN = None  # of a trial that has been suggested and has not ended


def fill(
    plan: Plan, study: str, measured: Sequence[Mapping[str, float] | None], case: int = 0
) -> None:
    """Trials of a study: what each measured, FAILED or OPEN. They try the lowest of everything."""
    step = plan.steps[study]
    assert step.study is not None
    job = Job(step, step.cases[case], step.replicates[0])
    layout, declared = keys.layout(plan, job), step.study.searches[job.case.label]
    before, told = "", [NOTHING]
    for number, metrics in enumerate(measured):
        count = len(declared.told_before(number))
        made = search.made_from(declared, number, before, told[min(count, len(told) - 1)])
        params = space.draw(declared.parameters, _lowest)
        suggestion = Suggestion(number, params)
        before = search.identity(made, suggestion)
        kept = Kept(suggestion, made, before)
        trials.keep(plan.folder / layout.trial(number) / "suggestion.json", kept, {})
        for replicate in layout.replicates:
            folder = plan.folder / layout.job(number, replicate)
            folder.mkdir(exist_ok=True)
            if metrics is not None:
                how: dict[str, Any] = {"state": "complete"}
                if not metrics:
                    how = {"state": "failed", "status": 1}
                (folder / layout.metrics).write_text(json.dumps(metrics) if metrics else "")
                (folder / "status.json").write_text(json.dumps({**how, "suggestion": before}))
        ended = trials.ended(plan.folder, layout, number, before)
        if ended is not None and number == len(told) - 1:
            told.append(search.chained(told[-1], ended.result))


def _lowest(parameter: space.Parameter) -> Any:
    if parameter.kind == "choice":
        return parameter.choices[0]
    return int(parameter.low) if parameter.kind == "int" else parameter.low
