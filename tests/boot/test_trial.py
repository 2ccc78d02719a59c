"""What a trial reports, after an attempt that was killed as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_experiment.launch import BOOT

PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[2])
from _ml_experiment_boot.trial import report

for step in range(int(sys.argv[1]), 4):
    report(step, step / 10)
print("to the end")
"""


def ended(folder: Path, reported: str, first: int, limit: float) -> tuple[str, str]:
    """What a trial says and has reported that is given up above a limit, from some step on."""
    reports, table = folder / "reports.txt", folder / "suggestion.json"
    reports.write_text(reported)
    rule = {"kind": "threshold", "lower": None, "upper": limit, "interval": 1, "warmup": 0}
    table.write_text(json.dumps({"pruning": rule}))
    names = {"ML_EXPERIMENT_REPORT": str(reports), "ML_EXPERIMENT_PRUNING": str(table)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(first), str(BOOT)],
        env={**os.environ, **names}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, reports.read_text()


@pytest.mark.parametrize("first", [0, 2])
def test_reports_of_an_earlier_attempt_count(tmp_path: Path, first: int) -> None:
    said, reports = ended(tmp_path, "0 0.0\n1 0.1\n", first, 9)
    assert said == "to the end\n"
    assert reports == "0 0.0\n1 0.1\n2 0.2\n3 0.3\n"


@pytest.mark.parametrize("first", [0, 2, 3])
@pytest.mark.parametrize("torn", ["", "pruned\n"])
def test_what_an_earlier_attempt_had_to_give_up_is_given_up(
    tmp_path: Path, first: int, torn: str
) -> None:
    """It was killed behind its last report, or behind the line that it is given up."""
    said, reports = ended(tmp_path, f"0 0.0\n1 0.1\n2 0.2\n{torn}", first, 0.15)
    assert said == ""
    assert reports == f"0 0.0\n1 0.1\n2 0.2\n{torn}pruned\n"
