"""The versions of models as records tell of them.

A version is made by a job that was run with the values of the experiment file: its record says so,
under `models`. Where a model was named only later, the records before that count as well, but for
those of runs with overrides. A study's best model was made by a trial, and that one's record counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ml_experiment import records, registered, staleness, versions
from ml_experiment.plan import Plan
from ml_experiment.records import Line
from ml_experiment.table import interval
from ml_experiment.versions import Measured, Version

SEED = re.compile(r"/seed-[^/]+(?=/|$)")  # in the name of a job


def recorded(folder: Path, plan: Plan | None = None) -> list[Version]:
    """The versions that records tell of, the oldest first, each content once.

    Args:
        folder: the workspace.
        plan: an experiment whose models count in records that were made before it named them.
    """
    named = registered.declared(plan) if plan else {}
    own = staleness.record_file(plan) if plan else None
    aside = _overridden(folder) if named else set()
    found: dict[tuple[str, str], tuple[Path, str, str, Line, Mapping[str, str]]] = {}
    lines: dict[Path, list[Line]] = {}
    for file in records.files(folder):
        lines[file] = [line for line in records.lines(file) if "id" in line]
        for line in lines[file]:
            if line.get("state") != "finished":
                continue
            said = dict(line.get("models") or {})
            if file == own and line.get("run") not in aside:
                for name, each in named.items():
                    if each.job.id == line.get("job"):
                        said.setdefault(name, {"path": each.path, **each.said})
            for name, told in said.items():
                path = told["path"]
                entry = line["outputs"].get(path) or {}
                if entry.get("hash"):
                    rest = {key: value for key, value in told.items() if key != "path"}
                    found.setdefault((name, entry["hash"]), (file, name, path, line, rest))
    order = sorted(found.values(), key=lambda item: (item[3]["ended"], item[1]))
    return list(_versions(folder, order, lines))


def _versions(
    folder: Path,
    found: Iterable[tuple[Path, str, str, Line, Mapping[str, str]]],
    lines: Mapping[Path, list[Line]],
) -> Iterator[Version]:
    """The record that counts is that of the trial, where a study has only put it into `best`."""
    chosen = []
    for file, name, path, line, said in found:
        digest = line["outputs"][path]["hash"]
        maker = line
        if "/best/" in path:
            maker = _trial(lines[file], line["rule"], digest) or line
        chosen.append((file, name, path, line, maker, said))
    details: dict[str, Line] = {}
    for file in lines:
        wanted = {maker["id"] for own, _, _, _, maker, _ in chosen if own == file}
        details.update(records.details(file, wanted))
    runs = records.runs(folder)
    for _, name, path, line, maker, said in chosen:
        whole = {**maker, **details.get(maker["id"], {}), "id": maker["id"]}
        whole["outputs"] = {path: line["outputs"][path]}
        made = versions.of_record(name, path, whole, said)
        git = (runs.get(str(maker["run"])) or {}).get("git") or {}
        known = {key: git[key] for key in ("commit", "dirty", "remote") if git.get(key)}
        facts = {**made.facts, "git": known} if known else made.facts
        yield replace(made, facts=facts)


def _trial(lines: Iterable[Line], study: str, digest: str) -> Line | None:
    """The first trial of a study that made these bytes."""
    for line in lines:
        if line.get("trial") is None or str(line["rule"]).partition(".trial")[0] != study:
            continue
        if any(entry["hash"] == digest for entry in line["outputs"].values()):
            return line
    return None


def _overridden(folder: Path) -> set[str]:
    """The runs of Snakemake that had values which the experiment file does not have."""
    return {
        run
        for run, line in records.runs(folder).items()
        if {*(line.get("config") or {})} - {"experiment"}
    }


def measured(folder: Path, version: Version) -> list[Measured]:
    """The metrics of a version's step over all replicates, then of the steps that took its model.

    By content: replicates have the key of the version's job and the inputs that they share with it,
    and what was measured later took one of their outputs.
    """
    every = (line for file in records.files(folder) for line in records.lines(file))
    lines = [line for line in every if line.get("state") == "finished"]
    own = next((line for line in lines if line.get("id") == version.facts.get("record")), None)
    if own is None:
        return []
    label = SEED.sub("", own["job"])
    alike = [line for line in lines if SEED.sub("", line["job"]) == label and _is_alike(line, own)]
    siblings = {line["job"]: line for line in alike}
    siblings |= {line["job"]: line for line in alike if line.get("run") == own.get("run")}
    siblings[own["job"]] = own
    file = version.facts["path"].rpartition("/")[2]
    models = {version.hash} | {
        entry["hash"]
        for line in siblings.values()
        for path, entry in line["outputs"].items()
        if path.rpartition("/")[2] == file
    }
    groups: dict[str, list[Line]] = {label: [siblings[job] for job in sorted(siblings)]}
    took = {
        line["job"]: line
        for line in lines
        if not models.isdisjoint(entry["hash"] for entry in line["inputs"].values())
    }
    for job, line in sorted(took.items()):
        if job not in siblings and line.get("trial") is None:
            groups.setdefault(SEED.sub("", job), []).append(line)
    return [each for of, group in groups.items() for each in _summary(of, group)]


def _is_alike(line: Line, own: Line) -> bool:
    """Whether a job was another replicate of the same: parameters and code, and what both read."""
    both = own["inputs"].keys() & line["inputs"].keys()
    return line.get("key_digest") == own.get("key_digest") and all(
        line["inputs"][path]["hash"] == own["inputs"][path]["hash"] for path in both
    )


def _summary(of: str, group: Iterable[Line]) -> Iterator[Measured]:
    values: dict[str, list[float]] = {}
    for line in group:
        for name, value in line["metrics"].items():
            values.setdefault(name, []).append(float(value))
    for name in sorted(values):
        mean, _, low, high = interval(values[name])
        yield Measured(of, name, mean, low, high, len(values[name]))
