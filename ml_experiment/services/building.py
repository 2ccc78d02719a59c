"""`ml-experiment env lock` and `build`: images that are the same wherever they are made."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ml_experiment import atomic, contents, dockerfiles, environments
from ml_experiment.adapters import pip
from ml_experiment.adapters.docker import Engine, Image
from ml_experiment.dockerfiles import PINNED, PREFIX, WHEELS
from ml_experiment.environments import Declared, Lock
from ml_experiment.errors import UserError
from ml_experiment.plan import STATE

Say = Callable[[str], None]
PROBE = """
import json, platform, sys, sysconfig
libc, version = platform.libc_ver()
if "musl" in (sysconfig.get_config_var("SOABI") or ""):
    libc, version = "musl", "1.2"
print(json.dumps([f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine(), libc, version]))
"""


@dataclass(frozen=True)
class Built:
    """What a build has come to.

    Attributes:
        again: whether there was an image before, and this is another build of the same.
        same: whether it is that very image.
        packages: a line for each package in which the two differ.
        files: a line for each file in which they do; None where the locked image is not here.
        written: whether image.lock has it.
    """

    lock: Lock
    again: bool = False
    same: bool = True
    packages: Sequence[str] = ()
    files: Sequence[str] | None = ()
    written: bool = True


def lock(workspace: Path, name: str, engine: Engine, say: Say) -> Lock:
    """Pin the images that an environment begins with, and Python's distributions with their hashes.

    Raises:
        UserError, ExperimentError: what is wrong with it, or cannot be had.
    """
    wanted = environments.declared(workspace, name)
    before = environments.read(workspace, name)
    bases = {base: _found(engine, base, wanted.platform, say) for base in wanted.bases()}
    platform = _platform(wanted, bases, engine)
    pins = {base: pin_of(base, image) for base, image in bases.items()}
    for base, pin in pins.items():
        old = before.base.get(base) if before else None
        if old is not None and old != pin:
            say(f"{base}: {old} → {pin}")
    if wanted.is_pinned:
        text = _resolved(wanted, engine, next(iter(bases.values())), say)
        atomic.write_if_changed(wanted.folder / PINNED, text)
    made = Lock(base=pins, platform=platform, sources=wanted.sources())
    if wanted.kind == "image":
        (image,) = bases.values()
        made = replace(made, packages=_packages(engine, image), image=image.id, name=wanted.base)
        (pin,) = pins.values()  # an id, where no registry knows the image by this name
        made = replace(made, registry=pin if "@" in pin else None)
    elif before and (before.base, before.platform, before.sources) == (
        pins,
        platform,
        made.sources,
    ):
        made = before
    environments.write(workspace, name, made)
    return made


def _found(engine: Engine, name: str, platform: str | None, say: Say) -> Image:
    return engine.image(name) or engine.pull(name, platform, say)


def pin_of(name: str, image: Image) -> str:
    """How an image is named so that it can be no other one."""
    if "@" in name or re.fullmatch(r"sha256:[0-9a-f]{64}", name):
        return name
    return dockerfiles.digest_of(name, image.registry) or image.id


def _platform(wanted: Declared, bases: Mapping[str, Image], engine: Engine) -> str:
    platform = wanted.platform or next((i.platform for i in bases.values()), engine.platform)
    for base, image in bases.items():
        if short(image.platform) != short(platform):
            hint = f"name an image of {platform}, or another `platform:` in {environments.SETTINGS}"
            raise UserError(f"{base} is of another platform", where=wanted.shown, value=image.platform,
                            expected=platform, hint=hint)  # fmt: skip
    return platform


def short(platform: str) -> str:
    return "/".join(platform.split("/")[:2])


def _resolved(wanted: Declared, engine: Engine, base: Image, say: Say) -> str:
    """What requirements.txt comes to for the Python of an image."""
    where = _for(wanted, engine, base)
    say(f"resolving {wanted.shown}/requirements.txt for {where[1]}")
    return pip.resolved(wanted.folder / "requirements.txt", where, _without_wheel)


def _without_wheel(told: str) -> str | None:
    if "No matching" in told:
        return "an image takes wheels only; for what has none write a Dockerfile"
    return None


def _for(wanted: Declared, engine: Engine, base: Image) -> list[str]:
    """The words for pip that mean the Python in an image: which wheels it takes.

    Wheels only: building a source distribution needs what is in no list, and gives other bytes each time.
    """
    status, told = engine.run(base.id, ["python3", "-c", PROBE])
    if status:
        hint = "take a base with Python, such as python:3.12-slim"
        raise UserError(
            "no Python in the base image", where=wanted.shown, value=wanted.base, hint=hint
        )
    version, machine, libc, number = json.loads(told.splitlines()[-1])
    abi = f"cp{version.replace('.', '')}"
    words = ["--python-version", version, "--implementation", "cp", "--only-binary", ":all:"]
    for each in (abi, "abi3", "none"):
        words += ["--abi", each]
    for each in environments.platforms(machine, libc, number):
        words += ["--platform", each]
    return words


def build(
    workspace: Path,
    name: str,
    engine: Engine,
    say: Say,
    *,
    again: bool = False,
    accept: bool = False,
) -> Built:
    """Have the image of an environment: built from its lock, or fetched.

    Args:
        workspace: whose environment it is.
        name: its name.
        engine: that builds.
        say: takes a line of progress.
        again: whether it is built although it is there, and compared with what is locked.
        accept: whether image.lock gets the new image where that is another one.

    Raises:
        UserError, ExperimentError: what is wrong with it, or cannot be had.
    """
    wanted = environments.declared(workspace, name)
    known = environments.read(workspace, name)
    if known is None or environments.changed(wanted, known):
        known = lock(workspace, name, engine, say)
    if known.image is not None and not again:
        if engine.image(known.image) is not None:
            return Built(known)
        if known.registry is not None:
            fetched = engine.pull(known.registry, known.platform, say)
            if fetched.id == known.image:
                return Built(known)
    if wanted.kind == "image":
        return Built(_as_pinned(wanted, known, engine, say))
    image = _built(workspace, wanted, known, engine, say, again=again)
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    named = f"ml-experiment/{label}:{image.id[7:19]}"
    engine.tag(image.id, named)
    made = replace(
        known, image=image.id, name=named, registry=None, packages=_packages(engine, image)
    )
    if known.image is None or known.image == image.id:
        environments.write(workspace, name, made)
        return Built(made, again=known.image is not None)
    say("comparing it with the image that is locked")
    there = engine.image(known.image) is not None
    files = (
        contents.file_differences(engine.files(known.image), engine.files(image.id))
        if there
        else None
    )
    packages = contents.package_differences(known.packages, made.packages)
    if accept:
        environments.write(workspace, name, made)
    return Built(made, again=True, same=False, packages=packages, files=files, written=accept)


def _as_pinned(wanted: Declared, known: Lock, engine: Engine, say: Say) -> Lock:
    """The lock of an image that is used as it is, if it still is what is pinned."""
    assert wanted.base is not None
    pin = known.base[wanted.base]
    found = engine.image(pin) or (engine.pull(pin, known.platform, say) if "@" in pin else None)
    if found is None or found.id != known.image:
        raise _moved(wanted, wanted.base, known.image or pin, engine)
    return known


def _moved(wanted: Declared, base: str, pin: str, engine: Engine) -> UserError:
    """That a name means another image than when it was locked; both digests are shown."""
    now = engine.image(base)
    hint = f"fetch or `docker load` the image that is locked, or take the new one: `ml-experiment env lock {wanted.name}`"
    if now is None:
        return UserError(
            f"the engine does not have the image {base} as it was locked",
            where=wanted.shown,
            value=pin,
            hint=hint,
        )
    told = pin_of(base, now) if "@" in pin else now.id
    return UserError(
        f"{base} is another image now than when it was locked",
        where=wanted.shown,
        value=told,
        expected=pin,
        hint=hint,
    )


def _built(
    workspace: Path, wanted: Declared, known: Lock, engine: Engine, say: Say, *, again: bool
) -> Image:
    bases = {}
    for base, pin in known.base.items():
        found = engine.image(pin) or (engine.pull(pin, known.platform, say) if "@" in pin else None)
        if found is None:
            raise _moved(wanted, base, pin, engine)
        bases[base] = found
    context = workspace / STATE / environments.FOLDER / wanted.name
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    try:
        if wanted.kind == "dockerfile":
            shutil.copytree(wanted.folder, context, dirs_exist_ok=True, symlinks=True)
            (context / environments.LOCK).unlink(missing_ok=True)
            text = (wanted.folder / "Dockerfile").read_text("utf-8")
            text = dockerfiles.pinned(text, known.base, wanted.shown)
        else:
            assert wanted.base is not None
            text = dockerfiles.written(wanted.kind, known.base[wanted.base])
            for file in set(known.sources) - {environments.SETTINGS}:
                (context / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(wanted.folder / file, context / file)
        if wanted.is_pinned:  # upon the first image that is named: its Python is meant
            _fetch(wanted, engine, bases[wanted.bases()[0]], context / WHEELS, say)
        (context / "Dockerfile").write_text(text, "utf-8")
        image = engine.build(context, known.platform, say, again=again, what=wanted.shown)
    finally:  # what was built stays to be read, without all that went into it
        for entry in context.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in ("Dockerfile", PINNED):
                entry.unlink()
    if wanted.kind != "python":
        return image
    assert wanted.base is not None
    made = engine.same_everywhere(image, bases[wanted.base], PREFIX)
    if made.id != image.id:
        engine.remove(image.id)
    return made


def _fetch(wanted: Declared, engine: Engine, base: Image, target: Path, say: Say) -> None:
    """Get what is pinned, with this machine's settings and the list's options, which stay here."""
    say(f"fetching {wanted.shown}/{PINNED}")
    words = ["download", "--no-deps", "--require-hashes", "-r", str(wanted.folder / PINNED)]
    words += ["--dest", str(target), *_for(wanted, engine, base)]
    with pip.options(wanted.folder / "requirements.txt") as more:
        pip.run([*words, *more], say, hint=_without_wheel)


def _packages(engine: Engine, image: Image) -> dict[str, dict[str, str]]:
    """What is in an image. One without a shell has no packages that could be asked for."""
    status, listing = engine.run(image.id, ["sh", "-c", contents.LISTING])
    return contents.packages(listing) if status == 0 else {}
