"""Docker's own program, as jobs of a run use it: their images are there, and no container is left.

A job's container is started by boot/docker.sh, and ends with the program that has started it. Killed,
that program ends nothing. So a process beside Snakemake waits for its end and removes what is left
(`services/docker_end`), and a run that finds containers of one which has ended removes them first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ml_experiment import dockerfiles, environments, marked
from ml_experiment.apptainer import Source
from ml_experiment.errors import UserError
from ml_experiment.living import alive, living
from ml_experiment.plan import Plan

VARIABLE = "ML_EXPERIMENT_CONTAINERS"  # in the environment of jobs: whose containers theirs are
WORKSPACE, RUN = "ml-experiment.workspace", "ml-experiment.run"  # labels
PATIENCE = 20.0  # seconds that containers have to be gone
PAUSE = 0.3


def prepare(plan: Plan, *, fetch: bool = True) -> list[str]:
    """See that the engine has the images of a plan; those that a registry has are fetched.

    Returns:
        What to know of them.

    Raises:
        UserError: there is no engine, or it does not have one.
    """
    told = []
    for name, image in sorted(plan.images.items()):
        known = environments.read(plan.folder, name)
        if remark := environments.without_python(name, known):
            told.append(remark)
        done = _docker("image", "inspect", "--format", "{{.Id}}", image)
        if done.returncode == 0:
            continue
        if "No such image" not in done.stderr:
            raise unreachable(done.stderr.strip(), "run on this machine: --config runtime=host")
        if fetch and known is not None and known.registry is not None:
            sys.stderr.write(f"pulling {known.registry}\n")
            pulled = _docker("pull", "--quiet", known.registry)
            if _docker("image", "inspect", "--format", "{{.Id}}", image).returncode == 0:
                continue
            raise _absent(name, image, pulled.stderr.strip())
        raise _absent(name, image, _instead(known))
    return told


def _instead(known: environments.Lock | None) -> str:
    """What the engine has under the name of an image that it does not have."""
    if known is None or known.name is None:
        return ""
    now = _docker("image", "inspect", "--format", "{{.Id}}", known.name)
    return f"{known.name} is {now.stdout.strip()} now" if now.returncode == 0 else ""


def _absent(name: str, image: str, more: str) -> UserError:
    what = "the Docker engine does not have the image that is locked" + (
        f": {more}" if more else ""
    )
    hint = f"`ml-experiment env build {name}`, or `docker load` an exported one"
    return UserError(what, where=f"{environments.FOLDER}/{name}", value=image, hint=hint)


def unreachable(told: str, instead: str) -> UserError:
    """That no engine answers, or not to this user.

    Args:
        told: what was said of it.
        instead: what can be done besides starting it.
    """
    if "permission denied" in told.lower():
        hint = (
            "be a member of the group docker (`sudo usermod -aG docker $USER`, then log in again)"
        )
        return UserError("this user may not use the Docker engine", hint=hint)
    hint = f"start it (`sudo systemctl start docker`), or {instead}"
    return UserError("no Docker engine answers", value=told, hint=hint)


def answers() -> None:
    """See that there is an engine.

    Raises:
        UserError: there is none, or this user may not use it.
    """
    done = _docker("version", "--format", "{{.Server.Version}}")
    if done.returncode:
        raise unreachable(done.stderr.strip(), "say where it is: DOCKER_HOST")


def obtained(source: Source) -> dict[str, Any]:
    """Have an image of the engine: it is there, or is fetched, or loaded from a file.

    Returns:
        `image`, its id; `registry`, how one knows it, or None; `platform`; `variables` that it sets.

    Raises:
        UserError: it cannot be had.
    """
    name = source.name
    if source.kind == "file":
        name = _loaded(name)
    done = _inspected(name)
    if done.returncode and source.kind == "registry":
        pulled = _docker("pull", "--quiet", name)
        if pulled.returncode:
            hint = "is the name right, and can its registry be reached? An image that is a file: `docker load`"
            what = "the image is not here and cannot be pulled: " + pulled.stderr.strip()
            raise UserError(what, value=name, hint=hint)
        done = _inspected(name)
    if done.returncode:
        raise UserError(f"the Docker engine does not have it: {done.stderr.strip()}", value=name)
    (data,) = json.loads(done.stdout)
    variables = (data.get("Config") or {}).get("Env") or ()
    return {
        "image": data["Id"],
        "platform": f"{data['Os']}/{data['Architecture']}",
        "registry": dockerfiles.digest_of(name, data.get("RepoDigests") or ()),
        "variables": sorted(each.partition("=")[0] for each in variables),
    }


def _inspected(name: str) -> subprocess.CompletedProcess[str]:
    return _docker("image", "inspect", name)


def _loaded(path: str) -> str:
    """Load an archive. Returns the name of the image in it."""
    file, _, name = path.partition(":")
    done = _docker("load", "--quiet", "--input", file)
    if done.returncode:
        raise UserError(f"the archive cannot be loaded: {done.stderr.strip()}", value=file)
    found = [line.partition(": ")[2] for line in done.stdout.splitlines() if "Loaded" in line]
    if not name and len(found) != 1:
        raise UserError("several images are in an archive", value=file, expected=f"{path}:NAME")
    return name or found[0]


class Watch:
    """The process that waits for this one's end; it knows that by its standard input."""

    def __init__(self, folder: Path) -> None:
        os.environ[VARIABLE] = run = living(os.getpid()) or str(os.getpid())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ml_experiment.services.docker_end", run],
            cwd=folder,
            env=marked.without(os.environ),  # it ends containers of jobs, and is none
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for Snakemake
        )


def end(run: str) -> None:
    """Remove the containers of a run that has ended, until there are none.

    One may be about to start: so there have to be none twice.
    """
    until = time.monotonic() + PATIENCE
    none = 0
    while none < 2 and time.monotonic() < until:
        left = _listed(f"label={RUN}={run}")
        none = 0 if left else none + 1
        _remove(left)
        time.sleep(PAUSE)


def end_leftovers(folder: Path) -> list[str]:
    """Remove containers of a workspace whose run has ended. Returns what to say of it."""
    listed = _docker(
        "ps", "--all", "--no-trunc", f"--filter=label={WORKSPACE}={folder}",
        f'--format={{{{.ID}}}} {{{{.Label "{RUN}"}}}}',
    )  # fmt: skip
    pairs = (line.partition(" ") for line in listed.stdout.splitlines())
    left = [container for container, _, run in pairs if run and not alive(run)]
    _remove(left)
    what = "1 container" if len(left) == 1 else f"{len(left)} containers"
    return [f"{what} of an earlier run: removed"] if left else []


def _listed(condition: str) -> list[str]:
    return _docker("ps", "--all", "--quiet", "--no-trunc", f"--filter={condition}").stdout.split()


def _remove(containers: list[str]) -> None:
    if containers:
        _docker("rm", "--force", *containers)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        hint = "install Docker, or run on this machine: --config runtime=host"
        raise UserError("the program docker is not on this machine", hint=hint) from None
