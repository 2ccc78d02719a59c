"""Where a file comes from and what was made of it: pure functions over records.

An input belongs to the record that made the same bytes under the same path, so what is shown is
what was really used: a job that ran again with another result is another ancestor. Of records that
made the same bytes, the last that ended before the consumer started is meant.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

Record = Mapping[str, Any]
Versions = Mapping[str | None, list[tuple[str, str]]]  # hash -> (time, record's id), sorted

FOUND = "found"  # the state of a record of files that were there without one
MAKERS = frozenset({"finished", FOUND})  # a job that failed made nothing

RAW = "raw data"
SUGGESTED = "suggested to the trial by its study"
OTHER = "another version than any job made"
HOLDS = "a folder with files that jobs made"
CHANGED = "changed while the job ran"
UNHASHED = "not hashed"
UNPROVEN = "not hashed when it was made"
OVERWRITTEN = "overwritten since"


@dataclass(frozen=True)
class File:
    """One version of a file or folder, as a job read or made it.

    Attributes:
        made_by: the id of the record that made it; None where none did.
        part_of: the recorded folder that holds it, where only that has a record.
        notes: what else is to be said, such as RAW.
        used_by: ids of the records that read it; filled downstream only.
    """

    path: str
    hash: str | None
    made_by: str | None = None
    part_of: str | None = None
    notes: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """One job that ended, with what it read and made, in natural order of their paths."""

    record: Record
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]


@dataclass(frozen=True)
class Graph:
    """A file, and every job that it comes from, or that comes from it: id -> job, near ones first.

    Where it was cut at a depth, files name jobs that are not in it.
    """

    file: File
    jobs: Mapping[str, Node]


@dataclass(frozen=True)
class Index:
    """Records by what they made and read: path -> hash -> (when it ended or started, id)."""

    records: Mapping[str, Record]
    made: Mapping[str, Versions]
    used: Mapping[str, Versions]

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder in which a job made a file."""
        return frozenset(folder for path in self.made for folder in _above(path))

    def folder_of(self, path: str) -> str | None:
        """The nearest folder above a path that a job made as a whole."""
        return next((folder for folder in _above(path) if folder in self.made), None)


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def index(records: Iterable[Record]) -> Index:
    """An index of all records, whatever their order."""
    known = {record["id"]: record for record in records if record["state"] in MAKERS}
    return Index(known, _by_path(known, "outputs", "ended"), _by_path(known, "inputs", "started"))


def _by_path(records: Mapping[str, Record], kind: str, time: str) -> Mapping[str, Versions]:
    found: dict[str, dict[str | None, list[tuple[str, str]]]] = {}
    for moment, id_ in sorted((record.get(time) or "", id_) for id_, record in records.items()):
        for path, entry in records[id_][kind].items():
            found.setdefault(path, {}).setdefault(entry.get("hash"), []).append((moment, id_))
    return found


def ancestry(known: Index, path: str, digest: str | None, depth: int | None = None) -> Graph:
    """Every job that a version of a file comes from, those at most `depth` jobs away."""
    file = _origin(known, path, {"hash": digest})
    first = [file.made_by] if file.made_by else []
    return Graph(file, _walk(first, lambda id_: _node(known, id_), _makers, depth))


def descendants(known: Index, path: str, digest: str | None, depth: int | None = None) -> Graph:
    """Every job that comes from a version of a file: what names it in its `ancestry`."""
    nodes = {id_: _node(known, id_) for id_ in known.records}
    uses: dict[tuple[str | None, str], dict[str, None]] = defaultdict(dict)
    for id_ in sorted(nodes, key=lambda id_: _place(known.records[id_])):
        for read in nodes[id_].inputs:
            uses[read.made_by, read.part_of or read.path][id_] = None

    def node(id_: str) -> Node:
        outputs = (
            replace(made, notes=_later(known, made), used_by=tuple(uses.get((id_, made.path), ())))
            for made in nodes[id_].outputs
        )
        return replace(nodes[id_], outputs=tuple(outputs))

    users = {id_ for _, id_ in known.used.get(path, {}).get(digest, ())}
    for _, maker in known.made.get(path, {}).get(digest, ()):
        users.update(uses.get((maker, path), ()))
    first = sorted(users, key=lambda id_: _place(known.records[id_]))
    file = replace(_origin(known, path, {"hash": digest}), used_by=tuple(first))
    return Graph(file, _walk(first, node, _users, depth))


