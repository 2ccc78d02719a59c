"""The files of a study's trials: what was suggested, how it ended, what was measured.

    results/tune/[case/]trial-00007/suggestion.json         what it tries, and what that was made from
                                    [seed-0/]status.json    how it ended; the job's shell writes it
                                    [seed-0/]metrics.json   what the program measured
                                    [seed-0/]reports.txt    what it reported on the way
                                    [seed-0/]STEP/…         the same of its earlier steps

Everything is JSON and is checked when it is read: a file that was edited by hand is an error, and
nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import atomic, metrics, search
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.hashing import canonical
from ml_experiment.search import Layout, Result, Suggestion

TIMEOUT = 124  # the exit status of `timeout`
HINT = "remove the trial's folder, then it runs again"


class Kept(NamedTuple):
    """A suggestion as it is on disk.

    Attributes:
        made: the digest of what it was made from.
        identity: the digest of all that it says.
    """

    suggestion: Suggestion
    made: str
    identity: str


class Ended(NamedTuple):
    """What came of a trial; `reason` says why it failed."""

    result: Result
    reason: str | None


def keep(file: Path, kept: Kept, by: Mapping[str, Any]) -> None:
    """Write a suggestion. `by` says what made it: versions and kernels."""
    data = {"by": by, "from": kept.made, "id": kept.identity, **vars(kept.suggestion)}
    atomic.write(file, canonical(data) + "\n", durable=False)


def kept(file: Path) -> Kept | None:
    """A suggestion that was made before; None where there is none.

    Raises:
        UserError: it is none, or it was edited.
    """
    data = _json(file)
    if data is None:
        return None
    try:
        suggestion = Suggestion(*(data[name] for name in ("number", "params", "state", "pruning")))
        made, identity = data["from"], data["id"]
    except KeyError as error:
        raise UserError(
            f"no suggestion: {error.args[0]} is missing", where=str(file), hint=HINT
        ) from None
    if search.identity(made, suggestion) != identity:
        raise UserError("a suggestion that was edited", where=str(file), hint=HINT)
    return Kept(suggestion, made, identity)


def ended(root: Path, layout: Layout, number: int, identity: str) -> Ended | None:
    """What came of a trial; None while it has not ended.

    Args:
        root: the workspace.
        layout: where the trials are.
        number: of the trial.
        identity: of its suggestion; a status of another one is that of an older run.

    Raises:
        UserError: a file is not what it should be, or has no such objective.
    """
    measured: list[Mapping[str, float]] = []
    reason = None
    pruned = False
    for replicate in layout.replicates:
        folder = root / layout.job(number, replicate)
        status = _json(folder / "status.json")
        if status is None:
            return None
        if status.get("suggestion") != identity:
            raise UserError("the status of another suggestion", where=str(folder), hint=HINT)
        if status.get("state") == "failed":
            reason = reason or _reason(status, replicate)
        elif status.get("state") == "pruned":  # a study with a pruner has no replicates
            pruned = True
        else:
            measured.append(metrics.read(folder / layout.metrics).final)
    if reason is not None:
        return Ended(Result(number, "failed"), reason)
    told = _reported(root / layout.job(number, layout.replicates[0]), layout)
    if pruned:
        return Ended(Result(number, "pruned", (), told), None)
    where = str(layout.trial(number))
    values = {name: _mean(name, measured, where) for name in layout.objectives}
    excess = [
        amount
        for name, bounds in layout.constraints.items()
        for amount in _excess(_mean(name, measured, where), bounds)
    ]
    for name, value in values.items():
        if not math.isfinite(value):
            return Ended(Result(number, "failed"), f"{name} is {value}")
    return Ended(Result(number, "complete", tuple(values.values()), told, tuple(excess)), None)


def _reported(folder: Path, layout: Layout) -> tuple[tuple[int, float], ...]:
    """The reports of a trial: of its last step, or of the first earlier one that has any."""
    parts = dict.fromkeys(name.partition(".")[0] for name in layout.outputs if "." in name)
    found = (reports(folder / part / "reports.txt") for part in ("", *parts))
    return next((told for told in found if told), ())


def reports(file: Path) -> tuple[tuple[int, float], ...]:
    """What a trial has reported, `STEP VALUE` in each line; of a step the first counts."""
    found: dict[int, float] = {}
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    for line in lines:
        if line == "pruned":
            break
        try:
            step, value = line.split()
            found.setdefault(int(step), float(value))
        except ValueError:
            hint = "write STEP VALUE, a whole number and a number"
            raise UserError("no report", where=str(file), value=line, hint=hint) from None
    return tuple(found.items())


def stopped(root: Path, layout: Layout, number: int) -> bool:
    """Whether a trial did nothing, because its study had found enough."""
    status = _json(root / layout.job(number, layout.replicates[0]) / "status.json")
    return status is not None and status.get("state") == "stopped"


def _reason(status: Mapping[str, Any], replicate: str) -> str:
    code = status.get("status")
    what = "timeout" if code == TIMEOUT else f"exit status {code}"
    what = f"{what} of {status['part']}" if status.get("part") else what
    return f"{what} (replicate {replicate})" if replicate else what


def _mean(name: str, measured: list[Mapping[str, float]], where: str) -> float:
    """The mean over the replicates; the sum is exact, so their order does not count.

    No number where there is none, as of both infinities.
    """
    for found in measured:
        if name not in found:
            hint = did_you_mean(name, found) or f"the metrics are {', '.join(sorted(found))}"
            raise UserError("the metrics have no such value", where=where, value=name, hint=hint)
    try:
        return math.fsum(found[name] for found in measured) / len(measured)
    except (OverflowError, ValueError):
        return math.nan


def _excess(value: float, bounds: Mapping[str, float | None]) -> list[float]:
    """By how much each bound is broken; what is no number breaks it."""
    low, high = bounds.get("min"), bounds.get("max")
    found = [] if low is None else [low - value]
    found += [] if high is None else [value - high]
    return [math.inf if math.isnan(amount) else amount for amount in found]


def _json(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file), hint=HINT) from None
    if not isinstance(data, dict):
        raise UserError("no JSON object", where=str(file), hint=HINT)
    return data
