"""The Ray executor: same bytes on one node or two, no shared file system, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.project import REPOSITORY, Make, Project, scaffold
from tests.e2e.ray_cluster import RayCluster, alive, groups, guards, kill

pytestmark = [pytest.mark.engine("ray"), pytest.mark.engine("unshare")]

CANONICAL = ("trials", "trials.csv", "best.json")
EXPERIMENT = """\
name: ray
seed: 5
steps:
  prepare:
    run: python prepare.py {outputs.table}
    outputs: {table: table.txt}
  features:
    run: python features.py {inputs.table} {params.n} {outputs.table}
    inputs: {table: prepare.table}
    params: {n: 2}
    outputs: {table: table.txt}
  fit:
    call: "scripts.fit:fit"
    inputs: {table: features.table}
    outputs: {model: model/}
    metrics: metrics.json
    retries: 1
  final: {like: fit, params: tune.best.params}
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}, kind: [a, b], features.n: {int: [1, 2]}}
    objectives: {score: minimize}
    trials: 10
    window: 4
"""
FILES = {
    "prepare.py": "import sys\nopen(sys.argv[1], 'w').write('0.3')\n",
    "features.py": (
        "import sys\nprint('features', len(sys.argv))\n"
        "value = float(open(sys.argv[1]).read()) / int(sys.argv[2])\n"
        "open(sys.argv[3], 'w').write(str(value))\n"
    ),
    "scripts/offset.txt": "0.25",  # what no rule declares
    "scripts/fit.py": """\
import os
import pathlib
import random
import time


def fit(table, model, x=0.5, kind="a", trial=None):
    offset = float((pathlib.Path(__file__).parent / "offset.txt").read_text())
    pathlib.Path(model, "deep").mkdir(parents=True)
    pathlib.Path(model, "deep", "x.txt").write_text(str(x))
    print("ran in", os.getcwd(), "on", os.environ.get("ML_EXPERIMENT_NODE"), flush=True)
    time.sleep(float(pathlib.Path("nap.txt").read_text()))
    if trial == 4:
        raise ValueError("four is no trial")
    return {"score": abs(x - float(open(table).read())) + offset + random.random() / 1000}
""",
    "nap.txt": "0",
}
ANY = """\
rule all:
    input: "out/shell.txt", "out/script.txt", "out/run.txt", "out/folder"
rule shell_:
    output: "out/shell.txt"
    log: "logs/shell.log"
    threads: 1
    resources: away=1, gpu_milli=500
    shell:
        "echo printed; echo logged > {log}; pwd > {output}; cat data.txt >> {output};"
        " echo $OMP_NUM_THREADS '{{}}' $CUDA_VISIBLE_DEVICES >> {output}"
rule script:
    input: "out/shell.txt", "out/folder"
    output: "out/script.txt"
    params: a={"b": [1, 2]}
    resources: away=1
    script: "scripts/s.py"
rule run_:
    output: "out/run.txt"
    resources: away=1
    run:
        open(output[0], "w").write("run " + config.get("word", "none"))
rule folder:
    output: directory("out/folder")
    resources: away=1
    shell: "mkdir -p {output}/sub/empty; echo 1 > {output}/sub/one; chmod +x {output}/sub/one"
rule bad:
    output: "out/bad.txt"
    resources: away=1
    shell: "echo this is why >&2; exit 7"
"""
SCRIPT = """\
import os
sm = snakemake
text = sm.params.a["b"], sorted(os.listdir(sm.input[1])), open(sm.input[0]).readline().strip()
open(sm.output[0], "w").write(f"{text} {os.getcwd()}")
"""


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of projects that only one node of the cluster sees."""
    return tmp_path_factory.mktemp("projects")


@pytest.fixture(scope="module")
def cluster(hidden: Path) -> Iterator[RayCluster]:
    """Two nodes of one processor each; the second does not see the projects."""
    made = RayCluster(hidden)
    try:
        made.add()
        yield made
    finally:
        made.stop()


