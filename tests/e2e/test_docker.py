"""Jobs in containers: the same results as on the host, nothing seen and nothing left but what is declared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import records
from tests.docker_engine import BASE
from tests.e2e import imaged
from tests.e2e.project import REPOSITORY, Project, scaffold

EXPERIMENT = """\
name: contained
seed: 3
environment: base
runtime: docker
steps:
  look:
    run: python look.py {inputs.raw} {outputs.seen} {metrics}
    inputs: {raw: data/raw.csv}
    outputs: {seen: seen.json}
    metrics: metrics.json
    mem_mb: 300
    replicates: 2
  called:
    call: look:called
    inputs: {seen: look.seen}
    metrics: metrics.json
    network: true
"""
LOOK = """\
import json
import os
import random
import sys


def interfaces():
    return sorted(line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:])


def called(seen):
    return {"interfaces": len(interfaces()), "drawn": random.random(), "seen": len(seen)}


if __name__ == "__main__":
    raw, seen, metrics = sys.argv[1:]
    try:
        open(raw, "a").close()
        changed = True
    except OSError:
        changed = False
    found = {
        "changed": changed,
        "grouped": 4711 in os.getgroups(),
        "home": os.environ["HOME"],
        "interfaces": interfaces(),
        "mask": os.umask(0),
        "outside": os.listdir(os.path.dirname(os.getcwd())),
        "token": os.environ.get("TOKEN"),
        "uid": os.getuid(),
    }
    os.umask(found["mask"])
    json.dump(found, open(seen, "w"))
    json.dump({"drawn": random.random()}, open(metrics, "w"))
"""
RULE = """\
include: "workflow/rules/experiment.smk"


rule byhand:
    input:
        key=experiment.key("byhand", "byhand.py"),
        made=experiment.path("called.metrics"),
    output: f"{experiment.results}/byhand/out.txt",
    params: launch=experiment.launch("byhand"),
    shell: "{params.launch} python byhand.py > {output:q}"


rule all:
    default_target: True
    input: experiment.targets, rules.byhand.output
"""
ALL = """\
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: experiment.targets
"""
FILES = {
    "experiment.yaml": EXPERIMENT,
    "Snakefile": RULE,
    "look.py": LOOK,
    "byhand.py": "import os, random\nprint(os.listdir('..'), random.random())\n",
    "data/raw.csv": "1\n",
    "envs/base/Dockerfile": f"FROM {BASE}\nRUN ln -sf python3 /usr/bin/python\n",
}


@pytest.fixture(scope="module")
def locked(docker: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with the image of its environment, before any run. To be copied."""
    project = scaffold(tmp_path_factory.mktemp("locked") / "p", FILES)
    imaged.build(project.folder, docker)
    return project


