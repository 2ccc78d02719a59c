"""Environments: what a folder of `envs/` declares, and what its image.lock pins.

A folder has a Dockerfile; or a list of packages (LISTS), from which one is written; or names an image
that is used as it is. `image.yaml` says upon which image a list is installed:

    base: python:3.12-slim        # or image: pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime
    platform: linux/amd64         # the engine's own, where it is not said
    host: venv                    # on the host: a virtual environment (venvs.py), or `current`

`image.lock` says what came of it: which image, made of which base and which files, and what is in it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment import atomic, dockerfiles, hashing, requirements, yamlio
from ml_experiment.dockerfiles import PINNED, Kind
from ml_experiment.errors import ExperimentError, Problem, UserError, did_you_mean

FOLDER = "envs"
LOCK = "image.lock"
SETTINGS = "image.yaml"
MODULES = "modules.txt"  # for `runtime: env-modules`
LISTS: Mapping[str, Kind] = {
    "requirements.txt": "python",
    "environment.yml": "conda",
    "renv.lock": "r",
}
CONDA = "mambaorg/micromamba:2.0.5"
R = "rocker/r-ver"
KEYS = ("base", "host", "image", "platform")
HOSTS = ("current", "venv")  # the Python of jobs that run on the host


@dataclass(frozen=True)
class Declared:
    """What a folder of `envs/` declares.

    Attributes:
        name: of the environment.
        kind: what it is made from.
        base: the image that a list is installed upon; that is used, of the kind "image".
        platform: such as linux/amd64; None for the engine's own.
    """

    name: str
    folder: Path
    kind: Kind
    base: str | None
    platform: str | None

    @property
    def shown(self) -> str:
        """The folder, for a message."""
        return f"{FOLDER}/{self.name}"

    @property
    def is_pinned(self) -> bool:
        """Whether its packages are pinned and fetched by this machine's pip: of a list of Python's,
        or because its Dockerfile copies them.
        """
        if self.kind != "dockerfile":
            return self.kind == "python"
        text = (self.folder / "Dockerfile").read_text("utf-8", "replace")
        listed = (self.folder / "requirements.txt").exists()
        return listed and dockerfiles.takes_wheels(text) and not self.own_wheels.exists()

    @property
    def own_wheels(self) -> Path:
        """A folder of wheels that somebody has put there."""
        return self.folder / dockerfiles.WHEELS

    def bases(self) -> list[str]:
        """The images that it is made of."""
        if self.kind == "dockerfile":
            text = (self.folder / "Dockerfile").read_text("utf-8", "replace")
            return list(dict.fromkeys(found.name for found in dockerfiles.images(text, self.shown)))
        assert self.base is not None
        return [self.base]

    def sources(self) -> dict[str, str]:
        """File -> digest of all that an image of it depends on.

        Raises:
            UserError: its list names a file elsewhere.
        """
        if self.kind == "dockerfile":
            every = (Path(file) for file in hashing.regular_files(self.folder))
            files = [f for f in every if f.name != LOCK or f.parent != self.folder]
        else:
            listed = [name for name, kind in LISTS.items() if kind == self.kind]
            listed += [SETTINGS, *([PINNED] if self.kind == "python" else [])]
            files = [self.folder / name for name in listed if (self.folder / name).exists()]
            if self.kind == "python":
                files += requirements.listed(self.folder / "requirements.txt").files[1:]
        digests = zip(files, hashing.of_files(files), strict=True)
        found = {file.relative_to(self.folder).as_posix(): digest for file, digest in digests}
        if SETTINGS in found:  # what is for the host alone is nothing to an image
            said = _settings(self.folder / SETTINGS, f"{self.shown}/{SETTINGS}")
            said.pop("host", None)
            found[SETTINGS] = hashing.of_text(hashing.canonical(said))
            if not said:
                del found[SETTINGS]
        return found


@dataclass(frozen=True)
class Lock:
    """What an image.lock says.

    Attributes:
        base: an image as it is named -> as it is pinned.
        image: the digest of its configuration, by which an engine knows it; None: not built yet.
        name: what the image is called.
        registry: how a registry knows it, `name@sha256:…`; None for what was only built here.
        packages: where they are from (python, debian, r, ...) -> name -> version.
        sources: file of the folder -> its digest when the image was made.
    """

    base: Mapping[str, str]
    platform: str
    sources: Mapping[str, str]
    image: str | None = None
    name: str | None = None
    registry: str | None = None
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise TypeError where a part is none: somebody may have edited the file."""
        for part in (self.base, self.sources, self.packages):
            if not isinstance(part, Mapping):
                raise TypeError(f"an object is expected, not {part!r}")

    def text(self) -> str:
        """The one text of this lock."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def folders(workspace: Path) -> list[str]:
    """The names of all environments of a workspace, sorted."""
    root = workspace / FOLDER
    found = (entry.name for entry in root.iterdir()) if root.is_dir() else ()
    return sorted(name for name in found if not name.startswith(".") and (root / name).is_dir())


def declared(workspace: Path, name: str) -> Declared:
    """What an environment declares.

    Raises:
        UserError: there is no such environment, or nothing to make an image from.
        ExperimentError: what is wrong with its image.yaml.
    """
    folder = workspace / FOLDER / name
    if not folder.is_dir():
        hint = did_you_mean(name, folders(workspace)) or f"make the folder {FOLDER}/{name}"
        raise UserError("no such environment", value=name, hint=hint)
    where = f"{FOLDER}/{name}"
    settings = _settings(folder / SETTINGS, f"{where}/{SETTINGS}")
    base, image = settings.get("base"), settings.get("image")
    lists = [file for file in LISTS if (folder / file).exists()]
    if (folder / "Dockerfile").exists():
        kind: Kind = "dockerfile"
    elif image:
        kind, base = "image", image
    elif len(lists) == 1:
        kind = LISTS[lists[0]]
        base = base or _default_base(kind, folder)
    else:
        what = "several lists of packages" if lists else "nothing to make an image from"
        expected = f"a Dockerfile, one of {', '.join(LISTS)}, or `image:` in {SETTINGS}"
        raise UserError(what, where=where, expected=expected)
    if kind == "dockerfile" and settings.keys() & {"base", "image"}:
        what = "the Dockerfile says what it is made from, and so does image.yaml"
        raise UserError(what, where=f"{where}/{SETTINGS}", hint="remove base and image there")
    return Declared(name, folder, kind, base, settings.get("platform"))


def host(workspace: Path, name: str) -> str:
    """What the Python of an environment's jobs is on the host: one of HOSTS.

    Raises:
        UserError, ExperimentError: what is wrong with its image.yaml.
    """
    where = f"{FOLDER}/{name}/{SETTINGS}"
    return _settings(workspace / FOLDER / name / SETTINGS, where).get("host", HOSTS[0])


def _settings(file: Path, shown: str) -> dict[str, str]:
    if not file.exists():
        return {}
    root = yamlio.read(file.read_text("utf-8", "replace"), shown)
    data = root.value if isinstance(root.value, dict) else None
    if data is None:
        expected = f"a mapping with {', '.join(KEYS)}"
        raise UserError("not a mapping", where=root.place, expected=expected)
    problems = []
    for key, node in data.items():
        if key not in KEYS:
            hint = did_you_mean(key, KEYS)
            problems.append(Problem("no such key", node.place, key, hint=hint))
        elif not isinstance(node.value, str) or not re.fullmatch(r"[\w./:@-]+", node.value):
            expected = "a name, such as python:3.12-slim or linux/amd64"
            problems.append(Problem("no name", node.place, key, node.plain(), expected))
        elif key == "host" and node.value not in HOSTS:
            told = " or ".join(HOSTS)
            problems.append(Problem("no such way to run", node.place, key, node.value, told))
    if "base" in data and "image" in data:
        what = "base, upon which a list is installed, and image, which is used as it is"
        problems.append(Problem(what, data["image"].place, hint="remove one of them"))
    if problems:
        raise ExperimentError(problems)
    return {key: str(node.value) for key, node in data.items()}


def _default_base(kind: Kind, folder: Path) -> str:
    if kind == "python":
        return f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    if kind == "conda":
        return CONDA
    text = (folder / "renv.lock").read_text("utf-8", "replace")
    root = yamlio.read(text, f"{FOLDER}/{folder.name}/renv.lock").plain()
    version = (root.get("R") or {}).get("Version") if isinstance(root, dict) else None
    return f"{R}:{version or 'latest'}"


def read(workspace: Path, name: str) -> Lock | None:
    """An environment's image.lock; None where there is none.

    Raises:
        UserError: it is not one.
    """
    file = workspace / FOLDER / name / LOCK
    try:
        return Lock(**json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        hint = f"`ml-experiment env lock {name}` writes it anew"
        raise UserError(
            f"not an image.lock: {error}", where=f"{FOLDER}/{name}/{LOCK}", hint=hint
        ) from None


def write(workspace: Path, name: str, lock: Lock) -> bool:
    """Write an environment's image.lock. Returns whether it has changed."""
    return atomic.write_if_changed(workspace / FOLDER / name / LOCK, lock.text())