@pytest.fixture
def study(hidden: Path, request: pytest.FixtureRequest) -> Project:
    project = scaffold(hidden / request.node.name, {"experiment.yaml": EXPERIMENT, **FILES})
    project.write("profiles/ray/config.yaml", (REPOSITORY / "profiles/ray/config.yaml").read_text())
    return project


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The canonical files, as one core makes them."""
    folder = tmp_path_factory.mktemp("one") / "core"
    project = scaffold(folder, {"experiment.yaml": EXPERIMENT, **FILES})
    done = project.call("snakemake", "--cores", "1")
    assert done.returncode == 0, done.stderr
    return canonical(project)


def canonical(project: Project) -> dict[str, str]:
    return {
        path: digest
        for path, digest in project.files("results/tune").items()
        if path.split("/")[2] in CANONICAL
    }


def on(
    project: Project, cluster: RayCluster, *words: str, profile: bool = True
) -> subprocess.CompletedProcess[str]:
    asked = ["--workflow-profile", "profiles/ray"] if profile else ["-e", "ray", "--jobs", "8"]
    return project.call("snakemake", *asked, *words, **on_cluster(cluster))


def on_cluster(cluster: RayCluster) -> dict[str, str]:
    return {"RAY_ADDRESS": cluster.address, **cluster.environ}


@contextlib.contextmanager
def started(project: Project, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake at work; what it prints is in `output`."""
    with (project.folder / "output").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/ray"],
            cwd=project.folder,
            env={**os.environ, "SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "true", **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def output(project: Project) -> str:
    return (project.folder / "output").read_text()


def wait(done: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


def runs(project: Project) -> list[str]:
    return [path.name.partition("-")[2] for path in (project.folder / ".snakemake").glob("ray-*")]


def trials_running(project: Project) -> int:
    """How many trials have begun, and have not ended."""
    logs = {log.stem for log in (project.folder / "logs/tune").glob("*.log") if log.stat().st_size}
    ended = (project.folder / "results/tune").glob("trial-*/status.json")
    return len(logs - {path.parent.name for path in ended})


def away(project: Project) -> int:
    """How many trials have run where the project is not seen."""
    logs = (project.folder / "logs/tune").glob("trial-*.log")
    return sum("/workspace on" in log.read_text() for log in logs)


def test_two_nodes_with_workspaces_of_their_own_make_the_same_bytes(
    study: Project, cluster: RayCluster, expected: dict[str, str]
) -> None:
    study.write("nap.txt", "0.2")
    done = on(study, cluster)
    assert done.returncode == 0, done.stderr
    assert canonical(study) == expected
    assert 0 < away(study) < 10
    best = json.loads((study.folder / "results/tune/best.json").read_text())
    model = study.folder / "results/tune/best/model/deep/x.txt"
    assert float(model.read_text()) == best["params"]["x"]
    lines = (study.folder / ".ml_experiment/records.jsonl").read_text().splitlines()
    details = (study.folder / ".ml_experiment/details.jsonl").read_text().splitlines()
    records = [json.loads(a) | json.loads(b) for a, b in zip(lines, details, strict=True)]
    trials = [record for record in records if record["rule"] == "tune.trial"]
    assert {record["host"] for record in trials} == {os.uname().nodename}
    assert all(record["boot"] for record in trials)
    taken = [log.read_text() for log in (study.folder / "logs/tune").glob("trial-*/features.log")]
    assert any("made of the same as" in text for text in taken)
    assert not study.would_run()


def test_any_snakefile_runs_where_nothing_of_it_is(cluster: RayCluster, hidden: Path) -> None:
    project = Project(hidden / "any")
    for name, text in {"Snakefile": ANY, "data.txt": "data\n", "scripts/s.py": SCRIPT}.items():
        project.write(name, text)
    words = ("--default-resources", "mem_mb=0", "disk_mb=0")
    done = on(project, cluster, *words, "--config", "word=given", profile=False)
    assert done.returncode == 0, done.stderr
    there, data, threads = (project.folder / "out/shell.txt").read_text().splitlines()
    assert there != str(project.folder)
    assert (data, threads) in [("data", "1 {} 0"), ("data", "1 {} 1")]
    text = (project.folder / "out/script.txt").read_text()
    assert text == f"([1, 2], ['sub'], '{there}') {there}"
    assert (project.folder / "out/run.txt").read_text() == "run given"
    assert (project.folder / "out/folder/sub/empty").is_dir()
    assert os.access(project.folder / "out/folder/sub/one", os.X_OK)
    assert "printed" in done.stdout
    assert (project.folder / "logs/shell.log").read_text() == "logged\n"
    assert not Path(there).exists()  # the node has kept nothing

    done = on(project, cluster, "out/bad.txt", *words, profile=False)
    assert done.returncode == 1
    assert f"node {os.uname().nodename}, exit status 7" in done.stderr
    assert "│ this is why" in done.stderr


def test_mistakes_are_told_at_once(study: Project, cluster: RayCluster) -> None:
    wrong = study.folder / "wrong"
    wrong.write_text("f" * 64)
    study.write(
        "Snakefile", 'rule all:\n    output: "x"\n    resources: awai=1\n    shell: "touch x"\n'
    )
    common = ("--workflow-profile", "profiles/ray")
    for address, words, told in (
        ("127.0.0.1:1", (), "there is no Ray at this address"),
        ("ray://127.0.0.1:1", (), "not an address of Ray's head"),
        (cluster.address, ("--ray-token-file", str(wrong)), "another token"),
        (cluster.address, (), "no node has awai 1; the most is 0; did you mean away?"),
    ):
        done = study.call("snakemake", *common, *words, RAY_ADDRESS=address, **cluster.environ)
        assert done.returncode == 1
        assert told in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert "executor.py" not in done.stderr


def test_a_local_ray_runs_every_kind_of_job(make: Make, expected: dict[str, str]) -> None:
    project = make(EXPERIMENT)
    for name, text in FILES.items():
        project.write(name, text)
    snakefile = """
rule first:
    output: temp("g1.txt")
    group: "g"
    shell: "echo group > {output}"
rule second:
    input: "g1.txt"
    output: "g2.txt"
    group: "g"
    benchmark: "bench.tsv"
    shell: "cat {input} > {output}"
rule kept:
    output: "kept.txt"
    benchmark: "kept.tsv"
    shell: "echo kept > {output}"
"""
    path = project.folder / "Snakefile"
    path.write_text(path.read_text() + snakefile)
    done = project.call(
        "snakemake", "-e", "ray", "--jobs", "8", "--cores", "2", "all", "g2.txt", "kept.txt",
        "--default-resources", "mem_mb=0", "disk_mb=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Ray dashboard: http://127.0.0.1:" in done.stderr + done.stdout
    assert canonical(project) == expected
    assert (project.folder / "g2.txt").read_text() == "group\n"
    assert (project.folder / "kept.tsv").exists()
    assert not away(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("where", ["local", "cluster"])
def test_nothing_is_alive_five_seconds_later(
    study: Project, cluster: RayCluster, number: signal.Signals, where: str
) -> None:
    study.write("nap.txt", "300")
    environ = {"RAY_ADDRESS": "local"} if where == "local" else on_cluster(cluster)
    with started(study, environ) as process:
        wait(lambda: trials_running(study) >= 2)
        (run,) = runs(study)
        jobs, keepers = groups(run), guards(run)
        assert len(jobs) >= 4
        assert len(keepers) == 2
        os.killpg(process.pid, number)  # as Ctrl-C does
        time.sleep(5)
        assert not groups(run)
        assert not guards(run)
        assert not alive(jobs.values())
        assert not [name for names in keepers.values() for name in names if Path(name).exists()]
        assert process.wait(timeout=60) != 0


def test_a_lost_node_and_then_the_head(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, str]
) -> None:
    hidden = tmp_path_factory.mktemp("lost")
    project = scaffold(hidden / "study", {"experiment.yaml": EXPERIMENT, **FILES})
    project.write("profiles/ray/config.yaml", (REPOSITORY / "profiles/ray/config.yaml").read_text())
    project.write("nap.txt", "1.5")
    cluster = RayCluster(hidden)
    try:
        cluster.add()
        environ = on_cluster(cluster)
        with started(project, environ) as process:
            wait(lambda: away(project) >= 2)
            kill(cluster.nodes[0])
            project.write("nap.txt", "0.1")
            assert process.wait(timeout=240) == 0, output(project)
        assert "its node was lost, it starts again" in output(project)
        assert canonical(project) == expected

        project.write("nap.txt", "300")
        project.edit("scripts/fit.py", "is no trial", "is none")
        with started(project, environ) as process:
            wait(lambda: trials_running(project) >= 1)
            (run,) = runs(project)
            kill(cluster.head)
            assert process.wait(timeout=120) == 1
            wait(lambda: not groups(run) and not guards(run))
        assert "the head of the Ray cluster" in output(project)
        assert "Traceback" not in output(project)
    finally:
        cluster.stop()
    project.write("nap.txt", "0")
    project.edit("scripts/fit.py", "is none", "is no trial")
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert canonical(project) == expected
