"""Gathers the trials of a study: `python -m … KEY` is the job that writes its files.

Canonical, the same wherever and in whatever order the trials ran: `trials/NUMBER.json`,
`trials.csv`, and `best.json`, or `pareto.json` where there are several objectives. Beside them
`best/`, with what the best trial made; what other trials made is removed as `keep` says.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import atomic, search, trials
from ml_experiment.ending import last_lines
from ml_experiment.errors import MLExperimentError, UserError
from ml_experiment.placeholders import as_text
from ml_experiment.search import Layout, Result, Search, trial_label
from ml_experiment.trials import Ended


@dataclass(frozen=True)
class Trial:
    """One trial that has ended; one that was removed does not count."""

    params: Mapping[str, Any]
    ended: Ended
    removed: bool

    @property
    def result(self) -> Result:
        """What came of it."""
        return self.ended.result

    @property
    def counts(self) -> bool:
        """Whether it may be the best."""
        return self.result.allowed and not self.removed


def gather(root: Path, key: Mapping[str, Any]) -> None:
    """Write the files of a study.

    Raises:
        UserError: no trial counts, too many failed, or a trial's file is not what it should be.
    """
    layout, declared = search.layout(key["layout"]), search.search(key["search"])
    found = read(root, layout, key["count"], key["study"]["remove"])
    _check(root / key["logs"], layout, found, key["study"]["max_failures"])
    folder = root / layout.folder
    rows = [row(layout, declared, trial) for trial in found]
    shutil.rmtree(folder / "trials", ignore_errors=True)
    for entry in rows:
        _write(folder / "trials" / f"{trial_label(entry['number'])}.json", entry)
    atomic.write(folder / "trials.csv", table(layout, declared, rows))
    counting = [trial for trial in found if trial.counts]
    if len(declared.objectives) > 1:
        front = pareto(counting, declared)
        _write(folder / "pareto.json", [_point(layout, trial) for trial in front])
        best = front
    else:
        best = ranked(counting, declared)
        _write(folder / "best.json", _point(layout, best[0]))
        _link(root, layout, best[0].result.number)
    _clean(root, layout, found, kept_trials(best, key["study"]["keep"], declared))


def read(root: Path, layout: Layout, count: int, removed: Sequence[int]) -> list[Trial]:
    """The trials of a study up to the first that did nothing.

    Raises:
        UserError: a file is not what it should be, or is missing.
    """
    found = []
    for number in range(count):
        if trials.stopped(root, layout, number):
            break
        file = layout.trial(number) / "suggestion.json"
        kept = trials.kept(root / file)
        ended = kept and trials.ended(root, layout, number, kept.identity)
        if kept is None or ended is None:
            raise UserError("a trial without its files", where=str(file.parent), hint=trials.HINT)
        found.append(Trial(kept.suggestion.params, ended, number in removed))
    return found


def ranked(counting: Sequence[Trial], declared: Search) -> list[Trial]:
    """The best first; of equal ones the earliest."""
    sign = 1.0 if declared.objectives[0] == "minimize" else -1.0
    return sorted(counting, key=lambda t: (sign * t.result.values[0], t.result.number))


def pareto(counting: Sequence[Trial], declared: Search) -> list[Trial]:
    """The trials that no other is better than in one objective without being worse in another."""
    signs = [1.0 if direction == "minimize" else -1.0 for direction in declared.objectives]
    points = [tuple(s * v for s, v in zip(signs, t.result.values, strict=True)) for t in counting]
    front = _front(points) if len(signs) == 2 else _unbeaten(points)
    return [trial for trial, own in zip(counting, points, strict=True) if own in front]


def _front(points: Sequence[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """The unbeaten ones of two objectives: by the first, each is better in the second."""
    front: set[tuple[float, ...]] = set()
    least = math.inf
    for one, other in sorted(set(points)):
        if other < least:
            front.add((one, other))
            least = other
    return front


def _unbeaten(points: Sequence[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """The unbeaten ones of any number of objectives: whoever beats a point sorts before it."""
    front: list[tuple[float, ...]] = []
    for own in sorted(set(points)):
        if not any(all(a <= b for a, b in zip(o, own, strict=True)) for o in front):
            front.append(own)
    return set(front)


def kept_trials(best: Sequence[Trial], keep: str | int, declared: Search) -> set[int] | None:
    """The numbers of the trials whose products are kept; None for all."""
    if keep == "all":
        return None
    several = len(declared.objectives) > 1
    most = len(best) if several and keep == "best" else 1 if keep == "best" else int(keep)
    return {trial.result.number for trial in best[:most]}


def row(layout: Layout, declared: Search, trial: Trial) -> dict[str, Any]:
    """A trial as it stands in its file."""
    result = trial.result
    entry: dict[str, Any] = {
        "number": result.number,
        "params": declared.ordered(trial.params),
        "reason": trial.ended.reason,
        "reports": [[step, _plain(value)] for step, value in result.reports],
        "state": "removed" if trial.removed else result.ended,
        "values": _values(layout, trial),
    }
    if layout.constraints:
        entry["excess"] = [_plain(amount) for amount in result.excess]
    return entry


def table(layout: Layout, declared: Search, rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials as CSV: number, state, objectives, parameters, why one failed."""
    names = [parameter.name for parameter in declared.parameters]
    if declared.function:
        names = sorted({name for entry in rows for name in entry["params"]})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *layout.objectives, *names, "reason"])
    for entry in rows:
        cells = [entry["number"], entry["state"]]
        cells += [entry["values"].get(name) for name in layout.objectives]
        cells += [entry["params"].get(name) for name in names]
        writer.writerow(["" if c is None else as_text(c) for c in [*cells, entry["reason"]]])
    return text.getvalue()


