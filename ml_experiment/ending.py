"""What a run ends with: failure cards, and at most five lines."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import containers, metrics, overrides
from ml_experiment.errors import MLExperimentError
from ml_experiment.launch import TAIL
from ml_experiment.placeholders import as_text
from ml_experiment.plan import Job, Plan, StepPlan


def card(
    name: str, log: str, rerun: str, *, params: Mapping[str, Any], seed: int | None, tail: str
) -> str:
    """What is to be known of one failed job."""
    lines = [f"failed: {name}"]
    if params:
        lines.append("  params: " + ", ".join(f"{k}={as_text(v)}" for k, v in params.items()))
    lines.append(f"  seed:   {'none' if seed is None else seed}")
    lines.append(f"  log:    {log}")
    shown = tail.rstrip("\n").splitlines()[-TAIL:]
    lines += [f"  │ {line}" for line in shown] or ["  │ (the program printed nothing)"]
    lines.append(f"  again:  {rerun}")
    return "\n".join(lines)


def last_lines(file: Path, count: int = TAIL) -> str:
    """The end of a log; bytes that are no text are shown as such."""
    try:
        with file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - 200 * count))
            text = log.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])


def summary(
    plan: Plan, ran: Sequence[str], changed: Iterable[str], failed: int, elapsed: float, kept: str
) -> str:
    """The last lines of a run: what changed, the headline metric, seed, duration, what is next.

    `kept` says what of it went where it is kept.
    """
    lines = []
    what = ", ".join(changed)
    count = f"{len(ran)} job{'' if len(ran) == 1 else 's'}"
    state = f"{failed} failed, {count} done" if failed else f"{count} done"
    lines.append(f"{plan.experiment.name}: {state}" + (f" (changed: {what})" if what else ""))
    headline = _headline(plan)
    if headline and not failed:
        lines.append(headline)
    where = (
        f" · {plan.results}/, with values that {plan.file} does not have" if plan.overridden else ""
    )
    kept = f" · {kept}" if kept else ""
    lines.append(f"seed {plan.experiment.seed} · {duration(elapsed)}{where}{kept}")
    if failed:
        lines.append("next: mend it, then run again: what is done stays done")
    else:
        lines.append("next: `ml-experiment status`, or `snakemake --report report.html`")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rerun(plan: Plan, target: str) -> str:
    """The command that makes one file again, with the experiment and variant of this run."""
    words = ["snakemake", *containers.asked_of_snakemake(plan)]
    words += ["--cores", "1", "--force", target]
    if plan.config:
        words += ["--config", *overrides.to_words(plan.config)]
    return shlex.join(words)


def job_target(plan: Plan, job: Job) -> str:
    """A file that only this job makes."""
    return plan.files(job)[0]


def _headline(plan: Plan) -> str | None:
    """The metrics of the last step that has any, or else the best of the last study."""
    steps = [s for s in plan.steps.values() if not s.trials_of and s.name not in plan.only_searched]
    for step in [*(s for s in reversed(steps) if not s.study), *(s for s in steps if s.study)]:
        if step.study:
            return _of_study(plan, step)
        if step.tabled:
            return _from_summary(step.name, plan.folder / plan.table(step, "summary"))
        if step.step.metrics is None:
            continue
        job = next(plan.jobs(step))
        try:
            final = metrics.read(plan.folder / (plan.metrics(job) or "")).final
        except MLExperimentError:
            return None
        shown = [f"{name} {value:.4g}" for name, value in list(final.items())[:4]]
        return f"{step.name}: " + ", ".join(shown)
    return None


def _of_study(plan: Plan, step: StepPlan) -> str | None:
    """The best value of a study, where it is one study with one objective."""
    try:
        file = plan.folder / plan.path(next(plan.jobs(step)), "best.json")
        best = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    values = ", ".join(f"{name} {value:.4g}" for name, value in best["values"].items())
    return f"{step.name}: {values} (trial {best['number']})"


def _from_summary(name: str, file: Path) -> str | None:
    try:
        rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    except OSError:
        return None
    shown = []
    for row in rows[:3]:
        half = ""
        if row["high"]:
            half = f" ± {(float(row['high']) - float(row['low'])) / 2:.2g} (95 %)"
        axes = ",".join(
            v for k, v in row.items() if k not in {"metric", "mean", "sd", "n", "low", "high"}
        )
        case = f"{axes} " if axes else ""
        shown.append(f"{case}{row['metric']} {float(row['mean']):.4g}{half}, n = {row['n']}")
    return f"{name}: " + ", ".join(shown) if shown else None
