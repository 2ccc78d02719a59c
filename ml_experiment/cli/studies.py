"""What `ml-experiment studies` prints, and what it changes in the experiment file."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment.cli.commands import experiment_file, overrides
from ml_experiment.cli.tracking import columns
from ml_experiment.errors import UserError

if TYPE_CHECKING:
    from ml_experiment.plan import Plan
    from ml_experiment.services.studies import StudyRow, TrialRow
    from ml_experiment.services.study_edits import Change

MANY = 20  # numbers of trials on a line


def studies(options: argparse.Namespace) -> int:
    """`ml-experiment studies`."""
    from ml_experiment import config, workspace

    _check(options)
    file = experiment_file(options) or config.find(Path.cwd())
    plan = workspace.open_plan(file, overrides(options))
    if options.remove:
        return _remove(plan, file, options)
    if options.storage:
        return _import(plan, file, options)
    return _one(plan, options) if options.name else _all(plan, options)


def _check(options: argparse.Namespace) -> None:
    """Which words need others, or exclude them."""
    needy = {"--remove": options.remove, "--import": options.storage, "--case": options.case}
    for word, given in needy.items():
        if given and not options.name:
            raise UserError(f"{word} is for one study", hint=f"ml-experiment studies NAME {word} …")
    if options.remove and options.storage:
        raise UserError("--remove and --import are two things", hint="one after the other")
    if options.json and (options.remove or options.storage):
        raise UserError("--json is for what is shown, not for a change", hint="leave it out")
    of_import = {"--study-name": options.study_name, "--at-most": options.at_most}
    for word, value in of_import.items():
        if value and not options.storage:
            raise UserError(f"{word} is for --import", hint="leave it out")
    if options.dry_run and not (options.remove or options.storage):
        raise UserError("nothing would be written", value="--dry-run", hint="leave it out")
    if options.remove and options.case:
        what = "a number is removed from all cases of a study"
        raise UserError(what, value=options.case, hint="leave --case out")


def _all(plan: Plan, options: argparse.Namespace) -> int:
    from ml_experiment.services import studies as service

    rows = service.studies(plan)
    if options.json:
        print(json.dumps([_study(row) for row in rows], indent=1))
    elif rows:
        by_case = any(row.case for row in rows)
        head = ("study", "case", "trials", "failed", "pruned", "best", "state")
        lines = [head, *map(_line, rows)]
        print(columns([line if by_case else (line[0], *line[2:]) for line in lines]))
    else:
        print(f"{plan.file} declares no studies", file=sys.stderr)
    return 0


def _one(plan: Plan, options: argparse.Namespace) -> int:
    from ml_experiment.services import studies as service

    rows = service.studies(plan, options.name, options.case)
    found = [
        (row, trial)
        for row in rows
        for trial in (service.by_value(row) if options.sort == "value" else row.trials)
    ]
    if options.json:
        print(json.dumps([_trial(row, trial) for row, trial in found], indent=1))
        return 0
    for row in rows:
        head = f"{row.study} {row.case}" if row.case else row.study
        best = f", best {_best(row)}" if row.best else ""
        print(f"{head}: {_progress(row)} trials, {_state(row)}{best}")
        trials = [trial for of, trial in found if of is row]
        table = columns(_table(row, trials)) if trials else "no trial has begun; ml-experiment run"
        print("\n".join(f"  {line}" for line in table.splitlines()))
    return 0


def _remove(plan: Plan, file: Path, options: argparse.Namespace) -> int:
    from ml_experiment.services import study_edits as service

    change = service.remove(plan, file, options.name, options.remove)
    if change is None:
        print("nothing to do: removed already")
        return 0
    print(f"{_written(change, options)}: {', '.join(map(str, change.items))}")
    gone = service.gone(plan, options.name, change.items)
    for folder in gone:
        print(
            f"{folder} is the best then, and its outputs are gone: it has to run again,"
            " and so have the trials that waited for it"
        )
    first = f"rm -r {shlex.join(gone)} && " if gone else ""
    print(f"next: {first}{_run(options)}")
    return 0


def _import(plan: Plan, file: Path, options: argparse.Namespace) -> int:
    from ml_experiment.infer.render import inline
    from ml_experiment.services import study_import as service

    made = service.propose(
        plan, file, options.name, options.storage,
        study=options.study_name, case=options.case, most=options.at_most,
    )  # fmt: skip
    if made.change is not None:
        order = ", the best first" if made.ordered else ""
        print(f"{_written(made.change, options)}, of {made.study}{order}:")
        for each in made.taken:
            values = ", ".join(f"{value:.6g}" for value in each.values)
            print(f"  - {inline(each.point)}  # trial {each.number}: {values}")
    else:
        print(f"nothing of {made.study} can be taken over")
    for why, numbers in made.left.items():
        told = ", ".join(map(str, numbers[:MANY])) + (", …" if len(numbers) > MANY else "")
        print(f"left out, {why}: trial{'s' if len(numbers) > 1 else ''} {told}")
    if made.others:
        print(f"left out, not complete: {made.others}")
    if made.again:
        print(
            f"what trials try changes from trial {made.first} on: {made.again} were there already"
        )
    if made.change is not None:
        print(f"next: {_run(options)}")
    return 0


def _run(options: argparse.Namespace) -> str:
    """The command that brings a study up to date."""
    of = ["--experiment", options.experiment] if options.experiment else []
    return shlex.join(["ml-experiment", "run", *of, options.name])


def _written(change: Change, options: argparse.Namespace) -> str:
    """Write a change, unless it is only to be shown."""
    from ml_experiment.services import study_edits

    if not options.dry_run:
        study_edits.write(change)
    word = "would be added" if options.dry_run else "added"
    return f"{word} to {change.key} in {os.path.relpath(change.file)}"


def _table(row: StudyRow, trials: Sequence[TrialRow]) -> list[tuple[str, ...]]:
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    head = ("trial", "state", *row.objectives, *names, "reason")
    lines = [
        (
            str(trial.number),
            trial.state,
            *(_shown(trial.values.get(name)) for name in row.objectives),
            *(_shown(trial.params.get(name)) for name in names),
            trial.reason or "",
        )
        for trial in trials
    ]
    return [head, *lines]


def _line(row: StudyRow) -> tuple[str, ...]:
    failed, pruned = (str(row.counts.get(state, 0)) for state in ("failed", "pruned"))
    return row.study, row.case, _progress(row), failed, pruned, _best(row), _state(row)


def _progress(row: StudyRow) -> str:
    return f"{row.done}/{row.declared}"


def _state(row: StudyRow) -> str:
    notes = [f"stopped after {row.stopped}"] if row.stopped is not None else []
    notes += [f"changed: {', '.join(row.changed)}"] if row.changed else []
    whole = row.done == (row.declared if row.stopped is None else row.stopped)
    notes += ["not gathered"] if row.state == "unfinished" and whole and not row.changed else []
    notes += [
        f"{row.counts[state]} {state}"
        for state in ("removed", "outdated", "unreadable")
        if row.counts.get(state)
    ]
    return row.state + (f" ({'; '.join(notes)})" if notes else "")


def _best(row: StudyRow) -> str:
    """The best trial; of several objectives the best of each, and how many have no better one."""
    if len(row.objectives) == 1:
        told = [
            f"{name} {v:.4g} (trial {t.number})" for t in row.best for name, v in t.values.items()
        ]
        return "".join(told)
    told = []
    for name, direction in row.objectives.items():
        sign = -1 if direction == "maximize" else 1
        for trial in sorted(row.best, key=lambda t: sign * t.values[name])[:1]:
            told.append(f"{name} {trial.values[name]:.4g} (trial {trial.number})")
    return ", ".join(told) + (f"; {len(row.best)} on the front" if told else "")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _study(row: StudyRow) -> dict[str, Any]:
    """A study for a script to read."""
    return {
        "study": row.study,
        "case": row.case,
        "state": row.state,
        "declared": row.declared,
        "done": row.done,
        **{
            state: row.counts.get(state, 0) for state in ("complete", "failed", "pruned", "removed")
        },
        "stopped": row.stopped,
        "objectives": dict(row.objectives),
        "best": [
            {"number": trial.number, "params": dict(trial.params), "values": dict(trial.values)}
            for trial in row.best
        ],
        "changed": list(row.changed),
    }


def _trial(row: StudyRow, trial: TrialRow) -> dict[str, Any]:
    """A trial for a script to read, as it stands in the study's own files."""
    return {
        "study": row.study,
        "case": row.case,
        "number": trial.number,
        "state": trial.state,
        "values": dict(trial.values),
        "params": dict(trial.params),
        "reason": trial.reason,
    }
