"""The law of studies: what is searched and found does not depend on who runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.project import Make, Project

ENGINES = "ML_EXPERIMENT_TEST_ENGINES"
SAMPLERS = {
    "bruteforce": "{x: {float: [0, 1], step: 0.25}, kind: [a, b]}",
    "cmaes": "{x: {float: [0, 1]}, y: {float: [0.01, 10], log: true}, kind: [a, 1, 1.0, true, null]}",
    "gp": "{x: {float: [0, 1]}, n: {int: [1, 9]}}",
    "grid": "{x: {float: [0, 1], step: 0.25}, kind: [a, b]}",
    "nsgaii": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
    "nsgaiii": "{x: {float: [0, 1]}, y: {float: [0.01, 10], log: true}}",
    "qmc": "{x: {float: [0, 1]}, n: {int: [1, 9]}}",
    "random": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
    "tpe": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
}
if importlib.util.find_spec("torch") is None and os.environ.get(ENGINES) != "all":
    del SAMPLERS["gp"]
OPTIONS = {
    "nsgaii": "{nsgaii: {population_size: 4}}",
    "nsgaiii": "{nsgaiii: {population_size: 4}}",
    "tpe": "{tpe: {n_startup_trials: 4, multivariate: true}}",
    "gp": "{gp: {n_startup_trials: 4}}",
    "cmaes": "{cmaes: {n_startup_trials: 2}}",
}
TRIALS = 12
KILLS = 3  # of one study, at random moments
FIT = '''\
"""Fails for some parameters, and now and then for reasons of the machine that a flag remembers."""
import hashlib
import os
import pathlib
import random
import signal
import time


def fit(model, seed, trial=0, x=0.5, y=1.0, n=0, kind="a"):
    shuffle = os.environ.get("SHUFFLE")
    if shuffle:
        digest = hashlib.md5(f"{shuffle} {model}".encode()).digest()
        time.sleep(digest[0] / 256 * 0.1)
    flags = os.environ.get("FLAGS")
    once = pathlib.Path(flags, model.replace("/", "_")) if flags else None
    if once and trial % 4 == 1 and not once.exists():
        once.touch()
        if trial == 5 and os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit(3)
    if trial % 7 == 3 or x > 0.97:
        raise SystemExit("it does not converge")
    pathlib.Path(model).write_text(f"{x} {y} {n} {kind} {seed}")
    score = (x - 0.3) ** 2 + abs(y - 1) / 10 + n / 100 + (kind == "a") / 10 + random.random() / 50
    return {"loss": score, "size": float(n)}
'''


def experiment(*samplers: str, trials: int = TRIALS, more: str = "") -> str:
    text = (
        "name: law\nseed: 5\nsteps:\n  fit:\n    call: fit:fit\n    outputs: {model: model.txt}\n"
        "    metrics: metrics.json\n    retries: 1\nstudies:\n"
    )
    for name in samplers:
        text += (
            f"  s-{name}:\n    step: fit\n    space: {SAMPLERS[name]}\n"
            f"    objectives: {{loss: minimize}}\n    sampler: {OPTIONS.get(name, name)}\n"
            f"    trials: {min(trials, 10) if name in ('bruteforce', 'grid') else trials}\n"
            f"    window: 4\n{more}"
        )
    return text


# What is drawn of a study is no part of the law, and would take most of the time.
SNAKEFILE = """\
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: [path for path in experiment.targets if not path.endswith("/view")]
"""


def canonical(project: Project) -> dict[str, bytes]:
    """The files that have to be the same, whoever made them."""
    root = project.folder / "results"
    found = {}
    for pattern in ("*/trials/*.json", "*/trials.csv", "*/best.json", "*/pareto.json"):
        found.update({p.relative_to(root).as_posix(): p.read_bytes() for p in root.glob(pattern)})
    assert found
    return found


@pytest.fixture
def law(make: Make) -> Make:
    """A new project without views."""

    def build(experiment: str, **files: str) -> Project:
        return make(experiment, Snakefile=SNAKEFILE, **files)

    return build


def run(project: Project, *words: str, cores: int = 2, **environ: str) -> None:
    done = project.call("snakemake", "--cores", str(cores), *words, **environ)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Every sampler's study, one job at a time."""
    from tests.e2e.project import scaffold

    folder = tmp_path_factory.mktemp("serial") / "project"
    project = scaffold(folder, {"experiment.yaml": experiment(*SAMPLERS), "fit.py": FIT})
    project.write("Snakefile", SNAKEFILE)
    run(project, cores=1)
    return project


@pytest.mark.parametrize(("cores", "shuffle"), [(2, "a"), (7, "b")])
def test_cores_durations_and_failures_change_nothing(
    serial: Project, law: Make, tmp_path: Path, cores: int, shuffle: str
) -> None:
    flags = tmp_path / "flags"
    flags.mkdir()
    project = law(experiment(*SAMPLERS), fit_py=FIT)
    run(project, cores=cores, SHUFFLE=shuffle, FLAGS=str(flags))
    assert len(list(flags.iterdir())) == 3 * len(SAMPLERS)  # trials 1, 5 and 9 were tried twice
    assert canonical(project) == canonical(serial)


