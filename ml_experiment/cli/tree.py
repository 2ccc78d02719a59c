"""A lineage as a tree of text. Lines are as long as they are: a terminal wraps them itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_experiment import locks
from ml_experiment.errors import shown
from ml_experiment.hashing import canonical
from ml_experiment.lineage import FOUND, File, Node, Record
from ml_experiment.services.lineage import Answer, notes

MANY = 12  # so many of one rule are drawn; of more, the first few
FEW = 3
DEEPEST = 100  # jobs: every level is indented further, so a chain costs the square of its length
VALUE = 60  # characters of a parameter

Item = str | File | Node


def text(answer: Answer, *, every: bool = False) -> str:
    """The tree of a file; `every`: all that hangs together, also where that is much."""
    drawing = _Drawing(answer, every=every)
    head, items = drawing.expand(answer.graph.file)
    lines = [f"{head} · {answer.remark}" if answer.remark else head]
    waiting = _branches("", items)
    while waiting:  # no recursion: a chain may be long
        prefix, end, item = waiting.pop()
        line, items = drawing.expand(item)
        lines.append(prefix + ("└─ " if end else "├─ ") + line)
        waiting += _branches(prefix + ("   " if end else "│  "), items)
    return "\n".join(lines)


def _branches(prefix: str, items: Sequence[Item]) -> list[tuple[str, bool, Item]]:
    """Items to draw, from the last to the first, and whether each is the last."""
    return [(prefix, place == 0, item) for place, item in enumerate(reversed(items))]


class _Drawing:
    """What to write for each item, and what hangs from it; it remembers what was drawn."""

    def __init__(self, answer: Answer, *, every: bool) -> None:
        self.jobs = answer.graph.jobs
        self.details = answer.details
        self.downstream = answer.downstream
        self.every = every
        self.drawn: set[str] = set()

    def expand(self, item: Item) -> tuple[str, Sequence[Item]]:
        """An item's line, and the items below it."""
        if isinstance(item, str):
            return item, []
        if isinstance(item, File):
            return file_line(item), self._behind(item)
        id_ = item.record["id"]
        if id_ in self.drawn:
            return f"{_shown(item.record['job'])} (above)", []
        self.drawn.add(id_)
        line = job_line(item.record, self.details.get(id_, {}))
        if self.downstream:
            return line, item.outputs
        if not item.inputs:
            return line, [] if item.record["state"] == FOUND else ["no input files"]
        return line, self._shortened([(file, self._kind(file)) for file in item.inputs])

    def _behind(self, file: File) -> Sequence[Item]:
        """The jobs that made a file, or used it; a mark where the graph was cut."""
        made_by = (file.made_by,) if file.made_by else ()
        ids = file.used_by if self.downstream else made_by
        there = [self.jobs[id_] for id_ in ids if id_ in self.jobs]
        cut = ["… (--depth)"] if len(there) < len(ids) else []
        return [*self._shortened([(node, _of(node)) for node in there]), *cut]

    def _kind(self, file: File) -> str:
        if file.made_by:
            return _of(self.jobs[file.made_by]) if file.made_by in self.jobs else "(--depth)"
        return f"· {file.notes[0]}"

    def _shortened(self, items: Sequence[tuple[Item, str]]) -> list[Item]:
        """Items, each with its kind; of a kind that has many the first few."""
        total = Counter(kind for _, kind in items)
        seen: Counter[str] = Counter()
        found: list[Item] = []
        for item, kind in items:
            seen[kind] += 1
            if self.every or total[kind] <= MANY or seen[kind] <= FEW:
                found.append(item)
            elif seen[kind] == FEW + 1:
                found.append(f"… and {total[kind] - FEW} more {kind}")
        return found


def _of(node: Node) -> str:
    return f"of {node.record['rule']}"


def file_line(file: File) -> str:
    """A file with the beginning of its hash, and what else is to be said."""
    head = _shown(file.path) + (f"  {file.hash[:8]}" if file.hash else "")
    return " · ".join([head, *notes(file)])


def job_line(record: Record, details: Mapping[str, Any]) -> str:
    """A job with what its result depends on, as far as its record says."""
    return " · ".join([_shown(record["job"]), *_facts(record, details)])


def _facts(record: Record, details: Mapping[str, Any]) -> Iterator[str]:
    if record["state"] == FOUND:
        yield "found without a record: what made it is not known"
    key = details.get("key") or {}
    if record.get("seed") is not None:
        yield f"seed {record['seed']}"
    elif "seed" in key and key["seed"] is None:
        yield "nothing random"
    params = details.get("params") or {}
    if params:
        yield ", ".join(f"{name}={_value(value)}" for name, value in params.items())
    code = _code(details)
    if code:
        yield code
    environment = details.get("environment") or {}
    if environment.get("name"):
        yield environment["name"]
    if environment.get("python"):
        yield f"Python {environment['python']}"
    if environment.get("image"):
        yield f"image {environment['image'].removeprefix('sha256:')[:12]}"
    if environment.get("differs"):
        yield f"not as locked: {locks.told(environment['differs'])}"
    if record.get("ended"):
        yield record["ended"][:16].replace("T", " ")


def _value(value: object) -> str:
    return shown(value if isinstance(value, str) else canonical(value), VALUE)


def _code(details: Mapping[str, Any]) -> str:
    """The file that the command names, and how many others belong to it."""
    files = sorted(details.get("code") or ())
    if not files:
        return ""
    command = str(details.get("command") or "")
    names = (file for file in files if file in command or _module(file) in command)
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return _shown(next(names, files[0])) + others


def _module(file: str) -> str:
    """A file as `call` names it."""
    return file.removesuffix(".py").replace("/", ".") + ":"


def _shown(name: str) -> str:
    """A name on one line, whole."""
    return shown(name, len(name) * 10)