def changed(wanted: Declared, lock: Lock) -> list[str]:
    """The files of an environment that are not as they were when its image was locked, sorted."""
    now = wanted.sources()
    names = {*now, *lock.sources}
    return sorted(name for name in names if now.get(name) != lock.sources.get(name))


def why_not(workspace: Path, name: str) -> tuple[str, str] | None:
    """Why no job can run in an environment's image, and what to do; None where one can."""
    lock = read(workspace, name)
    build = f"`ml-experiment env build {name}`"
    if lock is None or lock.image is None:
        return "there is no image of it", build
    if different := changed(declared(workspace, name), lock):
        return f"{', '.join(different)} changed since its image was made", build
    return None


def modules(workspace: Path, name: str) -> list[str]:
    """The environment modules that an environment lists, in the order in which they are loaded.

    Raises:
        UserError: there is no list, it is empty, or has what is no module.
    """
    where = f"{FOLDER}/{name}/{MODULES}"
    try:
        lines = (workspace / where).read_text("utf-8").splitlines()
    except FileNotFoundError:
        hint = "one module a line, such as R/4.3.1"
        raise UserError("no list of modules", where=where, hint=hint) from None
    found = [line.partition("#")[0].strip() for line in lines]
    found = [line for line in found if line]
    if wrong := next((line for line in found if not re.fullmatch(r"[\w.+/-]+", line)), None):
        raise UserError("no module", where=where, value=wrong, expected="a name, such as R/4.3.1")
    if not found:
        raise UserError("no module is listed", where=where)
    return found


