"""The law of studies: what is searched and found does not depend on who runs it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.law import (
    COUNTED,
    FIT,
    PRUNERS,
    SAMPLERS,
    SUBJECTS,
    canonical,
    experiment,
    of,
    run,
)
from tests.e2e.project import Make, Project

LONGER: list[tuple[str, ...]] = [("cmaes", "hyperband", "tpe")]
if "ML_EXPERIMENT_FAULTS" in os.environ:
    LONGER = [tuple(SUBJECTS[at : at + 3]) for at in range(0, len(SUBJECTS), 3)]


@pytest.mark.parametrize(("cores", "shuffle", "parts"), [(2, "a", (5, 12)), (7, "b", (12,))])
def test_cores_durations_failures_and_parts_change_nothing(
    serial: Project, law: Make, tmp_path: Path, cores: int, shuffle: str, parts: tuple[int, ...]
) -> None:
    flags = tmp_path / "flags"
    flags.mkdir()
    project = law(experiment(*SUBJECTS), fit_py=FIT)
    for trials in parts:
        project.write("experiment.yaml", experiment(*SUBJECTS, trials=trials))
        run(project, cores=cores, SHUFFLE=shuffle, FLAGS=str(flags))
    tried = Counter(flag.name.split("_trial-")[0] for flag in flags.iterdir())
    assert {tried[f"results_s-{name}"] for name in SAMPLERS} == {3}  # trials 1, 5 and 9, twice
    assert all(tried[f"results_s-{name}"] for name in PRUNERS)  # those not given up before
    assert canonical(project) == canonical(serial)


def test_what_a_pruner_gives_up_and_what_it_keeps(serial: Project, tmp_path: Path) -> None:
    found = canonical(serial)
    for pruner in PRUNERS:
        states = found[f"s-{pruner}/trials.csv"].decode()
        assert ",pruned," in states, pruner
        assert ",complete," in states, pruner
        assert (serial.folder / "results" / f"s-{pruner}" / "best" / "model.txt").exists()
    project = serial.copy(tmp_path / "other")
    project.edit("experiment.yaml", "upper: 0.9", "upper: 0.8")
    assert project.would_run()["s-threshold.trial"] == 12


def test_kernels_and_threads_of_the_environment_change_no_suggestion(
    serial: Project, law: Make
) -> None:
    project = law(experiment(*SAMPLERS), fit_py=FIT)
    run(
        project,
        NPY_DISABLE_CPU_FEATURES="AVX2 FMA3",
        OPENBLAS_CORETYPE="Nehalem",
        OMP_NUM_THREADS="2",
        PYTHONHASHSEED="5",
    )
    assert canonical(project) == of(canonical(serial), SAMPLERS)


def test_a_finished_study_on_another_machine_runs_nothing(serial: Project, tmp_path: Path) -> None:
    """What was suggested is read, whatever this machine would suggest; more trials go on from it."""
    project = serial.copy(tmp_path / "other")
    shutil.rmtree(project.folder / ".snakemake")
    other = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3", "OPENBLAS_CORETYPE": "Nehalem"}
    assert project.would_run(**other) == {}
    project.edit("experiment.yaml", "trials: 12", "trials: 13")
    (name,) = {rule for rule in project.would_run() if rule.endswith(".trial")}
    done = project.snakemake(**other)
    assert done.returncode == 0, done.stderr
    before = canonical(serial)
    found = canonical(project)
    assert {path for path in before if found[path] != before[path]} <= {
        f"{name.removesuffix('.trial')}/{file}" for file in ("trials.csv", "best.json")
    }


def test_a_killed_trial_is_no_result_and_the_study_goes_on(
    serial: Project, law: Make, tmp_path: Path
) -> None:
    flags = tmp_path / "flags"
    flags.mkdir()
    project = law(experiment("tpe"), fit_py=FIT)
    project.edit("experiment.yaml", "retries: 1", "retries: 0")
    project.edit("fit.py", "raise SystemExit(3)", "pass")
    done = project.call("snakemake", "--cores", "2", FLAGS=str(flags), KILL="1")
    assert done.returncode == 1
    assert "failed: s-tpe/trial-00005" in done.stderr
    run(project, FLAGS=str(flags), KILL="1")
    assert canonical(project) == of(canonical(serial), ["tpe"])


TWICE = """\
import os
import pathlib


def fit(model, trial, x=0.5):
    tried = pathlib.Path(f"tried-{trial}")
    tried.write_text(tried.read_text() + "." if tried.exists() else ".")
    if trial == 2 and tried.read_text() == ".":
        os.kill(os.getpid(), 9)
    if trial == 3 or (trial == 2 and tried.read_text() == ".."):
        raise SystemExit(3)
    pathlib.Path(model).write_text(str(x))
    return {"loss": x}
"""


def test_an_attempt_that_was_killed_is_not_one_of_those_that_failed(law: Make) -> None:
    text = (
        "name: x\nsteps:\n  fit: {call: 'fit:fit', outputs: {model: m.txt}, metrics: m.json, retries: 1}\n"
        "studies:\n  tune: {step: fit, space: {x: {float: [0, 1]}}, objectives: {loss: minimize}, "
        "sampler: random, trials: 5}\n"
    )
    project = law(text, fit_py=TWICE)
    done = project.snakemake("--keep-going")
    assert done.returncode == 1
    assert "an earlier attempt was killed, so nothing is known of this trial" in done.stderr
    run(project)
    rows = (project.folder / "results/tune/trials.csv").read_text().splitlines()
    states = [row.split(",")[1] for row in rows]
    assert states == ["state", "complete", "complete", "complete", "failed", "complete"]
    assert [(project.folder / f"tried-{n}").read_text() for n in (1, 2, 3)] == [".", "...", ".."]


@pytest.mark.parametrize("names", LONGER, ids=",".join)
def test_a_longer_study_keeps_its_trials(law: Make, names: tuple[str, ...]) -> None:
    whole = law(experiment(*names, trials=40), fit_py=FIT)
    run(whole)
    known = canonical(whole)
    shutil.rmtree(whole.folder)
    project = law(experiment(*names, trials=20), fit_py=FIT)
    run(project)
    before = project.files("results")
    project.write("experiment.yaml", experiment(*names, trials=40))
    longer = [name for name in names if name not in COUNTED]
    waiting = [name for name in longer if name not in ("qmc", "random")]
    assert project.would_run() == {
        **{f"s-{name}": 1 for name in longer},
        **{f"s-{name}.trial": 20 for name in longer},
        **{f"s-{name}.history": 1 for name in waiting},  # the marker of the trials up to 31
    }
    run(project)
    assert canonical(project) == known
    after = project.files("results")
    for name in names:
        status = f"results/s-{name}/trial-00004/status.json"
        assert after[status] == before[status]