@pytest.fixture
def contained(
    locked: Project, tmp_path: Path, docker: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A copy of it, which finds the engine."""
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    (tmp_path / "secret").touch()
    return locked.copy(tmp_path / "p")


def image(project: Project) -> str:
    found: str = project.json("envs/base/image.lock")["image"]
    return found


def containers(project: Project) -> list[str]:
    """Those of a workspace, whatever they do."""
    label = f"label=ml-experiment.workspace={project.folder}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, f"in vain: {what}"
        time.sleep(0.1)


@pytest.fixture
def grouped() -> Iterator[None]:
    """A user with a group besides its own, and a umask that few have."""
    groups, mask = os.getgroups(), os.umask(0o027)
    os.setgroups([*groups, 4711])
    yield
    os.setgroups(groups)
    os.umask(mask)


@pytest.mark.usefixtures("grouped")
def test_jobs_run_in_the_image_and_see_what_they_may(
    contained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "not declared")
    done = contained.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = dict(contained.json("results/look/seed-0/seen.json"))
    expected = {
        "changed": False,
        "grouped": True,
        "home": "/tmp",
        "interfaces": ["lo"],
        "mask": 0o027,
        "outside": ["p"],
    }
    assert seen == {**expected, "token": None, "uid": os.getuid()}
    with Path("/proc/net/dev").open() as file:
        assert (
            contained.json("results/called/metrics.json")["interfaces"] == len(file.readlines()) - 2
        )
    assert (contained.folder / "results/byhand/out.txt").read_text().startswith("['p'] 0.")
    assert containers(contained) == []

    again = contained.snakemake()
    assert "Nothing to be done" in again.stderr
    found = records.read(contained.folder / ".ml_experiment/records.jsonl").finished
    details = records.details(
        contained.folder / ".ml_experiment/records.jsonl", {r["id"] for r in found.values()}
    )
    for name in ("look/seed-0", "called", "byhand"):
        environment = details[found[name]["id"]]["environment"]
        assert (environment["name"], environment["image"]) == ("base", image(contained)), name
    tree = contained.ours("lineage", "results/called/metrics.json").stdout
    assert f"image {image(contained)[7:19]}" in tree

    drawn = {
        name: contained.json(f"results/{name}/metrics.json")["drawn"]
        for name in ("called", "look/seed-1")
    }
    assert contained.would_run("--config", "runtime=host") == {
        "byhand": 1,
        "called": 1,
        "look": 2,
        "look.table": 1,
    }
    host = contained.snakemake("--config", "runtime=host")
    assert host.returncode == 0, host.stderr
    outside: Any = contained.json("results/look/seed-1/seen.json")["outside"]
    assert sorted(outside) == ["p", "secret"]
    for name, value in drawn.items():
        assert contained.json(f"results/{name}/metrics.json")["drawn"] == value, (
            "the seeds are others"
        )


FAILING = """\
name: failing
environment: base
runtime: docker
steps:
  fit:
    run: "python try.py {params.x} {metrics} || %s"
    params: {x: 1}
    metrics: metrics.json
    seeding: none
studies:
  tune:
    step: fit
    space: {x: [1, 2, 3, 4]}
    objectives: {loss: minimize}
    sampler: grid
"""


TRY = """\
import json
import sys

x = int(sys.argv[1])
if x > 2:
    sys.exit(4)
json.dump({"loss": x}, open(sys.argv[2], "w"))
"""


def test_a_trial_that_fails_is_a_result_and_one_that_cannot_start_is_none(
    contained: Project,
) -> None:
    contained.write("Snakefile", ALL.replace("experiment.targets", "experiment.path('tune.table')"))
    contained.write("try.py", TRY)
    contained.write("experiment.yaml", FAILING % "exit 4")
    done = contained.snakemake()
    assert done.returncode == 0, done.stderr
    table = (contained.folder / "results/tune/trials.csv").read_text()
    assert (table.count("complete"), table.count("failed")) == (2, 2)

    contained.write("experiment.yaml", FAILING % "nosuchprogram")
    done = contained.snakemake("--keep-going")
    assert done.returncode == 1
    assert "nosuchprogram: command not found" in done.stderr
    known = [
        json.loads(f.read_text())
        for f in (contained.folder / "results/tune").glob("trial-*/status.json")
    ]
    assert [status["state"] for status in known] == ["complete", "complete"]


KEPT = """\
name: kept
seed: 3
environment: base
runtime: docker
steps:
  fit:
    call: fit:fit
    outputs: {model: model.txt}
    metrics: metrics.json
    env: [TOKEN]
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}}
    objectives: {score: minimize}
    sampler: random
    trials: 9
    window: 3
"""
# Each leaves a file and a process, and looks for those of another.
FIT = """\
import glob
import os
import random
import socket
import subprocess
from pathlib import Path


def fit(model, x=0.5, trial=0):
    commands = [Path(file).read_bytes() for file in glob.glob("/proc/[0-9]*/cmdline")]
    left = [*Path("/tmp").glob("left*"), *Path("/dev/shm").glob("left*")]
    subprocess.Popen(["setsid", "sleep", "600"])
    Path("/tmp/left").mkdir()
    Path("/dev/shm/left").touch()
    served = b"warm.py" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    print("by", socket.gethostname(), "warm" if served else "cold")
    kept = [name for name in os.environ if "WARM" in name or "LEARN" in name]
    seen = (left, [c for c in commands if b"sleep" in c], kept, os.environ["TOKEN"], os.environ["HOME"])
    print("seen", seen)
    Path(model).write_text(f"{x} {random.random()} {seen}")
    if trial == 5:
        raise ValueError("no")
    return {"score": (x - 0.3) ** 2}
