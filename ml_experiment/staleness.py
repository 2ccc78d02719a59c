"""Why an output is not what the experiment says now: by content, never by time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import history, keys, records, workspace
from ml_experiment.digests import Digests
from ml_experiment.hashing import of_path
from ml_experiment.plan import STATE, Case, Job, Plan, StepPlan, by_hand_id


class State(NamedTuple):
    """What is known of one job's outputs.

    Attributes:
        job: its name, such as `final/seed-0`.
        step: the step (or hand-written rule) that it belongs to.
        word: "current", "stale", "missing", "edited", "failed" or "unrecorded".
        reasons: why, such as `parameter C`, `code workflow/scripts/fit.py`, `data results/x.csv`.
        made: when its record was made, in UTC; None without one.
    """

    job: str
    step: str
    word: str
    reasons: tuple[str, ...] = ()
    made: str | None = None


class Unit(NamedTuple):
    """One job as it would be now."""

    job: str
    step: str
    key_file: str
    key: dict[str, Any]
    key_digest: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def units(plan: Plan) -> list[Unit]:
    """Every job of the plan and every table, in an order in which makers come first."""
    found: list[Unit] = []
    searched = plan.only_searched
    for name in order(plan):
        step = plan.steps[name]
        if name in searched:  # it is not run by itself
            continue
        for case in step.cases:
            found += _of_case(plan, step, case)
        if step.study is not None:
            found += [_of_view(plan, job) for job in plan.jobs(step)]
        if step.tabled:
            metrics = tuple((plan.metrics(job) or "").rstrip("/") for job in plan.jobs(step))
            outputs = (plan.table(step, "table"), plan.table(step, "summary"))
            key = keys.of_table(plan, step)
            key_file = workspace.table_key(plan, step)
            digest = keys.digest(key)
            found.append(Unit(f"{name}.table", name, key_file, key, digest, metrics, outputs))
    return found


def stage_of(plan: Plan, unit: Unit) -> str:
    """The stage that a job is part of: its step or study, or its rule."""
    return plan.steps[unit.step].folder if unit.step in plan.steps else unit.step


def _of_case(plan: Plan, step: StepPlan, case: Case) -> Iterator[Unit]:
    """The jobs of one case: its replicates share a key, and so do trials that see the same."""
    known: dict[str, tuple[dict[str, Any], str]] = {}
    for job in plan.jobs_of(step, case):
        key_file = plan.key(job)
        if key_file not in known:
            key = keys.of_case(plan, job)
            known[key_file] = key, keys.digest(key)
        paths = [path.rstrip("/") for path in plan.needs(job)]  # a folder's, as records have it
        if job.trial is not None:
            paths += [path for path in history.of_trial(plan, job) if not is_ours(path)]
        made = tuple(plan.files(job))
        yield Unit(job.id, step.name, key_file, *known[key_file], tuple(paths), made)


def _of_view(plan: Plan, job: Job) -> Unit:
    """The view of a study, of the job that gathers it."""
    key = keys.of_view(plan, job)
    name = by_hand_id(f"{job.step.name}.view", job.case.slugs)
    inputs = tuple(plan.path(job, file) for file in ("trials", "trials.csv"))
    outputs = (plan.path(job, "view"),)
    key_file, digest = workspace.view_key(plan, job), keys.digest(key)
    return Unit(name, job.step.name, key_file, key, digest, inputs, outputs)


def searched_again(plan: Plan) -> list[str]:
    """What to say of each study whose trials run again since its declaration has changed.

    By the key files as they were written last; before they are written anew.
    """
    told = []
    for step in plan.steps.values():
        if step.trials_of is None or step.part:
            continue
        why: set[str] = set()
        count = 0
        known: dict[str, list[str]] = {}
        for job in plan.jobs(step):
            key_file = plan.key(job)
            if key_file not in known:
                before = read_json(plan.folder / key_file)
                known[key_file] = keys.changes(before, keys.of_case(plan, job)) if before else []
            if known[key_file] and (plan.folder / plan.path(job, "status.json")).exists():
                why.update(known[key_file])
                count += 1
        if count:
            jobs = "1 trial runs" if count == 1 else f"{count} trials run"
            told.append(f"study {step.folder}: {jobs} again: {', '.join(sorted(why))} changed")
    return told


def edited(plan: Plan, known: records.Records) -> dict[str, str]:
    """Output -> digest, of every output that is there and not what a record of its job says."""
    digests = Digests(plan.folder)
    for record in known.finished.values():
        digests.learn(record["outputs"])
    found = {}
    for job, record in known.finished.items():
        for path, entry in record["outputs"].items():
            digest = digests.of(path) if entry["hash"] is not None else None
            if digest is not None and digest not in _told(known.of(job), path):
                found[path] = digest
    return found


def _told(of_job: Iterable[records.Line], path: str) -> set[str | None]:
    return {record["outputs"][path]["hash"] for record in of_job if path in record["outputs"]}


def fitting(known: records.Records, digests: Digests) -> dict[str, records.Line]:
    """Job -> the newest of its records that say best what its outputs are.

    An earlier one where DVC or somebody has put back what the job made then.
    """
    found = {}
    for job, last in known.finished.items():
        of_job = known.of(job)
        fits = len(of_job) == 1 or not _misfits(last, digests)
        found[job] = last if fits else min(of_job, key=lambda record: _misfits(record, digests))
    return found


def told(plan: Plan) -> tuple[records.Records, Digests, dict[str, records.Line]]:
    """All records, the digests of files as they are, and for each job the record that fits."""
    known = records.read(record_file(plan))
    digests = Digests(plan.folder, seen={})
    for record in known.finished.values():
        digests.learn(record["outputs"])
    return known, digests, fitting(known, digests)


def _misfits(record: records.Line, digests: Digests) -> int:
    """How many outputs are there and have other bytes than a record says."""
    return sum(
        entry["hash"] is not None and digests.of(path) not in (None, entry["hash"])
        for path, entry in record["outputs"].items()
    )


def keep_edited(plan: Plan) -> list[tuple[str, str]]:
    """Copy outputs that were edited by hand to where no run overwrites them.

    Returns:
        (output, copy) of each, relative to the workspace.
    """
    kept = []
    for path, digest in edited(plan, records.read(record_file(plan))).items():
        copy = plan.state("kept", f"{digest[:8]}/{path}")
        if not (plan.folder / copy).exists():
            _copy(plan.folder / path, plan.folder / copy)
            kept.append((path, copy))
    return kept


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def order(plan: Plan) -> list[str]:
    """The steps, each behind those that it needs; otherwise as declared."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        for inputs in plan.steps[name].inputs.values():
            for item in inputs.values():
                for source in item.sources:
                    if source.step is not None:
                        visit(source.step)
        done[name] = None

    for name in plan.steps:
        visit(name)
    return list(done)


