"""The program `apptainer` of `ml_experiment/launcher.py`: Docker in Apptainer's place, for Snakemake.

A pulled image is a small file that says which image of the engine it is, by digest. So a name that
means another image later changes nothing in a workspace that has pulled it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import apptainer, launcher
from ml_experiment.apptainer import Asked, Caller
from ml_experiment.errors import UserError
from ml_experiment.living import living, outermost

FATAL = 255  # Apptainer's own exit status
VERSION = "apptainer version 1.4.0+docker"  # of whose options these are
# As adapters/docker_run.py has them, which costs more to import than this program's start.
VARIABLE = "ML_EXPERIMENT_CONTAINERS"
WORKSPACE = "ml-experiment.workspace"
RUN = "ml-experiment.run"


def main(words: Sequence[str]) -> int:
    """Do what Apptainer was asked for. Returns the exit status."""
    try:
        told = apptainer.asked(words, os.environ)
        if told.action == "version":
            return _version()
        return _pull(told) if told.action == "pull" else _exec(told)
    except UserError as error:
        sys.stderr.write(f"FATAL:   {error}\n")
        return FATAL


def _version() -> int:
    """Snakemake asks for it once, before its first job: whether Docker answers is said here."""
    from ml_experiment.adapters import docker_run  # noqa: PLC0415  # no job needs it

    docker_run.answers()
    docker_run.end_leftovers(Path.cwd())
    sys.stdout.write(f"{VERSION}\n")
    return 0


def _pull(told: Asked) -> int:
    url = told.words[-1]
    name = told.last("name") or (told.words[0] if len(told.words) > 1 else None)
    if name is None:
        raise UserError("where it goes is missing", value=url, expected="pull FILE ADDRESS")
    target = Path(told.last("dir") or "", name)
    if target.exists() and not told.given("force"):
        raise UserError("there is an image of this name", value=target, hint="--force replaces it")
    from ml_experiment import atomic  # noqa: PLC0415

    atomic.write(target, json.dumps(_described(url), indent=1, sort_keys=True) + "\n")
    return 0


def _described(url: str) -> dict[str, Any]:
    """What a pulled image's file says."""
    from ml_experiment.adapters import docker_run  # noqa: PLC0415  # no job needs it

    return {"format": launcher.FORMAT, "from": url, **docker_run.obtained(apptainer.source(url))}


def _exec(told: Asked) -> int:
    """Become Docker's program."""
    image = _image(told.words[0])
    words, environ = _line(told, image)
    try:
        os.execvpe("docker", ["docker", *words], environ)  # noqa: S606  # no shell is wanted here
    except OSError as error:
        raise UserError(f"the program docker cannot be run: {error.strerror}") from None


def _image(name: str) -> Mapping[str, Any]:
    path = Path(name)
    try:
        found = launcher.pulled(path)
    except FileNotFoundError:
        if ":" in name:
            return _described(name)
        raise UserError("there is no such image", value=name) from None
    if found is None:
        what = "not an image that was pulled for Docker"
        hint = (
            "remove it, and Snakemake pulls it again; an image of Apptainer's own needs Apptainer"
        )
        raise UserError(what, value=name, hint=hint)
    return found


def _line(told: Asked, image: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    run = apptainer.run(
        told, image["registry"] or image["image"], image["variables"], _caller(), os.environ
    )
    owner = os.environ.get(VARIABLE) or _watched()
    labels = ["--label", f"{WORKSPACE}={Path.cwd()}", "--label", f"{RUN}={owner}"]
    pull = ["--pull", "missing" if image["registry"] else "never"]
    return [run.words[0], *labels, *pull, *run.words[1:]], run.environ


def _caller() -> Caller:
    umask = os.umask(0)
    os.umask(umask)
    shm = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // 1024
    home = os.environ.get("HOME") or "/"
    return Caller(os.getcwd(), home, os.geteuid(), os.getegid(), tuple(os.getgroups()), umask, shm)


def _watched() -> str:
    """The Snakemake that this is for; a process waits for its end, and removes what it leaves then."""
    pid = outermost("snakemake")
    owner = living(pid) or str(pid)
    place = Path(tempfile.gettempdir()) / f"ml-experiment-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError("somebody else's folder stands in the way", value=place)
    try:
        os.close(os.open(place / owner, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return owner
    import subprocess  # noqa: PLC0415  # once in a run

    from ml_experiment import marked  # noqa: PLC0415

    subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-E",
            "-m",
            "ml_experiment.services.docker_end",
            owner,
            str(place / owner),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for Snakemake
        env=marked.without(os.environ),  # whoever ends the jobs of a run does not end it
        cwd="/",
    )
    return owner


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