"""


def boot_reports(project: Project) -> dict[str, dict[str, Any]]:
    """What the boot reports tell, but for where and when, by job."""
    found = {}
    for file in (project.folder / ".ml_experiment/boot").rglob("*.jsonl"):
        told = json.loads(file.read_text().splitlines()[0])
        del told["memory"], told["process"], told["platform"]["host"]
        found[file.stem] = told
    return found


def test_a_kept_container_gives_the_bytes_of_one_for_each_job(
    contained: Project, tmp_path: Path
) -> None:
    contained.write("Snakefile", ALL)
    contained.write("experiment.yaml", KEPT)
    contained.write("fit.py", FIT)
    cold = contained.copy(tmp_path / "cold" / "p")
    link = tmp_path / "link"  # as a shell knows the folder that somebody has gone to by a link
    link.symlink_to(contained.folder)
    told = {}
    for project, executor, place in (
        (cold, "local", cold.folder),
        (contained, "forkserver", link),
    ):
        words = ("snakemake", "--cores", "2", "--verbose", "-e", executor, "tune")
        done = Project(place).call(*words, TOKEN="s3cret", PWD=str(place))
        assert done.returncode == 0, done.stdout + done.stderr
        assert containers(project) == []  # when Snakemake has ended, not some time later
        assert "started cold" not in done.stderr + done.stdout
        logs = sorted((project.folder / "logs/tune").glob("trial-*.log"))
        texts = [file.read_text() for file in logs]
        assert [("Traceback" in t, "warm.py" in t) for t in texts] == [
            (n == 5, False) for n in range(9)
        ]
        assert all("seen ([], [], [], 's3cret', '/tmp')" in text for text in texts)
        told[executor] = [
            line.split()[1:] for t in texts for line in t.splitlines() if line.startswith("by ")
        ]
    assert len({host for host, _ in told["local"]}) == 9
    assert {how for _, how in told["local"]} == {"cold"}
    assert len({host for host, _ in told["forkserver"]}) <= 3  # one of each core, and the first
    assert sum(how == "warm" for _, how in told["forkserver"]) >= 6
    assert {p: d for p, d in contained.files().items() if "view" not in p} == {
        p: d for p, d in cold.files().items() if "view" not in p
    }
    reports = [boot_reports(project) for project in (cold, contained)]
    assert reports[0].keys() == reports[1].keys()
    differ = [
        (name, key, told, reports[1][name].get(key))
        for name, report in sorted(reports[0].items())
        for key, told in report.items()
        if told != reports[1][name].get(key)
    ]
    assert differ == []


def test_what_cannot_go_to_a_kept_container_starts_one_of_its_own(contained: Project) -> None:
    contained.write("Snakefile", ALL)
    contained.write("experiment.yaml", KEPT.replace("trials: 9", "trials: 2"))
    contained.write("fit.py", FIT)
    contained.write("outside.sh", 'exec 3>&1; docker "$@"')
    stand_in = contained.folder.parent / "bin/docker"
    stand_in.parent.mkdir()
    real = shutil.which("docker")
    stand_in.write_text(
        f'#!/bin/sh\ncase "$*" in *kept.py*) echo "no room" >&2; exit 125;; esac\nexec {real} "$@"\n'
    )
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "--verbose", "tune"]
    done = subprocess.run(
        words, cwd=contained.folder, env={**os.environ, "PATH": path, "TOKEN": "t"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "started cold, because no container could be kept: no room" in done.stderr


WAITING = """\
name: waiting
environment: base
runtime: docker
steps:
  wait:
    run: "python wait.py > {outputs.x}"
    outputs: {x: x.txt}
    seeding: none