def only_modules(workspace: Path, name: str) -> bool:
    """Whether an environment lists modules, and nothing of which an image is made."""
    folder = workspace / FOLDER / name
    others = ("Dockerfile", SETTINGS, *LISTS)
    return (folder / MODULES).exists() and not any((folder / file).exists() for file in others)


def conda(workspace: Path, name: str) -> Path:
    """The file of an environment from which conda makes it.

    Raises:
        UserError: there is none.
    """
    file = workspace / FOLDER / name / "environment.yml"
    if not file.is_file():
        hint = "conda makes environments of an environment.yml"
        raise UserError("no environment.yml", where=f"{FOLDER}/{name}", hint=hint)
    return file


def without_python(name: str, known: Lock | None) -> str | None:
    """What there is to know of an image without Python; None where it has one.

    Args:
        name: of the environment.
        known: its lock.
    """
    programs = {} if known is None else known.packages.get("program", {})
    if known is None or "python" in programs:
        return None
    told = f"{name}: no Python in its image, so jobs get their seeds as variables only"
    return f"{told}; R begins with its own" if "r" in programs else told


# ---- Python's distributions -------------------------------------------------------------------------


def pins_text(report: Any) -> str:
    """What pip would install, as requirements with hashes; sorted.

    Args:
        report: pip's installation reports, as data: a list of them.
    """
    found: dict[str, tuple[str, str]] = {}
    for item in [each for one in report for each in one["install"]]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            what = f"{name} is not an archive, so that its bytes cannot be pinned"
            raise UserError(what, expected="a release with a wheel")
        found.setdefault(name, (item["metadata"]["version"], digest))
    lines = [
        f"{name}=={version} \\\n    --hash=sha256:{digest}\n"
        for name, (version, digest) in sorted(found.items())
    ]
    return (
        f"# Written by `ml-experiment env lock`, for one platform and one Python.\n{''.join(lines)}"
    )


def platforms(machine: str, libc: str, version: str) -> list[str]:
    """The platforms of wheels that run with a C library, the newest first.

    Args:
        machine: such as x86_64.
        libc: glibc or musl.
        version: of it, such as 2.36.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if libc == "musl":
        return [f"musllinux_{major}_{n}_{machine}" for n in range(minor, -1, -1)]
    found = [f"manylinux_{major}_{n}_{machine}" for n in range(minor, 4, -1)]
    if machine in ("x86_64", "i686"):
        return [
            *found,
            *(f"manylinux{n}_{machine}" for n in ("2014", "2010", "1")),
            f"linux_{machine}",
        ]
    return [*found, f"manylinux2014_{machine}", f"linux_{machine}"]