def _plain(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else str(value)


def _values(layout: Layout, trial: Trial) -> dict[str, float]:
    return dict(zip(layout.objectives, trial.result.values, strict=False))


def _point(layout: Layout, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.result.number,
        "params": dict(trial.params),
        "values": _values(layout, trial),
    }


def _write(file: Path, data: Any) -> None:
    atomic.write(file, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _check(logs: Path, layout: Layout, found: Sequence[Trial], most: int | None) -> None:
    failed = [trial for trial in found if trial.result.ended == "failed"]
    if failed and most is not None and len(failed) > most:
        what = f"{len(failed)} trials failed, and at most {most} may; {_first(logs, layout, failed[0])}"
        raise UserError(what)
    if any(trial.counts for trial in found):
        return
    if not found:
        raise UserError("a study without trials has no best one", where=layout.folder)
    if len(failed) == len(found):
        raise UserError(f"all {len(found)} trials failed; {_first(logs, layout, failed[0])}")
    kinds = Counter("removed" if t.removed else _WHY[t.result.ended] for t in found)
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    raise UserError(f"none of {len(found)} trials counts: {shown}", where=layout.folder)


_WHY = {"complete": "outside the constraints", "failed": "failed", "pruned": "pruned"}


def _first(logs: Path, layout: Layout, trial: Trial) -> str:
    """How a trial failed, with the end of its log."""
    number = trial.result.number
    name = f"trial-{trial_label(number)}"
    first = layout.replicates[0]
    log = logs / name / f"seed-{first}.log" if first else logs / f"{name}.log"
    what = f"the first is trial {number}: {trial.ended.reason}"
    return "\n".join([what, f"its log is {log} and ends with", last_lines(log)])


def _link(root: Path, layout: Layout, number: int) -> None:
    """What the best trial made, under a name that stays."""
    shutil.rmtree(root / layout.folder / "best", ignore_errors=True)
    for replicate in layout.replicates:
        source = root / layout.job(number, replicate)
        target = root / layout.folder / "best" / (f"seed-{replicate}" if replicate else "")
        for file in layout.outputs.values():
            _copy(source / file, target / file, number)


def _copy(source: Path, target: Path, number: int) -> None:
    """A second name for a file, with a new time, since Snakemake goes by that."""
    if not source.exists():
        where = str(source)
        hint = "`keep` has removed it: remove the trial's folder, then it runs again"
        raise UserError(f"trial {number} is the best, and this is gone", where=where, hint=hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_hard)
        os.utime(target)
    else:
        _hard(source, target)


def _hard(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
    os.utime(target)


def _clean(root: Path, layout: Layout, found: Sequence[Trial], kept: set[int] | None) -> None:
    """Remove what trials made that are not kept. Their metrics stay."""
    if kept is None:
        return
    for trial in found:
        if trial.result.number in kept:
            continue
        for replicate in layout.replicates:
            for file in layout.outputs.values():
                path = root / layout.job(trial.result.number, replicate) / file
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> int:
    """The job."""
    try:
        gather(Path.cwd(), json.loads(Path(arguments[0]).read_text("utf-8")))
    except MLExperimentError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