"""
WAIT = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('here', flush=True)\ntime.sleep(600)\n"


def begun(project: Project, pattern: str) -> bool:
    made = (project.folder / "results/wait").glob(pattern)
    return any(file.read_text() == "here\n" for file in made)


@pytest.mark.parametrize(
    ("executor", "kept"), [("forkserver", False), ("forkserver", True), ("local", False)]
)
def test_a_run_that_is_killed_leaves_no_container(
    executor: str, kept: bool, contained: Project
) -> None:
    contained.write("Snakefile", ALL)
    several = WAITING.replace("seeding: none", "replicates: 2")
    contained.write("experiment.yaml", several if kept else WAITING)
    contained.write("wait.py", WAIT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pattern = "seed-*/x.txt" if kept else "x.txt"  # whichever Snakemake has chosen first
    with subprocess.Popen(
        ["snakemake", "--cores", "1", "--executor", executor], cwd=contained.folder,
        env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        wait_for("the job to begin", lambda: begun(contained, pattern))
        assert len(containers(contained)) == 1
        run.kill()
    wait_for("the container to be gone", lambda: containers(contained) == [])


@pytest.mark.parametrize("kept", [False, True])
def test_an_interrupted_run_leaves_none_either(kept: bool, contained: Project) -> None:
    contained.write("Snakefile", ALL)
    several = WAITING.replace("seeding: none", "replicates: 2")
    contained.write("experiment.yaml", several if kept else WAITING)
    contained.write("wait.py", WAIT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pattern = "seed-*/x.txt" if kept else "x.txt"  # whichever Snakemake has chosen first
    with subprocess.Popen(
        ["snakemake", "--cores", "1"], cwd=contained.folder, env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as run:  # fmt: skip
        wait_for("the job to begin", lambda: begun(contained, pattern))
        os.killpg(run.pid, signal.SIGINT)
        run.wait(60)
    wait_for("the container to be gone", lambda: containers(contained) == [])


def test_what_an_earlier_run_has_left_is_removed_and_what_runs_is_not(contained: Project) -> None:
    labels = ["--label", f"ml-experiment.workspace={contained.folder}", "--label"]
    words = ["docker", "run", "--detach", "--network", "none", *labels]
    ids = []
    with Path(f"/proc/{os.getpid()}/stat").open() as file:
        began = file.read().rpartition(")")[2].split()[19]
    for owner in ("999999999.1", f"{os.getpid()}.1", f"{os.getpid()}.{began}"):
        done = subprocess.run(
            [*words, f"ml-experiment.run={owner}", BASE, "sleep", "600"],
            check=True,
            capture_output=True,
            text=True,
        )
        ids.append(done.stdout.strip()[:12])
    try:
        run = contained.snakemake("results/look/seed-0/seen.json")
        assert run.returncode == 0, run.stderr
        assert "2 containers of an earlier run: removed" in run.stderr
        assert containers(contained) == ids[2:]
    finally:
        subprocess.run(
            ["docker", "rm", "--force", *containers(contained)], check=True, capture_output=True
        )


def test_more_memory_than_declared_ends_the_job(contained: Project) -> None:
    contained.edit("look.py", "    try:", "    x = bytearray(600_000_000)\n    try:")
    done = contained.snakemake("results/look/seed-0/seen.json")
    assert done.returncode == 1
    file = contained.folder / ".ml_experiment/records.jsonl"
    (line,) = records.lines(file)
    assert records.details(file, {line["id"]})[line["id"]]["exit_code"] == 137


def test_a_job_that_takes_too_long_is_ended_in_its_container(contained: Project) -> None:
    contained.write("Snakefile", ALL)
    contained.write(
        "experiment.yaml", WAITING.replace("    seeding", "    timeout: 1\n    seeding")
    )
    contained.write("wait.py", "import time\ntime.sleep(600)\n")
    done = contained.snakemake()
    assert done.returncode == 1
    assert containers(contained) == []
    file = contained.folder / ".ml_experiment/records.jsonl"
    (line,) = records.lines(file)
    assert records.details(file, {line["id"]})[line["id"]]["exit_code"] == 124


def test_what_is_missing_is_said_before_anything_runs(
    contained: Project, docker: Mapping[str, str]
) -> None:
    nobody = contained.snakemake(DOCKER_HOST="unix:///nothing.sock")
    assert nobody.returncode == 1
    assert "no Docker engine answers" in nobody.stderr
    contained.edit("look.py", "import json\n", "import json\n\n")
    lock = (contained.folder / "envs/base/image.lock").read_text()
    absent = "sha256:" + "0" * 64
    contained.write("envs/base/image.lock", lock.replace(image(contained), absent))
    done = contained.snakemake()
    assert done.returncode == 1
    assert (
        "the Docker engine does not have the image that is locked: ml-experiment/base:"
        in done.stderr
    )
    assert absent in done.stderr
    assert json.loads(lock)["image"] in done.stderr
    contained.edit("envs/base/Dockerfile", "RUN", "RUN true;")
    done = contained.snakemake()
    assert "Dockerfile changed since its image was made" in done.stderr + done.stdout
    assert not (contained.folder / "results").exists()


def test_what_a_job_of_somebody_else_makes_is_theirs(
    contained: Project, docker: Mapping[str, str]
) -> None:
    """Root starts the engine here: the job's command is run as another user of the group docker."""
    group = Path(docker["DOCKER_HOST"].removeprefix("unix://")).stat().st_gid
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chown(place, 1234, 1234)
        boot = Path(place) / "boot"
        shutil.copytree(REPOSITORY / "ml_experiment/boot", boot)
        os.chmod(place, 0o755)
        line = (
            f". {boot}/docker.sh && ML_EXPERIMENT_BOOT=1 in_container {image(contained)} 1 7 --network none "
            f"--workdir {place} --mount type=bind,source={place},target={place} -- "
            "bash -c 'id -u; id -g; mkdir out; echo x > out/file'"
        )
        words = ["setpriv", "--reuid=1234", "--regid=1234", f"--groups={group}", "bash", "-c", line]
        done = subprocess.run(
            words,
            cwd=place,
            env={**os.environ, "HOME": place},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "1234\n1234\n"), done.stderr
        owners = {
            (f.stat().st_uid, f.stat().st_gid)
            for f in (Path(place) / "out", Path(place) / "out/file")
        }
        assert owners == {(1234, 1234)}
