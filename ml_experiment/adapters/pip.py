"""pip of this machine, with this machine's settings: what an image gets, and virtual environments."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ml_experiment import environments, locks, requirements, venvs
from ml_experiment.errors import UserError
from ml_experiment.plan import Plan

Say = Callable[[str], None]
Hint = Callable[[str], str | None]  # what to do, given what pip says against it
TOLD = 12  # lines of what pip says against it
PROGRESS = re.compile(r"Saved |\s*(?:Collecting|Downloading|Installing collected|Building) ")
PROBE = """
import json
from importlib import metadata
print(json.dumps({found.metadata["Name"]: found.version for found in metadata.distributions()}))
"""


def run(words: Sequence[str], say: Say | None = None, *, hint: Hint | None = None) -> str:
    """Run pip. Returns what it has printed.

    Args:
        words: for it.
        say: takes lines of progress.
        hint: what to do where it cannot.

    Raises:
        UserError: it cannot do what is asked.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        *words,
        "--no-input",
        "--disable-pip-version-check",
    ]
    with (
        tempfile.TemporaryFile("w+") as trouble,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=trouble, text=True) as pip,
    ):
        printed = []
        assert pip.stdout is not None
        for line in pip.stdout:
            printed.append(line)
            if say and PROGRESS.match(line):
                say(f"  {_short(line)}")
        status = pip.wait()
        trouble.seek(0)
        told = [line.rstrip() for line in trouble if line.startswith(("ERROR", " "))]
    if status:
        lines = "\n".join(f"    {line}" for line in told[-TOLD:])
        to_do = hint("".join(told)) if hint else None
        raise UserError(f"pip cannot get what is asked for:\n{lines}", hint=to_do)
    return "".join(printed)


def _short(line: str) -> str:
    """A line of progress; of a file only its name."""
    text = line.strip().partition(" (from ")[0]
    return Path(text.split(maxsplit=1)[1]).name if text.startswith("Saved ") else text


def resolved(file: Path, where: Sequence[str], hint: Hint | None = None) -> str:
    """What a requirements.txt comes to, with pip, as requirements with hashes.

    Args:
        file: the requirements.txt.
        where: words that mean another Python than this one.
        hint: as of `run`.

    Raises:
        UserError: as of `run`, or it names a file elsewhere.
    """
    requirements.listed(file)
    reports = []
    for asked in (["-r", str(file)], ["pip"]):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--target", folder]
            run([*words, "--report", str(report), *where, *asked], hint=hint)
            reports.append(json.loads(report.read_text("utf-8")))
    return environments.pins_text(reports)


@contextmanager
def options(file: Path) -> Iterator[list[str]]:
    """Words by which pip has the options in a requirements.txt, such as an index, and asks for nothing.

    They are in a file that only this user can read, while pip runs: there may be a password in them,
    and everybody on this machine sees the words of a program.
    """
    lines = requirements.listed(file).options
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "options.txt"
        told.write_text("\n".join([*lines, ""]), "utf-8")
        yield ["-r", str(told)] if lines else []


def prepare(plan: Plan, say: Say) -> None:
    """See that the virtual environments of a plan are there.

    Raises:
        UserError: one cannot be made.
    """
    for name in sorted(plan.pythons):
        make(plan.folder, name, say)


def make(workspace: Path, name: str, say: Say) -> bool:
    """Have the virtual environment of an environment; one that is there whole is left alone.

    Whoever else wants it meanwhile waits.

    Returns:
        Whether it has been made now.

    Raises:
        UserError: it cannot be made: no pins, or a package that cannot be had.
    """
    pins, folder = venvs.pins(workspace, name), workspace / venvs.folder(workspace, name)
    if venvs.is_made(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: its virtual environment is being made by another process")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if venvs.is_made(folder):
            return False
        say(f"making the virtual environment of {environments.FOLDER}/{name}, once")
        shutil.rmtree(folder, ignore_errors=True)  # of one who has not come to the end
        _install(folder, pins, name, say)
    return True


def _install(folder: Path, pins: Path, name: str, say: Say) -> None:
    bare = [sys.executable, "-P", "-m", "venv", "--without-pip", str(folder)]
    made = subprocess.run(bare, capture_output=True, text=True, check=False)
    where = f"{environments.FOLDER}/{name}"
    if made.returncode:
        hint = "is the module venv there? On Debian and Ubuntu: apt-get install python3-venv"
        told = (made.stderr or made.stdout).strip()
        raise UserError(f"no virtual environment can be made: {told}", where=where, hint=hint)
    python = venvs.programs(folder) / "python"
    words = ["--python", str(python), "install", "--require-hashes", "--progress-bar", "off"]
    words += ["--no-warn-script-location", "--root-user-action=ignore", "-r", str(pins)]
    try:
        with options(pins.with_name(venvs.LIST)) as more:
            run([*words, *more], say, hint=lambda told: _what_to_do(told, pins, name))
    except UserError as error:
        problem = error.problem
        raise UserError(problem.what, where=f"{where}/{pins.name}", hint=problem.hint) from None
    venvs.set_made(folder, installed(folder))


def _what_to_do(told: str, pins: Path, name: str) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if "No matching distribution" in told and "from versions: none" in told:
        return (
            "can the index be reached? pip goes by this machine's settings (`pip config list`); "
            f"without a network: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER, with the files of {pins.name}"
        )
    return (
        f"{pins.name} may be for another Python or platform than this Python {version}: "
        f"`ml-experiment env lock {name} --host` writes it for this one"
    )


def installed(folder: Path) -> dict[str, str]:
    """Name -> version of what is in a virtual environment.

    Raises:
        UserError: its Python does not run.
    """
    command = [str(venvs.programs(folder) / "python"), "-I", "-c", PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"its Python does not run: {error}", where=str(folder)) from None
    found: dict[str, str] = json.loads(done.stdout)
    return found


def changed(workspace: Path, name: str) -> Mapping[str, Mapping[str, str]]:
    """Package -> what is locked and what is there, where these differ or one is missing."""
    wanted = locks.of_file(venvs.pins(workspace, name))
    there = installed(workspace / venvs.folder(workspace, name))
    lacking = {
        package: {"locked": version, "ran": "not there"}
        for package, version in wanted.items()
        if package not in map(locks.normal, there)
    }
    return {**locks.differences(wanted, there), **lacking}
