"""The process that suggests: what its environment may not change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ml_experiment.search import Search

DRAW = """\
import os

def draw(trial):
    os.system("echo printed by a program")
    return {n: trial.suggest_float(n, 0, 1) for n in {"rate", "momentum", "decay", "size"}}
"""


def suggested(folder: Path, seed: str) -> dict[str, float]:
    search = Search("tune", 7, (), ("minimize",), "random", function="draw:draw")
    question = {"study": "tune", "fresh": search.data(), "results": [], "restore": []}
    done = subprocess.run(
        [sys.executable, "-m", "ml_experiment.services.suggester"],
        input=json.dumps(question) + "\n", cwd=folder, env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "printed by a program" in done.stderr
    params: dict[str, float] = json.loads(done.stdout)["params"]
    return params


def test_a_function_that_walks_through_a_set_draws_the_same(tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text(DRAW)
    found = [suggested(tmp_path, seed) for seed in ("1", "2", "3")]
    assert found[0] == found[1] == found[2]
