"""New projects, scripts added to them, and two clones that give the same results."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ml_experiment import metrics
from tests.e2e.project import REPOSITORY, Project

TEMPLATE = ("Snakefile", "experiment.yaml", "workflow", "envs", "profiles/default", "schemas")
EXECUTORS = ("local", "forkserver")  # cold, and warm: the same bytes


def repository_files() -> dict[str, bytes]:
    """What git has of the repository's own experiment."""
    words = ["git", "ls-files", "-co", "--exclude-standard", "--", *TEMPLATE]
    names = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return {name: (REPOSITORY / name).read_bytes() for name in names.split()}


def test_init_makes_this_repositorys_own_experiment(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.ours("init", "paper")
    assert done.returncode == 0, done.stderr
    made = {
        path.relative_to(tmp_path / "paper").as_posix(): path.read_bytes()
        for path in (tmp_path / "paper").rglob("*")
        if path.is_file() and path.name != ".gitignore"
    }
    assert made == repository_files()
    assert "next: cd paper && ml-experiment run" in done.stdout
    assert Project(tmp_path / "paper").ours("check").returncode == 0


def test_init_changes_nothing_that_is_there(tmp_path: Path) -> None:
    there = {
        "Snakefile": "rule all:\n    output: 'x'\n    shell: 'touch x'\n",
        ".gitignore": "x\n",
        "README.md": "mine\n",
        "workflow/scripts/own.py": "",
    }
    project = Project(tmp_path)
    for name, text in there.items():
        project.write(name, text)
    project.call("git", "init", "-q")
    before = _planned(project)
    done = project.ours("init")
    assert done.returncode == 0, done.stderr
    assert {name: (tmp_path / name).read_text() for name in there} == there
    assert "add to .gitignore" in done.stdout
    assert _planned(project) == before
    planned = project.ours("run", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "prepare" in planned.stdout


def test_where_dvc_is_a_new_project_has_stages_that_follow_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.call("git", "init", "-q")
    project.call("dvc", "init", "-q")
    done = project.ours("init", "--empty")
    assert done.returncode == 0, done.stderr
    assert "  dvc.yaml" in done.stdout.splitlines()
    assert project.ours("dvc", "--check").returncode == 0
    project.write("hello.py", "import sys\nopen(sys.argv[1], 'w').write('hello')\n")
    added = project.ours("add", "hello.py")
    assert "written to experiment.yaml, dvc.yaml" in added.stderr
    assert "ml-experiment stage hello" in (tmp_path / "dvc.yaml").read_text()
    assert project.ours("dvc", "--check").returncode == 0


def test_a_pipeline_of_the_users_stays(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.call("git", "init", "-q")
    project.call("dvc", "init", "-q")
    mine = "stages:\n  mine:\n    cmd: touch mine\n    outs: [mine]\n"
    project.write("dvc.yaml", mine)
    done = project.ours("init", "--empty")
    assert done.returncode == 0, done.stderr
    project.write("hello.py", "import sys\nopen(sys.argv[1], 'w').write('hello')\n")
    assert "written to experiment.yaml; next" in project.ours("add", "hello.py").stderr
    assert (tmp_path / "dvc.yaml").read_text() == mine


def _planned(project: Project) -> str:
    """What a plain `snakemake` would do, without the date."""
    text = project.call("snakemake", "-n", "--cores", "1").stdout
    return re.sub(r"\[.* \d{4}\]", "", text.partition("Job stats")[2])


def test_init_refuses_as_a_whole(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("experiment.yaml", "name: mine\n")
    done = project.ours("init")
    assert done.returncode == 2
    assert "experiment.yaml" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_add_an_unmodified_script_and_run_it(tmp_path: Path) -> None:
    """argparse, no seeds: three replicates draw differently, and the same in a clone, cold or warm."""
    clones = []
    for name in EXECUTORS:
        project = Project(tmp_path / name)
        project.folder.mkdir()
        assert Project(tmp_path).ours("init", "--empty", name).returncode == 0
        shutil.copy(REPOSITORY / "examples/script/train.py", project.folder / "train.py")
        script = (project.folder / "train.py").read_bytes()
        done = project.ours("add", "train.py")
        assert done.returncode == 0, done.stderr
        assert (project.folder / "train.py").read_bytes() == script
        assert project.ours("check").returncode == 0, project.ours("check").stderr
        words = ("-e", name, "--config", "steps={train: {replicates: 3}}")
        assert project.snakemake(*words).returncode == 0
        clones.append(project)
    draws = [project.files("results") for project in clones]
    assert draws[0] == draws[1]
    metrics = [name for name in draws[0] if name.endswith("metrics.json")]
    assert len(metrics) == 3
    assert len({draws[0][name] for name in metrics}) == 3


def test_two_clones_on_one_and_two_cores_are_equal(tmp_path: Path) -> None:
    """The repository's own experiment, as a small variant; the paper's results stay untouched.

    The first clone's programs all start cold.
    """
    clones = []
    for cores, executor in zip(("1", "2"), EXECUTORS, strict=True):
        project = Project(tmp_path / f"on {cores}")
        assert Project(tmp_path).ours("init", project.folder.name).returncode == 0
        project.write("results/evaluate/scores.json", "the paper's")
        words = ("--cores", cores, "-e", executor, "--config", "variant=smoke")
        done = project.call("snakemake", *words)
        assert done.returncode == 0, done.stderr
        assert project.files("results").keys() == {"results/evaluate/scores.json"}
        assert (project.folder / "results/evaluate/scores.json").read_text() == "the paper's"
        clones.append(project.files("results-smoke"))
    assert clones[0] == clones[1]
    assert len(clones[0]) > 30


def test_a_variant_leaves_the_results_untouched(small: Project) -> None:
    before = {name: (small.folder / name).stat().st_mtime_ns for name in small.files()}
    assert small.snakemake("--config", "variant=quick").returncode == 0
    after = {name: (small.folder / name).stat().st_mtime_ns for name in small.files()}
    assert after == before
    assert (small.folder / "results-quick/fit/method=mean/seed-0/model.json").is_file()
    assert small.would_run() == {}


def test_replicates_differ_and_methods_share_their_draws(finished: Project) -> None:
    draws = {
        (method, seed): json.loads(
            (finished.folder / f"results/fit/method={method}/seed-{seed}/metrics.json").read_text()
        )["draw"]
        for method in ("mean", "median")
        for seed in (0, 1)
    }
    assert draws["mean", 0] == draws["median", 0]
    assert draws["mean", 0] != draws["mean", 1]


@pytest.mark.parametrize(
    "words", [("--list-rules",), ("--dag",), ("--summary",), ("-n", "-p"), ("--report", "r.html")]
)
def test_snakemakes_own_views_work(finished: Project, words: tuple[str, ...]) -> None:
    done = finished.snakemake(*words)
    assert done.returncode == 0, done.stderr


def _example(name: str, clone: Path) -> Project:
    """An example in a clone of its own: its Snakefile includes the repository's rules."""
    shutil.copytree(REPOSITORY / "workflow/rules", clone / "workflow/rules")
    shutil.copytree(REPOSITORY / "examples" / name, clone / "examples" / name)
    return Project(clone / "examples" / name)


KILLED = """\
        save(checkpoint, state)
        if len(curve) == 2 and not os.path.exists("mended"):
            os.kill(os.getpid(), 9)
"""


@pytest.mark.engine("torch")
def test_the_torch_example(tmp_path: Path) -> None:
    projects = [_example("torch", tmp_path / name) for name in ("whole", "interrupted")]
    for project in projects:
        project.edit("experiment.yaml", "epochs: 10", "epochs: 4")
        project.call("git", "init", "-q", "../..")  # DVCLive would make it a DVC repository
    whole, interrupted = projects
    interrupted.edit("train.py", "        save(checkpoint, state)\n", KILLED)
    assert interrupted.snakemake("--keep-going").returncode == 1
    assert not list(interrupted.folder.glob("results/train/*/live"))
    interrupted.write("mended", "")
    for project, executor in zip(projects, EXECUTORS, strict=True):
        done = project.snakemake("-e", executor)
        assert done.returncode == 0, done.stderr
        assert project.would_run() == {}
        assert not list(project.folder.glob("../../.dvc*"))
        for log in project.folder.glob("results/train/*/live"):
            curves = metrics.read(log).curves
            assert list(curves) == ["test/accuracy", "train/loss"]
            assert all([p.step for p in curve] == [0, 1, 2, 3] for curve in curves.values())
    assert "going on after epoch 2" in (interrupted.folder / "logs/train/seed-1.log").read_text()
    for name in ("results/train/seed-0/live", "results/train/seed-1/live"):
        assert whole.files(name) == interrupted.files(name)
    assert (whole.folder / "results/train/summary.csv").read_text().count(",2,") == 2
    _has_its_curve_in_mlflow(whole)


@pytest.mark.engine("torch")
def test_the_torch_example_searched_and_pruned(tmp_path: Path) -> None:
    project = _example("torch", tmp_path / "searched")
    project.edit("experiment.yaml", "epochs: 10", "epochs: 3")
    project.call("git", "init", "-q", "../..")
    config = ("--config", "experiment=search.yaml")
    done = project.snakemake("tune", *config)
    assert done.returncode == 0, done.stderr
    table = (project.folder / "results-search/tune/trials.csv").read_text()
    assert ",pruned," in table
    assert ",complete," in table
    best = json.loads((project.folder / "results-search/tune/best.json").read_text())
    assert best["values"]["test/accuracy"] > 0.8
    assert (project.folder / "results-search/tune/best/model.pt").exists()
    assert project.would_run("tune", *config) == {}


def _has_its_curve_in_mlflow(project: Project) -> None:
    """Without a line of tracking code but DVCLive's."""
    from mlflow import MlflowClient

    assert project.ours("track").returncode == 0
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    place = client.get_experiment_by_name("torch")
    assert place is not None
    runs = client.search_runs([place.experiment_id], "tags.`ml_experiment.rule` = 'train'")
    (run,) = (run for run in runs if run.info.run_name == "train/seed-1")
    logged = client.get_metric_history(run.info.run_id, "train/loss")
    known = metrics.read(project.folder / "results/train/seed-1/live").curves["train/loss"]
    assert [(point.step, point.value) for point in logged] == list(known)


@pytest.mark.engine("Rscript")
def test_the_r_example_in_two_clones(tmp_path: Path) -> None:
    found = []
    for name in EXECUTORS:
        project = _example("r", tmp_path / name)
        done = project.snakemake("-e", name)
        assert done.returncode == 0, done.stderr
        found.append(project.files())
    assert found[0] == found[1]
