"""Bad input and failing programs: a clear sentence, no traceback of ours, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.project import Make, Project

GOOD = "name: x\nsteps:\n  a:\n    run: python a.py {outputs.o}\n    outputs: {o: o.txt}\n"

MISTAKES = {
    "unknown key": (GOOD + "    thread: 2\n", "experiment.yaml:6: steps.a.thread: unknown key"),
    "tag": ("name: !!python/object:os.system x\n", "a YAML tag"),
    "cycle": (
        (
            "name: x\nsteps:\n"
            "  a: {run: 'cat {inputs.i} > {outputs.o}', inputs: {i: b.o}, outputs: {o: o}}\n"
            "  b: {run: 'cat {inputs.i} > {outputs.o}', inputs: {i: a.o}, outputs: {o: o}}\n"
        ),
        "a circle: a needs b needs a",
    ),
    "missing script": (GOOD.replace("a.py", "scripts/none.py"), "no such script: scripts/none.py"),
    "outside": (GOOD.replace("o.txt", "../../o.txt"), "inside the step's own folder"),
    "environment": (GOOD + "    environment: gpu\n", "no such environment"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("way", ["snakemake", "check", "run"])
def test_a_mistake_is_told_before_anything_runs(make: Make, mistake: str, way: str) -> None:
    text, expected = MISTAKES[mistake]
    project = make(text, a_py="")
    done = project.snakemake() if way == "snakemake" else project.ours(way)
    assert done.returncode != 0
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "pydantic" not in done.stderr
    assert not (project.folder / "results").exists()


def test_all_mistakes_at_once_and_as_json(make: Make) -> None:
    text = (
        GOOD + "    threads: two\n  b: {like: aa}\n  c: {run: 'echo {params.x}', outputs: {o: o}}\n"
    )
    project = make(text, a_py="")
    problems = json.loads(project.ours("check", "--json").stdout)
    told = [(problem["line"], problem["key"]) for problem in problems]
    assert {(6, "steps.a.threads"), (7, "steps.b.like"), (8, "steps.c.run")} <= {*told}


def test_check_names_missing_inputs_variables_and_programs(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a:\n    run: ruby x.rb {inputs.i} > {outputs.o}\n"
        "    inputs: {i: data/none.csv}\n    outputs: {o: o}\n    env: [NO_SUCH_VARIABLE]\n"
    )
    project.write("x.rb", "")
    done = project.ours("check")
    assert done.returncode == 2
    for expected in ("the program ruby", "NO_SUCH_VARIABLE is not set", "data/none.csv"):
        assert expected in done.stderr


def test_a_failure_is_a_card(make: Make) -> None:
    project = make(
        GOOD + "    params: {depth: 3}\n",
        a_py="import sys\nprint('so far')\nsys.exit('it broke')\n",
    )
    done = project.ours("run")
    assert done.returncode == 1
    for expected in (
        "failed: a",
        "params: depth=3",
        "seed:   ",
        "log:    logs/a.log",
        "│ it broke",
        "again:  snakemake --cores 1 --force results/a/o.txt",
        "x: 1 failed, 0 jobs done",
    ):
        assert expected in done.stderr
    assert "failed: see logs/a.log" in project.ours("status").stdout
    again = done.stderr.partition("again:  ")[2].splitlines()[0]
    project.write("a.py", "import sys\nopen(sys.argv[1], 'w').write('mended')\n")
    assert project.call("bash", "-c", again).returncode == 0
    assert (project.folder / "results/a/o.txt").read_text() == "mended"


def test_run_takes_steps_and_files_and_says_what_it_cannot_make(small: Project) -> None:
    assert "nothing to do" in small.ours("run").stderr
    (small.folder / "results/fit/method=mean/seed-0/model.json").unlink()
    done = small.ours("run", "fit")
    assert done.returncode == 0
    assert "done fit/method=mean/seed-0" in done.stderr
    assert "small: 2 jobs done" in done.stderr
    assert "No rule to produce nosuch" in small.ours("run", "nosuch").stderr
    wrong = small.snakemake("results/fit/method=mode/seed-0/model.json")
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr


def test_a_dry_run_changes_nothing(small: Project) -> None:
    shutil.rmtree(small.folder / ".snakemake")
    assert small.would_run("--config", "seed=99") != {}
    assert small.would_run() == {}
    assert small.ours("check", "--set", "seed=99").returncode == 0
    assert small.would_run() == {}


def test_a_snakefiles_own_config_is_let_through_and_slips_are_not(small: Project) -> None:
    assert small.would_run("--config", "genome=hg38") == {}
    done = small.snakemake("-n", "--config", "sed=8")
    assert done.returncode == 1
    assert "did you mean seed?" in done.stdout + done.stderr


def test_a_module_that_no_import_statement_names_is_told(make: Make) -> None:
    project = make(
        GOOD,
        a_py="import importlib, sys\nimportlib.import_module('hid' + 'den')\nimport plain\n"
        "open(sys.argv[1], 'w')\n",
        hidden_py="",
        plain_py="",
    )
    done = project.snakemake()
    assert done.returncode == 0
    assert "a imported hidden.py in a way that cannot be read from its code" in done.stderr
    assert "plain.py" not in done.stderr


def test_a_step_that_makes_nothing_fails(make: Make) -> None:
    project = make(GOOD, a_py="pass\n")
    done = project.snakemake("--latency-wait", "0")
    assert done.returncode == 1
    assert "results/a/o.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_metrics_file_that_is_none_is_named(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'echo accuracy 3 > {metrics}', metrics: m.json, replicates: 2}\n"
    )
    done = project.snakemake()
    assert done.returncode == 1
    assert "results/a/seed-0/m.json: not a metrics file" in done.stderr
    assert "results/a/seed-1/m.json: not a metrics file" in done.stderr


def test_an_output_behind_a_link_that_leaves_is_refused(make: Make, tmp_path: Path) -> None:
    project = make(GOOD, a_py="open(__import__('sys').argv[1], 'w')\n")
    (tmp_path / "elsewhere").mkdir()
    (project.folder / "results").mkdir()
    (project.folder / "results/a").symlink_to(tmp_path / "elsewhere")
    done = project.snakemake()
    assert done.returncode == 1
    assert "through a link that leaves the project" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_was_edited_by_hand_is_kept(small: Project) -> None:
    small.write("results/report/report.txt", "my own words\n")
    assert small.ours("status", "report").stdout.startswith("report: edited\n")
    assert "results/report/report.txt is not what its record says" in small.snakemake().stderr
    done = small.snakemake("--forcerun", "report")
    assert done.returncode == 0
    assert "results/report/report.txt was edited by hand" in done.stderr
    copies = list((small.folder / ".ml_experiment/kept").rglob("report.txt"))
    assert [copy.read_text() for copy in copies] == ["my own words\n"]
    assert small.ours("status").returncode == 0


CHECKPOINTED = (
    "name: x\nsteps:\n  a:\n    run: python train.py {checkpoints.state} {outputs.o}\n"
    "    outputs: {o: o.txt}\n    checkpoints: {state: ckpt/}\n    params: {depth: 1}\n"
)
RESUMED = """\
import os
import sys
import time
state, out = sys.argv[1:]
path = os.path.join(state, "epoch")
epoch = int(open(path).read()) if os.path.exists(path) else 0
print("from", epoch)
for epoch in range(epoch, 4):
    open(path, "w").write(str(epoch + 1))
    if epoch == 2 and not os.path.exists("mended"):
        sys.exit("stopped")
