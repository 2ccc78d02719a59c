"""What a trial of a study reports on its way, and whether it is worth going on.

A report is one line, `STEP VALUE`, in the file that ML_EXPERIMENT_REPORT names; a program in any
language can write it. The object `pruning` in the JSON file that ML_EXPERIMENT_PRUNING names says
below which values a trial is given up. That is the decision of Optuna's pruner, worked out before
the trial began; Optuna itself decides again when the study is told of it.

Where `ml_experiment` is not installed, as in most images, a program that imports it gets this file.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GIVEN_UP = "pruned"


class Pruned(SystemExit):
    """The trial ends here, as a program that has finished; nothing is wrong with it."""

    def __init__(self) -> None:
        super().__init__(0)


class _Reports:
    """What this process knows of its trial."""

    values: dict[int, float] | None = None
    table: dict[str, Any] | None = None


def report(step: int, value: float) -> None:
    """Report a value on the way; outside a trial nothing happens.

    Args:
        step: a whole number from 0, such as the epoch; a second report of a step is passed over.
        value: of the study's objective, as far as it is known.

    Raises:
        Pruned: the trial is not worth going on with.
    """
    path = os.environ.get("ML_EXPERIMENT_REPORT")
    if not path:
        return
    step, value = int(step), float(value)
    if step < 0:
        raise ValueError("a step is a whole number from 0, not %d" % step)
    if _Reports.values is None:
        _Reports.values, _Reports.table = read(path), _table()
        # of an attempt that was killed before it could give itself up
        _go_on(path)
    if step in _Reports.values:
        return
    _Reports.values[step] = value
    _append(path, "%d %r\n" % (step, value))
    _go_on(path)


def _go_on(path: str) -> None:
    """End the trial here if it is not worth going on with."""
    table, values = _Reports.table, _Reports.values
    if table and values and given_up(table, list(values.items())):
        _append(path, GIVEN_UP + "\n")
        raise Pruned


def read(path: str) -> dict[int, float]:
    """The reports in a file, those of an attempt that is gone on with; a torn line is none."""
    found: dict[int, float] = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        words = line.split()
        try:
            found.setdefault(int(words[0]), float(words[1]))
        except (IndexError, ValueError):
            continue
    return found


def given_up(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    """Whether the last of these reports is the end of the trial."""
    decide = {
        "optuna": _optuna,
        "patient": _patient,
        "percentile": _percentile,
        "rungs": _rungs,
        "threshold": _threshold,
        "wilcoxon": _wilcoxon,
    }
    return decide[table["kind"]](table, reports) if table.get("kind") in decide else False


def _percentile(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    if not _is_due(table, reports):
        return False
    values = [value for _, value in reports if not math.isnan(value)]
    if not values:
        return True
    limit = table["limits"].get(str(max(step for step, _ in reports)))
    return limit is not None and _worse(table, _best(table, values), limit)


def _threshold(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    if not _is_due(table, reports):
        return False
    value = max(reports)[1]
    if math.isnan(value):
        return True
    low, high = table["lower"], table["upper"]
    return (low is not None and value < low) or (high is not None and value > high)


def _rungs(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    """Each rung is a step at which a trial goes on only if it is among the best there."""
    reached, last, value = 0, -1, math.nan
    for step, reported in reports:
        if step > last:
            last, value = step, reported
        while reached < len(table["rungs"]):
            at, limit = table["rungs"][reached]
            if last < at:
                break
            if math.isnan(value) or limit == "end":
                return True
            if limit is not None and _worse(table, value, limit):
                return True
            reached += 1
    return False


def _patient(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    ordered = [value for _, value in sorted(reports)]
    count = table["patience"] + 1
    if len(ordered) <= count:
        return False
    before = [value for value in ordered[:-count] if not math.isnan(value)]
    after = [value for value in ordered[-count:] if not math.isnan(value)]
    if not before or not after:
        return False
    delta = table["min_delta"] if table["direction"] == "minimize" else -table["min_delta"]
    if not _worse(table, _best(table, after), _best(table, before) + delta):
        return False
    return True if table["inner"] is None else given_up(table["inner"], reports)


def _wilcoxon(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    """Whether the trial is worse than the best one, step by step, by more than chance."""
    known = {int(step): value for step, value in table["best"]}
    if not known or not all(map(math.isfinite, [*known.values(), *dict(reports).values()])):
        return False
    worse = [value - known[step] for step, value in reports if step in known]
    if table["direction"] == "maximize":
        worse = [-difference for difference in worse]
    if len(worse) < max(2, table["startup"]) or not _chance(worse) < table["threshold"]:
        return False
    mean = _mean([value for _, value in reports])  # a trial with the better mean goes on
    return _worse(table, mean, _mean(list(known.values())))


def _chance(differences: list[float]) -> float:
    """How likely it is that so much is above zero: SciPy's `wilcoxon`, one-sided, with `zsplit`.

    SciPy, and Optuna even more, would take longer to import than many a trial runs.
    """
    ranks, ties, first = {}, 0, 0  # size of a difference -> twice its mean rank, a whole number
    for size, group in itertools.groupby(sorted(map(abs, differences))):
        count = len(list(group))
        ranks[size] = 2 * first + count + 1
        ties += count**3 - count
        first += count
    count = len(differences)
    above = sum(ranks[difference] for difference in differences if difference > 0)
    if count > 50 or (count > 13 and (ties or 0 in ranks)):
        halves = ranks[0] * differences.count(0) if 0 in ranks else 0
        deviation = math.sqrt((count * (count + 1) * (2 * count + 1) - ties / 2) / 24)
        z = (above / 2 + halves / 4 - count * (count + 1) / 4) / deviation
        # A little more, so that nothing ends by a last digit of which Optuna has another.
        return math.erfc(z / math.sqrt(2)) / 2 * (1 + 1e-9)
    # In how many ways signs give each sum of ranks: digits of one number, to the base 2 ** 64.
    ways = 1
    moving = [ranks[abs(difference)] for difference in differences if difference]
    for rank in moving:
        ways += ways << (64 * rank)
    as_much = (ways >> (64 * above)) % (2**64 - 1)  # the sum of the digits from there on
    return as_much / 2 ** len(moving)


def _mean(values: list[float]) -> float:
    """One after the other: `sum` rounds otherwise since Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def _optuna(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    """A pruner of which there is no table: it is asked here, and has to be installed."""
    import optuna  # of the step's environment

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    module, _, name = table["pruner"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    study = optuna.create_study(direction=table["direction"], pruner=kind(**table["options"]))
    for told in table["trials"]:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[told["state"]],
                value=told["value"],
                **({"constraints": told["constraints"]} if told.get("constraints") else {}),
                intermediate_values={int(step): value for step, value in told["reports"]},
            )
        )
    trial = study.ask()
    for step, value in reports:
        trial.report(value, step)
    return bool(trial.should_prune())


def _is_due(table: dict[str, Any], reports: list[tuple[int, float]]) -> bool:
    """Whether the last step is the first of an interval in which a decision is due."""
    step = max(step for step, _ in reports)
    warmup, interval = table["warmup"], table["interval"]
    if step < warmup:
        return False
    begin = (step - warmup) // interval * interval + warmup
    return max([other for other, _ in reports if other != step] or [-1]) < begin


def _best(table: dict[str, Any], values: list[float]) -> float:
    return min(values) if table["direction"] == "minimize" else max(values)


def _worse(table: dict[str, Any], value: float, limit: float) -> bool:
    return value > limit if table["direction"] == "minimize" else value < limit


def _table() -> dict[str, Any] | None:
    path = os.environ.get("ML_EXPERIMENT_PRUNING")
    if not path:
        return None
    with open(path, encoding="utf-8") as file:
        table: dict[str, Any] | None = json.load(file).get("pruning")
    return table


def _append(path: str, line: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
