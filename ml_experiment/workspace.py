"""From an experiment file to a plan with its key files on disk: what every command begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_experiment import atomic, config, keys
from ml_experiment.hashing import canonical
from ml_experiment.plan import Plan, StepPlan
from ml_experiment.resolve import resolve


def open_plan(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Read, check and plan an experiment; nothing is written.

    Args:
        file: the experiment file; the one in the current folder where it is None.
        overrides: as Snakemake's config: `variant`, and keys that replace the file's.

    Raises:
        UserError, ExperimentError: what is wrong, all of it.
    """
    chosen = file or config.find(Path.cwd())
    return resolve(config.load(chosen, overrides))


def key_texts(plan: Plan) -> dict[str, str]:
    """Path -> content of every key file of the plan."""
    texts: dict[str, str] = {}
    for step in plan.steps.values():
        for job in plan.jobs(step):
            path = plan.key(job)
            if path not in texts:
                texts[path] = key_text(keys.of_case(plan, job))
        if step.tabled:
            texts[table_key(plan, step)] = key_text(keys.of_table(plan, step))
    return texts


def write_keys(plan: Plan) -> None:
    """Bring the key files up to date; a file whose content is right keeps its time."""
    for path, text in key_texts(plan).items():
        atomic.write_if_changed(plan.folder / path, text, durable=False)


def table_key(plan: Plan, step: StepPlan) -> str:
    """The path of a table's key."""
    return plan.state("keys", f"{step.name}.table.json")


def key_text(key: Mapping[str, Any]) -> str:
    """A key as it is written: canonical, a line for each entry, so that a diff can be read."""
    lines = (f' "{name}": {canonical(key[name])}' for name in sorted(key))
    return "{\n" + ",\n".join(lines) + "\n}\n"