def states(plan: Plan) -> list[State]:
    """The state of every job, and of the hand-written rules that have a record."""
    return [state for _, state in judged(plan)]


def judged(plan: Plan) -> list[tuple[Unit, State]]:
    """Every job with its state."""
    known, digests, recorded = told(plan)
    stale: dict[str, str] = {}
    found = []
    every = [*units(plan), *by_hand(plan, recorded)]
    before = _old_keys(record_file(plan), every, recorded)
    for unit in every:
        state = judge(unit, recorded.get(unit.job), digests, stale, before)
        if unit.job in known.failed and state.word != "current":
            reasons = (f"see {known.failed[unit.job]['log']}",)
            state = State(unit.job, unit.step, "failed", reasons, state.made)
        if state.word != "current":
            stale.update(dict.fromkeys(unit.outputs, unit.step))
        found.append((unit, state))
    return found


def _old_keys(
    file: Path, every: Iterable[Unit], recorded: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Job -> the key of its record, where it is not the one of now."""
    others = {
        record["id"]: unit.job
        for unit in every
        if (record := recorded.get(unit.job)) and record["key_digest"] != unit.key_digest
    }
    details = records.details(file, others)
    return {job: details.get(identity, {}).get("key") or {} for identity, job in others.items()}


def judge(
    unit: Unit,
    record: Mapping[str, Any] | None,
    digests: Digests,
    stale: Mapping[str, str],
    before: Mapping[str, dict[str, Any]],
) -> State:
    """Compare one job with its record.

    Args:
        unit: the job.
        record: its last record that finished.
        digests: of the files as they are.
        stale: an output that is not current -> its step.
        before: job -> the key of its record, where that is not the one of now.
    """
    missing = [path for path in unit.outputs if digests.stat(path) is None]
    if missing and record is None:
        return State(unit.job, unit.step, "missing")
    if record is None:
        return State(unit.job, unit.step, "unrecorded", ("made without a record",))
    made = record["ended"]
    if missing:
        deleted = tuple(f"deleted: {path}" for path in missing)
        return State(unit.job, unit.step, "missing", deleted, made)
    edited = [
        f"{path} by hand"
        for path in unit.outputs
        if path in record["outputs"] and digests.of(path) != record["outputs"][path]["hash"]
    ]
    reasons = [*edited]
    if unit.job in before:
        reasons += keys.changes(before[unit.job], unit.key)
    reasons += _data(unit, record["inputs"], digests, stale)
    if not reasons:
        return State(unit.job, unit.step, "current", (), made)
    return State(
        unit.job, unit.step, "edited" if edited else "stale", tuple(dict.fromkeys(reasons)), made
    )


def _data(
    unit: Unit, before: Mapping[str, Any], digests: Digests, stale: Mapping[str, str]
) -> list[str]:
    """What is not as it was among the inputs; those of a stale step are named by the step."""
    found: dict[str, None] = {}
    for path in unit.inputs:
        if path in stale:
            found[f"data of {stale[path]}"] = None
        elif path not in before:
            found[f"data {path} (a new input)"] = None
        elif before[path].get("changed"):
            found[f"data {path} (it changed while the job ran)"] = None
        elif digests.of(path) != before[path]["hash"]:
            found[f"data {path}"] = None
    return list(found)


def by_hand(plan: Plan, recorded: Mapping[str, Mapping[str, Any]]) -> list[Unit]:
    """The jobs of hand-written rules, as far as a record tells of them."""
    # a record of a step's job is none of them, though the step may be gone or renamed by now
    own = {job: each for job, each in sorted(recorded.items()) if each.get("by_hand")}
    files = {job: each["key_file"] for job, each in own.items() if each["key_file"]}
    keyed = {job: read_json(plan.folder / file) for job, file in files.items()}
    # in a clone Snakemake has not written them yet
    lacking = {own[job]["id"] for job, key in keyed.items() if not key}
    details = records.details(record_file(plan), lacking)
    found = []
    for job, record in own.items():
        key_file = files.get(job, "")
        before = keyed.get(job) or details.get(record["id"], {}).get("key") or {}
        key = _now(plan, before) if key_file else {}
        inputs = tuple(path for path in record["inputs"] if path != key_file)
        outputs = tuple(record["outputs"])
        unit = Unit(job, record["rule"], key_file, key, keys.digest(key), inputs, outputs)
        found.append(unit)
    return found


def _now(plan: Plan, key: Mapping[str, Any]) -> dict[str, Any]:
    """The key of a rule, which is as old as the last run, with what is known without Snakemake."""
    found = dict(key)
    if code := key.get("code"):
        found["code"] = {path: of_path(plan.folder / path) for path in code}
    if (environment := key.get("environment")) and environment["name"] in plan.environments:
        found["environment"] = keys.environment(plan, environment["name"])
    if seed := key.get("seed"):
        found["seed"] = {**seed, "root": plan.experiment.seed}
    return found


def record_file(plan: Plan) -> Path:
    """Where the records of the plan's results are."""
    return plan.folder / f"{plan.state('records')}.jsonl"


def is_key(path: str) -> bool:
    """Whether a path is that of a key file."""
    return path.startswith(f"{STATE}/keys")


def is_ours(path: str) -> bool:
    """Whether a path is that of a key, or of a marker of a study's history: no data."""
    return is_key(path) or path.startswith(f"{STATE}/history")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a key file; an empty one where there is none."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
