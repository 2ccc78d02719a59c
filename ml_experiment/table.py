"""The table of a step's metrics over its cases and replicates, and their summary.

`python -m ml_experiment.table KEY TABLE SUMMARY` is the job that writes them: its key file lists
the rows. The table is long: axis values, replicate, seed, metric, value. The summary has mean,
sample standard deviation, n and the 95 % interval of the mean for each metric and combination;
the interval is Student's t (Student 1908, Biometrika 6:1-25): mean ± t(0.975, n-1) · sd / √n.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import atomic, metrics
from ml_experiment.errors import MLExperimentError
from ml_experiment.placeholders import as_text

CONFIDENCE = 0.95


def interval(
    values: Sequence[float],
) -> tuple[float, float | None, float | None, float | None]:
    """Mean, sample standard deviation, and both ends of the 95 % interval of the mean.

    A single value has no spread, nor have values that are not all finite: None.
    """
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values), None, None, None
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None, None
    from scipy.special import stdtrit  # noqa: PLC0415  # 60 ms, only where there is a spread

    sd = statistics.stdev(values)
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(len(values))
    return mean, sd, mean - half, mean + half


def tables(key: Mapping[str, Any], measured: Sequence[Mapping[str, float]]) -> tuple[str, str]:
    """The text of table and summary. `measured` are the key's rows' metrics, in their order."""
    axes = list(key["axes"])
    long: list[list[Any]] = [[*axes, "replicate", "seed", "metric", "value"]]
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row, final in zip(key["rows"], measured, strict=True):
        case = [row["axes"][axis] for axis in axes]
        for name, value in final.items():
            long.append([*case, row["replicate"], row["seed"], name, value])
            groups.setdefault((*case, name), []).append(value)
    short: list[list[Any]] = [[*axes, "metric", "mean", "sd", "n", "low", "high"]]
    for group, values in groups.items():
        mean, sd, low, high = interval(values)
        short.append([*group, mean, sd, len(values), low, high])
    return _csv(long), _csv(short)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if cell is None else as_text(cell) for cell in row])
    return text.getvalue()


def main(arguments: Sequence[str]) -> int:
    """The table's job. Names every metrics file that is none, not only the first."""
    key_file, table, summary = map(Path, arguments)
    key = json.loads(key_file.read_text("utf-8"))
    measured, wrong = [], []
    for row in key["rows"]:
        try:
            measured.append(metrics.read(Path(row["metrics"])).final)
        except MLExperimentError as error:
            wrong.append(str(error))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    for path, text in zip((table, summary), tables(key, measured), strict=True):
        atomic.write(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
