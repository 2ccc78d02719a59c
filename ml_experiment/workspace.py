"""From an experiment file to a plan with its key files on disk: what every command begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import atomic, config, keys, rawdata
from ml_experiment.hashing import canonical
from ml_experiment.plan import Job, Plan, StepPlan, job_id
from ml_experiment.resolve import resolve


@dataclass(frozen=True)
class Before:
    """A key file as it was: its text (None: it was not there) and its time in ns."""

    file: Path
    text: str | None
    time: int


def open_plan(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Read, check and plan an experiment; nothing is written but what is known of raw folders.

    Args:
        file: the experiment file; the one in the current folder where it is None.
        overrides: as Snakemake's config: `variant`, and keys that replace the file's.

    Raises:
        UserError, ExperimentError: what is wrong, all of it.
    """
    chosen = file or config.find(Path.cwd())
    return rawdata.looked_at(resolve(config.load(chosen, overrides)))


def key_texts(plan: Plan) -> dict[str, str]:
    """Path -> content of every key file of the plan."""
    texts: dict[str, str] = {}
    for step in plan.steps.values():
        for job in plan.jobs(step):
            path = plan.key(job)
            if path not in texts:
                texts[path] = key_text(keys.of_case(plan, job))
            if step.study is not None:
                texts[view_key(plan, job)] = key_text(keys.of_view(plan, job))
        if step.tabled:
            texts[table_key(plan, step)] = key_text(keys.of_table(plan, step))
    return texts


def write_keys(plan: Plan, before: list[Before] | None = None) -> None:
    """Bring all key files of a plan up to date."""
    for path, text in key_texts(plan).items():
        write_key(plan.folder / path, text, before)


def write_key(file: Path, text: str, before: list[Before] | None = None) -> None:
    """Bring a key file up to date; one whose content is right keeps its time.

    `before` gathers what was there, for a dry run to put back.
    """
    known = _before(file) if before is not None else None
    if atomic.write_if_changed(file, text, durable=False) and before is not None and known:
        before.append(known)


def put_back(before: list[Before]) -> None:
    """Undo what `write_key` did, times included, so that a dry run changes nothing."""
    while before:
        known = before.pop()
        if known.text is None:
            known.file.unlink(missing_ok=True)
        else:
            atomic.write(known.file, known.text, durable=False)
            os.utime(known.file, ns=(known.time, known.time))


def _before(file: Path) -> Before:
    try:
        return Before(file, file.read_text("utf-8"), file.stat().st_mtime_ns)
    except FileNotFoundError:
        return Before(file, None, 0)


def table_key(plan: Plan, step: StepPlan) -> str:
    """The path of a table's key."""
    return plan.state("keys", f"{step.name}.table.json")


def view_key(plan: Plan, job: Job) -> str:
    """The path of the key of a study's view, of the job that gathers the study."""
    return plan.state("keys", f"{job_id(f'{job.step.name}.view', job.case.label, '')}.json")


def key_text(key: Mapping[str, Any]) -> str:
    """A key as it is written: canonical, a line for each entry, so that a diff can be read."""
    lines = (f' "{name}": {canonical(key[name])}' for name in sorted(key))
    return "{\n" + ",\n".join(lines) + "\n}\n"
