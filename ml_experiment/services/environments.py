"""`ml-experiment env list`, `check`, `export`, `shell` and `pulled`: environments and their images."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import apptainer, containers, environments, launcher
from ml_experiment.adapters.docker import Engine
from ml_experiment.environments import Lock
from ml_experiment.errors import MLExperimentError, UserError
from ml_experiment.services import building

NEW = "not locked"
UNBUILT = "not built"
READY = "ready"


@dataclass(frozen=True)
class Entry:
    """An environment in a list.

    Attributes:
        state: ready, stale, not built, not locked, missing (the engine does not have its image), wrong.
        remark: why it is not ready; or that no engine was asked.
    """

    name: str
    kind: str | None
    base: Sequence[str]
    image: str | None
    state: str
    remark: str


def entries(workspace: Path, engine: Engine | None) -> list[Entry]:
    """All environments of a workspace; the engine is asked for their images, if there is one."""
    return [_entry(workspace, name, engine) for name in environments.folders(workspace)]


def _entry(workspace: Path, name: str, engine: Engine | None) -> Entry:
    try:
        if environments.only_modules(workspace, name):
            return Entry(name, "modules", (), None, READY, "no image: for runtime: env-modules")
        wanted = environments.declared(workspace, name)
        known = environments.read(workspace, name)
        bases = wanted.bases()
        different = environments.changed(wanted, known) if known else []
    except MLExperimentError as error:
        return Entry(name, None, (), None, "wrong", str(error))
    image = known.image if known else None
    state, remark = READY, ""
    if known is None:
        state = NEW
    elif different:
        state, remark = "stale", f"{', '.join(different)} changed"
    elif image is None:
        state = UNBUILT
    elif engine is None:
        remark = "no engine was asked whether it has the image"
    elif engine.image(image) is None:
        state, remark = "missing", "the engine does not have the image"
    return Entry(name, wanted.kind, bases, image, state, remark)


@dataclass(frozen=True)
class Fault:
    """What keeps jobs from running in an environment, or will."""

    name: str
    what: str
    hint: str


def check(workspace: Path, names: Sequence[str], engine: Engine) -> list[Fault]:
    """What is wrong with environments and their images."""
    found = []
    for name in names or environments.folders(workspace):
        if not names and environments.only_modules(workspace, name):
            continue
        try:
            found += _faults(workspace, name, engine)
        except MLExperimentError as error:
            found.append(Fault(name, str(error), ""))
    return found


def _faults(workspace: Path, name: str, engine: Engine) -> list[Fault]:
    known = environments.read(workspace, name)
    if problem := environments.why_not(workspace, name):
        return [Fault(name, *problem)]
    assert known is not None
    assert known.image is not None
    found = []
    image = engine.image(known.image)
    if image is None:
        hint = f"`ml-experiment env build {name}`, or `docker load` an exported one"
        found.append(Fault(name, f"the engine does not have {known.image}", hint))
    elif building.short(image.platform) != building.short(engine.platform):
        what = f"its image is of {image.platform}, and the engine of {engine.platform}"
        found.append(
            Fault(name, what, "another `platform:` in image.yaml, or an engine that emulates")
        )
    if "bash" not in known.packages.get("has", {}):
        found.append(
            Fault(name, "there is no bash in its image, which runs every command", "add it")
        )
    for base, pin in known.base.items():
        now = engine.image(base)
        if now is not None and building.pin_of(base, now) != pin and now.id != pin:
            what = f"{base} is another image now: locked {pin}, now {building.pin_of(base, now)}"
            found.append(Fault(name, what, f"`ml-experiment env lock {name}` takes the new one"))
    return found


def export(workspace: Path, name: str, engine: Engine, target: Path) -> int:
    """Write the image of an environment as a file that `docker load` takes. Returns its size in bytes.

    Raises:
        UserError: there is no image of it here.
    """
    known = ready(workspace, name, engine)
    part = target.with_name(f".{secrets.token_hex(8)}.writing")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("xb") as file:
            engine.save(known.image or "", known.name or "", file)
            size = file.tell()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return size


def ready(workspace: Path, name: str, engine: Engine) -> Lock:
    """The lock of an environment whose image the engine has.

    Raises:
        UserError: it has none, or it is not what the folder says.
    """
    environments.declared(workspace, name)
    where = f"{environments.FOLDER}/{name}"
    if problem := environments.why_not(workspace, name):
        raise UserError(problem[0], where=where, hint=problem[1])
    known = environments.read(workspace, name)
    assert known is not None
    assert known.image is not None
    if engine.image(known.image) is None:
        hint = f"`ml-experiment env build {name}`, or `docker load` an exported one"
        raise UserError(
            "the engine does not have its image", where=where, value=known.image, hint=hint
        )
    return known


def shell(
    workspace: Path, name: str, engine: Engine, words: Sequence[str], *, network: bool
) -> int:
    """A shell, or a program, in the image of an environment, as a job would have it.

    Returns:
        Its exit status.
    """
    known = ready(workspace, name, engine)
    options = containers.options(workspace, network=network)
    terminal = ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    user = f"{os.getuid()}:{os.getgid()}"
    groups = [word for group in os.getgroups() for word in ("--group-add", str(group))]
    program = list(words) or ["bash"]
    command = [
        "docker",
        "run",
        "--rm",
        "--init",
        "--pull",
        "never",
        "--user",
        user,
        *groups,
        *terminal,
        *options,
    ]
    command += ["--env", "HOME=/tmp", "--entrypoint", program[0], known.image or "", *program[1:]]
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise UserError("the program docker is not on this machine") from None


@dataclass(frozen=True)
class Pulled:
    """An image that Snakemake has pulled for a `container:`, where Docker runs it.

    Attributes:
        address: what the rule says.
        image: its id.
        registry: how a registry knows it, `name@sha256:…`.
        file: what keeps it; without that it is pulled again.
        remark: that the address means another image now, or that the engine does not have it.
    """

    address: str
    image: str
    registry: str | None
    file: str
    remark: str


def pulled(workspace: Path, engine: Engine | None) -> list[Pulled]:
    """What Snakemake has pulled in a workspace, by address; the engine is asked what that means now."""
    found = []
    for file in sorted((workspace / launcher.IMAGES).glob("*.simg")):
        held = launcher.pulled(file)
        if held is not None:
            remark = "" if engine is None else _meaning(held, engine)
            where = str(file.relative_to(workspace))
            found.append(Pulled(held["from"], held["image"], held["registry"], where, remark))
    return sorted(found, key=lambda each: each.address)


def _meaning(held: Mapping[str, Any], engine: Engine) -> str:
    if engine.image(held["image"]) is None:
        again = (
            "it is fetched again" if held["registry"] else "remove the file, or `docker load` it"
        )
        return f"the engine does not have it: {again}"
    source = apptainer.source(held["from"])
    now = None if source.kind == "file" else engine.image(source.name)
    if now is None or now.id == held["image"]:
        return ""
    return f"{source.name} is another image now, {now.id}; jobs run in the one above"


def data(entry: Entry | Fault | Pulled) -> dict[str, Any]:
    """An entry or fault as data."""
    return dict(vars(entry))