open(out, "w").write(str(epoch + 1))
"""


def test_checkpoints_outlive_a_failure_and_not_a_success(make: Make) -> None:
    project = make(CHECKPOINTED, train_py=RESUMED)
    assert project.snakemake().returncode == 1
    project.write("mended", "")
    assert project.snakemake().returncode == 0
    assert (project.folder / "logs/a.log").read_text() == "from 3\n"
    kept = list((project.folder / ".ml_experiment/checkpoints").rglob("epoch"))
    assert kept == []
    report = (project.folder / ".ml_experiment/boot/a.jsonl").read_text()
    assert json.loads(report.splitlines()[-1])["resumed"] is True


def test_a_checkpoint_of_other_parameters_is_not_resumed(make: Make) -> None:
    project = make(CHECKPOINTED, train_py=RESUMED)
    assert project.snakemake().returncode == 1
    project.write("mended", "")
    project.edit("experiment.yaml", "depth: 1", "depth: 2")
    assert project.snakemake().returncode == 0
    assert (project.folder / "logs/a.log").read_text() == "from 0\n"


def test_retries_and_timeouts(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n"
        "  flaky: {run: 'test -e tried || {{ touch tried; exit 3; }}; touch {outputs.o}',"
        " outputs: {o: o}, retries: 1}\n"
        "  slow: {run: 'sleep 60; touch {outputs.o}', outputs: {o: o}, timeout: 1s}\n"
    )
    done = project.snakemake("--keep-going")
    assert done.returncode == 1
    assert (project.folder / "results/flaky/o").exists()
    assert "failed: slow" in done.stderr
    assert "failed: flaky" not in done.stderr


def test_ctrl_c_leaves_nothing_running(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'echo $$ > pid; sleep 60; touch {outputs.o}', outputs: {o: o}}\n"
    )
    words = [str(Path(sys.executable).parent / "ml-experiment"), "run", "--cores", "1"]
    process = subprocess.Popen(
        words,
        cwd=project.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid_file = project.folder / "pid"
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    assert process.wait(timeout=30) != 0
    pid = int(pid_file.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