def test_kernels_and_threads_of_the_environment_change_no_suggestion(
    serial: Project, law: Make
) -> None:
    project = law(experiment(*SAMPLERS), fit_py=FIT)
    run(
        project,
        NPY_DISABLE_CPU_FEATURES="AVX2 FMA3",
        OPENBLAS_CORETYPE="Nehalem",
        OMP_NUM_THREADS="2",
    )
    assert canonical(project) == canonical(serial)


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
    assert canonical(project) == {
        name: text for name, text in canonical(serial).items() if name.startswith("s-tpe/")
    }


def test_a_longer_study_keeps_its_trials(law: Make) -> None:
    names = ("tpe", "nsgaii", "cmaes", "qmc")
    whole = law(experiment(*names, trials=20), fit_py=FIT)
    run(whole)
    known = canonical(whole)
    shutil.rmtree(whole.folder)
    project = law(experiment(*names, trials=9), fit_py=FIT)
    run(project)
    before = project.files("results")
    text = (project.folder / "experiment.yaml").read_text().replace("trials: 9", "trials: 20")
    project.write("experiment.yaml", text)
    assert project.would_run() == {
        **{f"s-{name}": 1 for name in names},
        **{f"s-{name}.trial": 11 for name in names},
        **{f"s-{name}.history": 1 for name in names if name != "qmc"},  # the marker of 16 trials
    }
    run(project)
    assert canonical(project) == known
    after = project.files("results")
    for name in names:
        status = f"results/s-{name}/trial-00004/status.json"
        assert after[status] == before[status]


PRUNERS = (
    "hyperband: {min_resource: 1, max_resource: 9}",
    "median: {n_startup_trials: 2}",
    "patient: {wrapped_pruner: {median: {n_startup_trials: 2}}, patience: 1}",
    "percentile: {percentile: 25.0, n_startup_trials: 2}",
    "successive_halving: {min_resource: 1, reduction_factor: 2}",
    "threshold: {upper: 0.9}",
    "wilcoxon: {p_threshold: 0.3}",
)
CURVES = """\
import os
import time

import ml_experiment


def fit(model, trial, x):
    shuffle = os.environ.get("SHUFFLE")
    if shuffle:
        time.sleep((trial * int(shuffle)) % 7 / 50)
    for step in range(10):
        ml_experiment.report(step, abs(x - 0.4) * (2 + step % 3 - step / 9))
    open(model, "w").write(str(x))
    return {"loss": abs(x - 0.4)}
"""


def test_pruned_trials_are_the_same_for_any_cores(law: Make, tmp_path: Path) -> None:
    text = (
        "name: law\nseed: 5\nsteps:\n  fit: {call: 'fit:fit', params: {x: 0.5}, "
        "outputs: {model: m.txt}, metrics: metrics.json}\nstudies:\n"
    )
    for pruner in PRUNERS:
        text += (
            f"  s-{pruner.partition(':')[0]}: {{step: fit, space: {{x: {{float: [0, 1]}}}}, "
            f"objectives: {{loss: minimize}}, sampler: {{tpe: {{n_startup_trials: 4}}}}, "
            f"pruner: {{{pruner}}}, trials: 12, window: 3}}\n"
        )
    project = law(text, fit_py=CURVES)
    other = project.copy(tmp_path / "other")
    run(project, cores=1)
    run(other, cores=7, SHUFFLE="3")
    found = canonical(project)
    assert canonical(other) == found
    for pruner in PRUNERS:
        name = f"s-{pruner.partition(':')[0]}"
        states = found[f"{name}/trials.csv"].decode()
        assert ",pruned," in states, name
        assert ",complete," in states, name
        assert (project.folder / "results" / name / "best" / "m.txt").exists()
    project.edit("experiment.yaml", "upper: 0.9", "upper: 0.8")
    assert project.would_run()["s-threshold.trial"] == 12


@pytest.mark.parametrize(
    "moment", range(int(os.environ.get("ML_EXPERIMENT_FAULTS", "21")) // KILLS)
)
def test_a_run_that_was_killed_at_any_moment_is_gone_on_with(
    serial: Project, law: Make, moment: int
) -> None:
    draw = random.Random(moment)
    project = law(experiment("tpe", "cmaes"), fit_py=FIT)
    words = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2"]
    environ = {**os.environ, "SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "true", "SHUFFLE": str(moment)}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for _ in range(KILLS):
        process = subprocess.Popen(
            words, cwd=project.folder, env=environ, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(draw.uniform(0.8, 3))
        if draw.random() < 0.5:
            os.kill(process.pid, signal.SIGKILL)  # what it has started goes on for a moment
            process.wait()
            time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        project.snakemake("--unlock")
    run(project)
    expected = {n: t for n, t in canonical(serial).items() if n.startswith(("s-tpe/", "s-cmaes/"))}
    assert canonical(project) == expected