def _walk(
    level: list[str],
    node: Callable[[str], Node],
    further: Callable[[Node], Iterator[str]],
    depth: int | None,
) -> dict[str, Node]:
    """Level by level, each job once; without recursion, for a chain may be very long."""
    jobs: dict[str, Node] = {}
    while level and depth != 0:
        jobs.update((id_, node(id_)) for id_ in level)
        reached = dict.fromkeys(next_ for id_ in level for next_ in further(jobs[id_]))
        level = [id_ for id_ in reached if id_ not in jobs]
        depth = None if depth is None else depth - 1
    return jobs


def _makers(node: Node) -> Iterator[str]:
    return (file.made_by for file in node.inputs if file.made_by)


def _users(node: Node) -> Iterator[str]:
    return (id_ for file in node.outputs for id_ in file.used_by)


def _node(known: Index, id_: str) -> Node:
    record = known.records[id_]
    inputs = (_origin(known, path, entry, record) for path, entry in record["inputs"].items())
    outputs = (
        File(path, entry.get("hash"), id_, notes=_notes(entry))
        for path, entry in record["outputs"].items()
    )
    return Node(record, _sorted(inputs), _sorted(outputs))


def _sorted(files: Iterable[File]) -> tuple[File, ...]:
    return tuple(sorted(files, key=lambda file: natural(file.path)))


def _origin(
    known: Index, path: str, entry: Mapping[str, Any], consumer: Record | None = None
) -> File:
    """A file that a job read (without `consumer`: at any time), with the record that made it."""
    digest, notes = entry.get("hash"), _notes(entry)
    unproven: tuple[str, ...] = ()
    folder = None if path in known.made else known.folder_of(path)
    versions = known.made.get(folder or path, {})
    everyone = sorted(maker for makers in versions.values() for maker in makers)
    if folder or digest is None:  # no hash to compare: only the time tells
        candidates = everyone
    elif digest in versions:
        candidates = versions[digest]
    else:
        candidates, unproven = versions.get(None, []), (UNPROVEN,)
    maker = _latest(candidates, consumer)
    if maker is not None:
        return File(path, digest, maker, folder, (*unproven, *notes))
    if _latest(everyone, consumer) is not None:
        return File(path, digest, None, None, (OTHER, *notes))
    note = HOLDS if path in known.folders else SUGGESTED if _SUGGESTION.search(path) else RAW
    return File(path, digest, None, None, (note, *notes))


_SUGGESTION = re.compile(r"/trial-\d+/suggestion\.json$")


def _latest(makers: Iterable[tuple[str, str]], consumer: Record | None) -> str | None:
    """The last maker that ended before the consumer started, else the last; never itself."""
    others = [maker for maker in makers if consumer is None or maker[1] != consumer["id"]]
    start = consumer.get("started") if consumer else None
    before = [maker for maker in others if not start or maker[0] <= start]
    candidates = before or others
    return candidates[-1][1] if candidates else None


def _notes(entry: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if entry.get("hash") is None:
        notes.append(entry.get("reason") or UNHASHED)
    if entry.get("changed"):
        notes.append(CHANGED)
    return tuple(notes)


def _later(known: Index, made: File) -> tuple[str, ...]:
    """The notes of an output, and whether a later job put other bytes in its place."""
    last = max((makers[-1], digest) for digest, makers in known.made[made.path].items())
    return made.notes if last[1] == made.hash else (*made.notes, OVERWRITTEN)


def _place(record: Record) -> tuple[Any, ...]:
    """Where a job stands among others: by name, then by time."""
    return natural(record["job"]), record.get("started") or "", record["id"]


def natural(name: str) -> tuple[Any, ...]:
    """A key to sort names by, under which seed-2 comes before seed-10."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name
