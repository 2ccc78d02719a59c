"""Two runs that differ, as text: what all their jobs have in common first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ml_experiment.compare import Difference, Pairs
from ml_experiment.errors import shown
from ml_experiment.hashing import canonical
from ml_experiment.services.runs import Compared

FEW = 20  # lines of jobs, packages
MANY = 3  # jobs of which the same is to be said
VALUE = 40  # characters of a value
NONE = "none"
DIGITS, EXACT = 6, 17  # of metrics


def text(found: Compared) -> str:
    """What differs, for a terminal."""
    lines = [f"{found.first} → {found.second}"]
    lines += [f"{name}: {_change(pair)}" for name, pair in found.run.items()]
    for kind in ("packages", "surroundings"):
        lines += _counted(kind, [getattr(job, kind) for job in found.jobs])
    own = _together(found.jobs)
    width = max((len(name) for name, _ in own[:FEW]), default=0)
    lines += [f"{name:<{width}}  {line}" for name, line in own[:FEW]]
    if len(own) > FEW:
        lines.append(f"… and {len(own) - FEW} lines more (--json)")
    every = len(found.jobs) + found.same
    verb = "differs" if len(found.jobs) == 1 else "differ"
    told = f"{len(found.jobs)} of {_jobs(every)} {verb}"
    lines.append(told if found.jobs else f"{_jobs(every)}, no difference")
    return "\n".join(lines)


def _counted(kind: str, every: list[Pairs]) -> Iterator[str]:
    """Changes that several jobs have, each once."""
    counts = Counter((name, _change(pair)) for pairs in every for name, pair in pairs.items())
    if counts:
        yield f"{kind}:"
    for (name, change), number in sorted(counts.items())[:FEW]:
        yield f"  {name} {change}  ({_jobs(number)})"
    if len(counts) > FEW:
        yield f"  … and {len(counts) - FEW} more (--json)"


def _together(jobs: Sequence[Difference]) -> list[tuple[str, str]]:
    """The name of each job, and what is to be said of it; of many the same is said once."""
    said: dict[str, list[str]] = {}
    for job in jobs:
        if line := "; ".join(_own(job)):
            said.setdefault(line, []).append(job.job)
    found: list[tuple[str, str]] = []
    for line, names in said.items():
        many = [f"{names[0]} and {len(names) - 1} more"] if len(names) > MANY else names
        found += [(name, line) for name in many]
    return found


def _own(job: Difference) -> Iterator[str]:
    """What is to be said of one job."""
    if job.only:
        yield f"only in the {job.only}"
    for pairs in (job.state, job.seed, job.params):
        yield from (f"{name} {_change(pair)}" for name, pair in pairs.items())
    told = {f"parameter {name}" for name in job.params} | {"seed"}
    if other := [part for part in job.key if part not in told]:
        yield f"{', '.join(other)} changed"
    yield from (f"{name} {_change(pair, DIGITS)}" for name, pair in job.metrics.items())
    for kind in ("inputs", "outputs"):
        paths = [path.rpartition("/")[2] for path in getattr(job, kind)]
        if paths:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            yield f"other {kind}: {', '.join(paths[:3])}{more}"


def _change(pair: tuple[object, object], digits: int = 0) -> str:
    """Before and now; with `digits` as many of numbers, where that tells them apart."""
    rounded, whole = ([_value(value, each) for value in pair] for each in (digits or EXACT, EXACT))
    return " → ".join(rounded if rounded[0] != rounded[1] else whole)


def _value(value: object, digits: int) -> str:
    if value is None:
        return NONE
    if isinstance(value, float) and digits != EXACT:
        return f"{value:.{digits}g}"
    return shown(value if isinstance(value, str) else canonical(value), VALUE)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
