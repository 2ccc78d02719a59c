"""`ml-experiment lineage`: what a file was made from, or what was made from it, by its records."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_experiment import hashing, rawdata, records
from ml_experiment import lineage as graphs
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.lineage import File, Graph, Index, Node, Versions
from ml_experiment.plan import STATE


@dataclass(frozen=True)
class Answer:
    """What is known of a file.

    Attributes:
        state: "recorded", or "raw" for data that no job made; "changed" and "deleted" where the
            file is not as it was recorded, and the last record counts; "unhashed" where no record
            says what its bytes were.
        now: the hash of what is there; None where there is nothing.
        remark: what a reader should know of the difference; empty where there is none.
        details: id -> what the records of the graph's jobs leave out.
    """

    state: str
    now: str | None
    remark: str
    graph: Graph
    downstream: bool
    details: Mapping[str, Mapping[str, Any]]


def lineage(
    folder: Path, path: str, *, downstream: bool = False, depth: int | None = None
) -> Answer:
    """The lineage of a file or folder.

    Args:
        folder: the project's, or one in it.
        path: absolute, or relative to `folder`.
        downstream: what was made from it, not what it was made from.
        depth: how many jobs away it ends.

    Raises:
        UserError: no records, or none that names the path.
    """
    project = _project(folder)
    known = graphs.index(_read(project))
    name = _name(known, project, folder, path)
    inside = None if name in known.made else known.folder_of(name)
    if inside and not (downstream and name in known.used):
        remark, name = f"{name} is in it", inside
    else:
        remark = ""
    now = _hash(project / name)
    made, used = known.made.get(name, {}), known.used.get(name, {})
    versions = {**used, **made} if downstream else made or used
    state, digest = _state(now, versions, raw=not made and not inside)
    walk = graphs.descendants if downstream else graphs.ancestry
    graph = _with_origins(project, walk(known, name, digest, depth))
    remark = "; ".join(filter(None, [remark, _remark(state, now, raw=not made)]))
    return Answer(state, now, remark, graph, downstream, _details(project, graph.jobs))


def _with_origins(project: Path, graph: Graph) -> Graph:
    """The graph with what DVC's .dvc files say of raw data: where these bytes came from."""
    known: dict[str, rawdata.Kept | None] = {}

    def told(file: File) -> File:
        if graphs.RAW not in file.notes:
            return file
        if file.path not in known:
            known[file.path] = rawdata.kept(project, file.path)
        kept = known[file.path]
        if kept is None or not kept.origin or kept.digest != file.hash:
            return file
        return replace(file, notes=(*file.notes, f"from {kept.origin}"))

    jobs = {
        id_: replace(node, inputs=tuple(map(told, node.inputs))) for id_, node in graph.jobs.items()
    }
    return Graph(told(graph.file), jobs)


def _hash(path: Path) -> str | None:
    try:
        return hashing.of_path(path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _state(now: str | None, versions: Versions, *, raw: bool) -> tuple[str, str | None]:
    """What became of a file since its records, and which recorded version is meant."""
    last = max((entries[-1], digest or "") for digest, entries in versions.items())[1] or None
    if now is None:
        return "deleted", last
    if now in versions:
        return "raw" if raw else "recorded", now
    return ("unhashed" if last is None else "changed"), last


def _remark(state: str, now: str | None, *, raw: bool) -> str:
    since = "used" if raw else "made"
    if state == "deleted":
        return "no longer there"
    if state == "unhashed":
        return f"not hashed when it was {since}: whether this is what was there is not known"
    if state == "changed" and now:
        return f"changed since it was last {since}: what is there now, {now[:8]}, has no record"
    return ""


def _project(folder: Path) -> Path:
    """The folder of the records: this one, or the nearest above it."""
    for candidate in (folder.absolute(), *folder.absolute().parents):
        if (candidate / STATE).is_dir():
            return candidate
    raise UserError(
        "no records here: nothing has run yet",
        where=str(folder),
        hint="`ml-experiment run` runs the experiment and records each job",
    )


def _name(known: Index, project: Path, folder: Path, path: str) -> str:
    """A path as the records have it."""
    absolute = os.path.abspath(folder / path)
    real = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    relative = os.path.relpath(absolute, project)
    for name in (relative, os.path.relpath(real, os.path.realpath(project)), absolute, path):
        if name in known.made or name in known.used or known.folder_of(name):
            return name
    names = {*known.made, *known.used}
    last = os.path.basename(relative)
    alike = [name for name in names if os.path.basename(name) == last]
    hint = did_you_mean(relative, alike or names) or "nothing has run yet: `ml-experiment run`"
    raise UserError("no record names this path", value=path, hint=hint)


def plain(answer: Answer) -> dict[str, Any]:
    """An answer as data for a program: flat, jobs by id."""
    file, jobs = answer.graph.file, answer.graph.jobs
    flat = {
        id_: _plain_job(node, answer.details.get(id_, {}), downstream=answer.downstream)
        for id_, node in jobs.items()
    }
    head = {"path": file.path, "hash": file.hash, "state": answer.state, "now": answer.now}
    head["remark"] = answer.remark or None
    if answer.downstream:
        return {**head, "used_by": list(file.used_by), "jobs": flat}
    return {**head, "job": flat.get(file.made_by or ""), "jobs": flat}


def _plain_job(node: Node, details: Mapping[str, Any], *, downstream: bool) -> dict[str, Any]:
    inputs = [{**_plain_file(file), "made_by": file.made_by} for file in node.inputs]
    outputs = [_plain_file(file) for file in node.outputs]
    if downstream:
        for entry, file in zip(outputs, node.outputs, strict=True):
            entry["used_by"] = list(file.used_by)
    return {**details, **node.record, "inputs": inputs, "outputs": outputs}


def _plain_file(file: File) -> dict[str, Any]:
    return {"path": file.path, "hash": file.hash, "note": ", ".join(notes(file)) or None}


def notes(file: File) -> list[str]:
    """Everything that is to be said of a file besides its hash."""
    return [*([f"in {file.part_of}"] if file.part_of else []), *file.notes]


def _read(project: Path) -> Iterator[Mapping[str, Any]]:
    """The records of all variants."""
    for file in records.files(project):
        yield from (record for record in records.lines(file) if "id" in record)


def _details(project: Path, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the records of these ids leave out."""
    found: dict[str, dict[str, Any]] = {}
    for file in records.files(project):
        found.update(records.details(file, wanted))
    return found
