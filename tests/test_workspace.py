"""Opening an experiment is quick, as every command begins with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_experiment import workspace

GRID = "axes: {m: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}\nsteps:\n" + "".join(
    f"  s{i}: {{run: 'x {{metrics}} {{inputs.i}}', metrics: m, matrix: [m], replicates: 50, inputs: {{i: {'x.csv' if not i else f's{i - 1}.metrics'}}}}}\n"
    for i in range(10)
)
LONG = f"axes: {{m: {list(range(5000))}}}\nsteps:\n" + "".join(
    f"  s{i}: {{run: 'x {{metrics}} {{inputs.i}}', metrics: m, matrix: [m], inputs: {{i: {'x.csv' if not i else 's0.metrics'}}}}}\n"
    for i in range(2)
)


@pytest.mark.parametrize(("text", "jobs"), [(GRID, 5000), (LONG, 10_000)])
def test_thousands_of_jobs(tmp_path: Path, text: str, jobs: int) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("name: x\n" + text)
    begin = time.process_time()
    plan = workspace.open_plan(file)
    workspace.key_texts(plan)
    assert time.process_time() - begin < 2  # 0.05 and 0.4 s on an idle machine
    assert sum(1 for _ in plan.all_jobs()) == jobs


def test_nothing_heavy_is_imported() -> None:
    code = "import ml_experiment.workspace, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "snakemake",
        "numpy",
        "scipy",
        "pandas",
        "rich",
        "mlflow",
        "dvc",
        "optuna",
        "asyncio",
    }
