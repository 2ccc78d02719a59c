"""Records that go where outputs go: `results/STEP/records.jsonl`, an output of the step's stage.

DVC brings it along with the others, whoever pulls or checks out. Here its records are added to
those of this workspace, so that outputs are known that another one has made.

The file is there only while it tells of the step's outputs as they are. Where one of them is made
anew it goes, and comes back when the step is what the experiment says: without it DVC commits
nothing, not with `dvc commit --force` either.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from ml_experiment import atomic, records, staleness
from ml_experiment.hashing import canonical
from ml_experiment.plan import Plan, StepPlan
from ml_experiment.records import Line

NAME = "records.jsonl"


def file_of(plan: Plan, step: StepPlan) -> str:
    """Where the records of a step's outputs travel; a study's beside it, as it is one output."""
    of_study = step.study is not None or step.trials_of is not None
    return f"{plan.results}/{step.folder}{'.' if of_study else '/'}{NAME}"


def file_of_rule(plan: Plan, rule: str) -> str:
    """Where the records of a rule that was written by hand travel, if it has a stage."""
    return f"{plan.results}/{rule}.{NAME}"


def withdraw(plan: Plan, rule: str, step: StepPlan | None) -> None:
    """Take the file away, as one of the outputs that it tells of is another now.

    Args:
        plan: of the experiment.
        rule: whose job has ended.
        step: its step, if it has one.
    """
    path = file_of_rule(plan, rule) if step is None else file_of(plan, step)
    (plan.folder / path).unlink(missing_ok=True)


def write(plan: Plan, names: Collection[str]) -> None:
    """Write the records of the outputs of some stages, by job, so that equal ones are equal bytes."""
    file = staleness.record_file(plan)
    _, digests, fitting = staleness.told(plan)
    of_stage: dict[str, list[Line]] = {}
    for unit in staleness.units(plan):
        step = plan.steps[unit.step]
        if step.folder in names and unit.job in fitting:
            of_stage.setdefault(file_of(plan, step), []).append(fitting[unit.job])
    for unit in staleness.by_hand(plan, fitting):
        if unit.step in names and all(digests.stat(path) for path in unit.outputs):
            of_stage.setdefault(file_of_rule(plan, unit.step), []).append(fitting[unit.job])
    details = records.details(file, {line["id"] for lines in of_stage.values() for line in lines})
    for path, lines in sorted(of_stage.items()):
        whole = sorted(({**details.get(line["id"], {}), **line} for line in lines), key=_job)
        text = "".join(canonical(line) + "\n" for line in whole)
        atomic.write_if_changed(plan.folder / path, text)


def take(plan: Plan) -> int:
    """Add the records that have come with outputs, and say how many there were.

    Raises:
        UserError: they cannot be written.
    """
    seen = _seen(plan)
    news = {path: stat for path, stat in _stats(plan) if seen.get(path) != stat}
    if not news:
        return 0
    file = staleness.record_file(plan)
    known = {line.get("id") for line in records.lines(file)}
    count = 0
    for path in sorted(news):
        for line in records.lines(plan.folder / path):
            identity = line.pop("id", None)
            if identity not in known and isinstance(line.get("job"), str):
                records.add(file, line)
                count += 1
    atomic.write(_taken(plan), canonical({**seen, **news}) + "\n", durable=False)
    return count


def _job(line: Line) -> str:
    return str(line["job"])


def _stats(plan: Plan) -> Iterator[tuple[str, list[int]]]:
    of_steps = dict.fromkeys(file_of(plan, step) for step in plan.steps.values())
    others = sorted((plan.folder / plan.results).glob(f"*.{NAME}"))  # of rules, among others
    of_rules = (f"{plan.results}/{file.name}" for file in others)
    for path in dict.fromkeys([*of_steps, *of_rules]):
        try:
            stat = (plan.folder / path).stat()
        except OSError:
            continue
        yield path, [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _taken(plan: Plan) -> Path:
    """File -> what told when its records were added that it was not touched."""
    return plan.folder / plan.state("travelled", "taken.json")


def _seen(plan: Plan) -> dict[str, list[int]]:
    try:
        return dict(json.loads(_taken(plan).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
