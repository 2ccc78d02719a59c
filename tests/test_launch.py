"""The command line of a job, run by bash as Snakemake does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_experiment import launch, seeds
from ml_experiment.errors import UserError
from tests.experiments import plan

TEXT = (
    "seed: 5\nsteps:\n"
    "  a: {run: \"python3 -c 'import os, json; print(json.dumps(dict(os.environ)))' {params.x-y}\", metrics: m,\n"
    '      params: {x-y: "it\'s $HOME"}, threads: 3, replicates: 2, timeout: 1m}\n'
    "  listed: {run: 'x {metrics}', metrics: m, replicates: {seeds: [9]}}\n"
    "  c: {call: 'json:dumps', metrics: m, params: {obj: [1, 'é']}}\n"
)


def environ(folder: Path, name: str, replicate: str) -> dict[str, str]:
    made = plan(folder, TEXT)
    job = made.job(name, {"replicate": replicate})
    values = launch.values(made, job, job.case.params, {})
    line = f"{launch.prefix(made, job, values)} bash -euo pipefail -c {shlex.quote(launch.command(job, values))}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, check=True, cwd=folder, env=dict(os.environ)
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_job_gets_its_values(tmp_path: Path) -> None:
    found = environ(tmp_path, "a", "1")
    assert found["ML_EXPERIMENT_PARAMS_X_Y"] == "it's $HOME"
    assert found["ML_EXPERIMENT_METRICS"] == "results/a/seed-1/m"
    assert found["ML_EXPERIMENT_SEED"] == str(seeds.derive(5, "a", 1))
    assert (found["OMP_NUM_THREADS"], found["ML_EXPERIMENT_THREADS"]) == ("3", "3")
    assert found["PYTHONHASHSEED"] == str(seeds.hash_seed(5))
    boot = json.loads(found["ML_EXPERIMENT_BOOT"])
    assert (boot["root"], boot["stream"], boot["replicate"]) == (5, "a", 1)


def test_a_listed_seed_is_the_root_of_its_generators(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT)
    job = made.job("listed", {"replicate": "9"})
    words = shlex.split(launch.prefix(made, job, launch.values(made, job, job.case.params, {})))
    boot = json.loads(
        next(w for w in words if w.startswith("ML_EXPERIMENT_BOOT=")).partition("=")[2]
    )
    assert (boot["root"], boot["replicate"]) == (9, 0)


def test_a_function_gets_its_arguments_as_json(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT)
    job = made.job("c", {})
    words = shlex.split(launch.command(job, launch.values(made, job, job.case.params, {})))
    assert words[-2] == "json:dumps"
    assert json.loads(words[-1])["params"] == {"obj": [1, "é"]}


def test_a_command_that_is_too_long(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT.replace("it's $HOME", "x" * 110_000))
    job = made.job("a", {"replicate": "0"})
    with pytest.raises(UserError, match=r"the command of a/seed-0 has .* bytes"):
        launch.command(job, launch.values(made, job, job.case.params, {}))
    with pytest.raises(UserError, match=r"given as variables has .* bytes"):
        launch.prefix(made, job, launch.values(made, job, job.case.params, {}))


def test_two_names_of_one_variable_are_both_left_out() -> None:
    assert launch.variables({"params": {"a-b": 1, "a_b": 2, "c": None}, "seed": 3}) == {
        "ML_EXPERIMENT_SEED": "3"
    }


def test_a_warm_server_starts_before_its_first_program(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT)
    line = launch.warm_up(made, made.job("a", {"replicate": "1"}))
    assert line is not None
    assert launch.warm_up(made, made.job("c", {})) is None  # there is one job of it
    folder = tmp_path / "warm"
    learned = folder / "learned"
    learned.mkdir(parents=True)
    os.mkfifo(folder / "alive")
    environ = {**os.environ, "ML_EXPERIMENT_WARM": str(folder)}

    def servers() -> list[Path]:
        subprocess.run(["bash", "-c", line], check=True, cwd=tmp_path, env=environ)
        return [each for each in folder.iterdir() if each.is_dir() and each != learned]

    assert servers() == []  # nothing is known of what it imports
    boot = json.loads(
        next(w for w in shlex.split(line) if w.startswith("ML_EXPERIMENT_BOOT=")).partition("=")[2]
    )
    told = {"modules": ["numpy"], "python": [sys.executable, sys.version]}
    (learned / f"{boot['warm']}.json").write_text(json.dumps(told))
    alive = os.open(folder / "alive", os.O_RDWR)
    try:
        (server,) = servers()
        assert servers() == [server]
        for _ in range(600):
            if (server / "requests").is_fifo():
                break
            time.sleep(0.1)
        assert (server / "requests").is_fifo(), (server / "log").read_text()
    finally:
        os.close(alive)


def test_a_program_that_outlives_its_timeout_has_timed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "KILL", 1)
    program = "trap '' TERM; sleep 9; sleep 9"
    made = plan(tmp_path, f'steps: {{a: {{run: "{program}", metrics: m, timeout: 1}}}}\n')
    job = made.job("a", {})
    for path in (made.boot(job), made.log(job)):
        (tmp_path / path).parent.mkdir(parents=True)
    line = launch.line(made, job, {}, {}, resumed=False)
    assert subprocess.run(["bash", "-c", line], cwd=tmp_path, check=False).returncode == 124


def test_a_trial_of_a_rule_by_hand_that_is_killed_is_no_result(tmp_path: Path) -> None:
    text = """\
steps: {fit: {by_hand: true, params: {C: 1}, metrics: m.json}}
studies: {tune: {step: fit, space: {C: {int: [1, 9]}}, objectives: {a: minimize}, trials: 1}}
"""
    made = plan(tmp_path, text)
    job = next(made.jobs(made.steps["tune.trial"]))
    (tmp_path / "logs/tune").mkdir(parents=True)
    program = f"echo {{}} > {made.metrics(job)}; kill -TERM $PPID; sleep 1"
    line = launch.trial_by_hand(made, job, {"C": 1}, "id")
    words = ["bash", "-c", f"{line} bash -c '{program}'"]
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode == 143
    assert (tmp_path / str(made.metrics(job))).exists()
    assert not (tmp_path / made.path(job, "status.json")).exists()
