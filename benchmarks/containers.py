"""What does a container cost a trial in Python?

64 trials of `executors.py`'s gradient boosting in an image with scikit-learn, in kept containers with
warm servers, beside the same trials on the host, warm too. And one after the other, so that no queue hides
anything, the shell of a job that starts a container of its own, beside `docker run` of the same program
with the same options, written by hand. The engine is that of the tests, which takes root, and the image
is made upon their base image by `env build`, from the packages that this machine's pip finds.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

from bench import (
    REPOSITORY,
    SNAKEMAKE,
    UNTRACKED,
    Row,
    Target,
    Timing,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
    walls,
)
from executors import ARGUMENTS, BOOSTED, BOOSTED_SPACE, COLD, STEPS, experiment, study

from ml_experiment import environments, launch, workspace
from ml_experiment.adapters.docker import Engine
from ml_experiment.services import building

STARTED = 8  # containers, one after the other
NAME = "boosting"
# What boot/docker.sh and the environment of one job come to, without us: no boot folder, no variables.
BARE = """\
docker run --rm --init --pull never --log-driver none --user "$(id -u):$(id -g)" \
--security-opt no-new-privileges --cpus 1 --network none --workdir "$PWD" \
--mount "type=bind,source=$PWD,target=$PWD" --env HOME=/tmp --env OMP_NUM_THREADS=1 \
--env OPENBLAS_NUM_THREADS=1 --shm-size {shm}k --entrypoint bash {image} -c {command} > bare.log 2>&1
"""


def contained(trials: int, *, runtime: str) -> str:
    """The study of `executors.py`, in a container or not."""
    text = experiment(trials, step="boosted", space=BOOSTED_SPACE)
    return f"{text}environment: {NAME}\nruntime: {runtime}\n"


def image(folder: Path, engine: Engine, base: str) -> str:
    """The id of an image with scikit-learn, whose environment is in the project now."""
    place = folder / environments.FOLDER / NAME
    place.mkdir(parents=True)
    (place / "requirements.txt").write_text("scikit-learn\n", "utf-8")
    (place / "image.yaml").write_text(f"base: {base}\n", "utf-8")
    built = building.build(folder, NAME, engine, lambda line: print(line, file=sys.stderr))
    assert built.lock.image is not None
    return built.lock.image


def cold(folder: Path) -> Timing:
    """The shells of jobs as Snakemake starts them, without Snakemake."""
    (folder / "experiment.yaml").write_text(contained(1, runtime="docker"), "utf-8")
    plan = workspace.open_plan(folder / "experiment.yaml")
    trials = next(each for each in plan.steps.values() if each.trials_of is not None)
    job = next(plan.jobs(trials))
    params = {"learning_rate": 0.05, "max_features": 0.5}
    line = launch.line(plan, job, params, {}, resumed=False)
    for path in (plan.boot(job), plan.log(job), plan.path(job, "x")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    return each(line, folder)


def bare(folder: Path, chosen: str) -> Timing:
    """The same function by `docker run`."""
    total = int(Path("/proc/meminfo").read_text("ascii").split()[1])
    call = "import steps; print(steps.boosted(learning_rate=0.05, max_features=0.5))"
    command = shlex.quote(shlex.join(["python", "-c", call]))
    return each(BARE.format(shm=total // 2, image=chosen, command=command), folder)


def each(line: str, folder: Path) -> Timing:
    """One of several runs of a line of shell."""
    taken = timed(
        ["bash", "-euo", "pipefail", "-c", f"for i in {{1..{STARTED}}}; do {line}\ndone"], folder
    )
    return Timing(taken.wall / STARTED, taken.cpu / STARTED, "")


def measure(rounds: int) -> list[Row]:
    """Warm beside warm, cold beside bare."""
    sys.path.append(str(REPOSITORY))
    from tests import docker_engine  # noqa: PLC0415  (not of the package)

    with scratch() as folder, docker_engine.running() as environ:
        os.environ.update(environ)
        engine = Engine(environ)
        ours = project(folder / "ours", contained(COLD, runtime="docker"))
        (ours / "steps.py").write_text(STEPS, "utf-8")
        chosen = image(ours, engine, docker_engine.BASE)
        words = [*SNAKEMAKE, *ARGUMENTS, *UNTRACKED]
        run = {
            runtime: functools.partial(study, ours, functools.partial(contained, runtime=runtime))
            for runtime in ("docker", "host")
        }
        for one in run.values():
            one(words)(COLD)  # so that it is known what the step imports
            (ours / ".ml_experiment/warm").rename(folder / "warm")
            for learned in (folder / "warm").iterdir():
                (folder / "learned").mkdir(exist_ok=True)
                learned.rename(folder / "learned" / learned.name)
            (folder / "warm").rmdir()
        (folder / "learned").rename(ours / ".ml_experiment/warm")
        taken = in_turn(
            rounds,
            docker=lambda: run["docker"](words, learned=True)(BOOSTED),
            host=lambda: run["host"](words, learned=True)(BOOSTED),
        )
        starts = in_turn(rounds, cold=lambda: cold(ours), bare=lambda: bare(ours, chosen))
        subprocess.run(["docker", "rmi", "--force", chosen], check=False, capture_output=True)
        engine.close()
    form = f"{BOOSTED} trials of gradient boosting"
    return [
        row(f"{form} in containers (peer: on the host), warm, wall", walls(taken["docker"]), walls(taken["host"]), Target("ratio", 1.3)),
        row("one of them, cold (peer: bare docker run), wall", walls(starts["cold"]), walls(starts["bare"]), Target("ratio", 1.1)),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(("containers", measure), rounds=3))
