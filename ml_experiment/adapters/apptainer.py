"""Apptainer as a run uses it: by Snakemake's `container:`, to which only the images are given here.

What a registry has is pulled by Snakemake, by its digest. Of what was built here a file is made before
the first job, which the rules name: from an archive beside it, or from the Docker engine.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ml_experiment import containers, environments, launcher, rawdata
from ml_experiment.errors import UserError
from ml_experiment.launch import BOOT
from ml_experiment.plan import STATE, Plan

FOLDER = f"{STATE}/images"
MANIFEST = "manifest.json"  # in archives of `docker save`; newer ones have an OCI index as well


def address(plan: Plan, environment: str | None) -> str | None:
    """What a rule's `container:` has for an environment; None where it has no image.

    A path is relative to the workspace, so that another place of it is no other image.
    """
    image = None if environment is None else plan.images.get(environment)
    if image is None or environment is None:
        return None
    known = environments.read(plan.folder, environment)
    if known is not None and known.registry is not None:
        return f"docker://{known.registry}"
    return f"{_stem(environment, image)}.sif"


def _stem(environment: str, image: str) -> str:
    return f"{FOLDER}/{environment}-{image.removeprefix('sha256:')[:12]}"


def see(plan: Plan) -> None:
    """Before Snakemake looks for Apptainer: what containers of steps see besides the workspace."""
    if plan.experiment.runtime != "apptainer":
        return
    program = launcher.offer()
    variable = f"{(program or launcher.PROGRAMS[0]).upper()}_BIND"
    binds = [f"{path}:{path}:ro" for path in (str(BOOT), *_outside(plan))]
    if wrong := next((bind for bind in binds if "," in bind or bind.count(":") > 2), None):
        what = "Apptainer cannot be told of a path with a comma or a colon"
        raise UserError(what, value=wrong.removesuffix(":ro"))
    before = [text for text in os.environ.get(variable, "").split(",") if text]
    os.environ[variable] = ",".join(dict.fromkeys([*before, *binds]))
    if any(case.work.gpus for step in plan.steps.values() for case in step.cases):
        os.environ[f"{(program or launcher.PROGRAMS[0]).upper()}_NV"] = "1"


def _outside(plan: Plan) -> list[str]:
    """What raw inputs lead to outside of the workspace."""
    found = (containers.leads_to(str(plan.folder), path) for path in rawdata.inputs(plan))
    return sorted({each for every in found for each in every})


def prepare(plan: Plan) -> list[str]:
    """See that Apptainer's files of images that no registry has are there.

    Returns:
        What to know of the images.

    Raises:
        UserError: one cannot be made.
    """
    told = []
    for name, image in sorted(plan.images.items()):
        known = environments.read(plan.folder, name)
        if remark := environments.without_python(name, known):
            told.append(remark)
        if known is None or known.registry is None:
            _make(plan.folder, name, image)
    return told


def _is_there(file: Path) -> bool:
    """Whether an image's file is, in the form of the program that there is now."""
    return file.exists() and (launcher.pulled(file) is not None) == launcher.in_place()


def _make(folder: Path, name: str, image: str) -> None:
    file, archive = f"{_stem(name, image)}.sif", f"{_stem(name, image)}.tar"
    if _is_there(folder / file):
        return
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    source = f"docker-daemon:{image}"
    if (folder / archive).is_file():
        source = f"{_kind(folder / archive, archive, image)}:{folder / archive}"
    program = launcher.offer()
    if program is None:
        hint = "install Apptainer, or Docker, with which ml-experiment runs them as well"
        raise UserError("neither apptainer nor singularity is on this machine", hint=hint)
    sys.stderr.write(f"making {file}\n")
    part = f"{file}.part"
    words = [program, "pull", "--force", "--name", part, source]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"{program} cannot make the image of {name}:\n{done.stderr.strip()}",
            where=f"{environments.FOLDER}/{name}",
            value=image,
            hint=f"where Docker has it: `ml-experiment env export {name} {archive}`; then here again",
        )
    (folder / part).replace(folder / file)


def _kind(file: Path, shown: str, image: str) -> str:
    """What Apptainer calls an archive of an image.

    That it is of this image is read from its bytes: files are moved about, and have any name.

    Raises:
        UserError: it is of another one, or of none.
    """
    hint = "export the image that is locked, or remove the file: then the Docker engine is asked"
    try:
        with tarfile.open(file) as tar:
            old, found = MANIFEST in tar.getnames(), list(_held(tar))
    except (OSError, tarfile.TarError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"not the archive of an image: {error}"
        raise UserError(what, where=shown, expected=image, hint=hint) from None
    if image not in found:
        what = "the archive is of another image than the locked one"
        value = found[0] if found else None
        raise UserError(what, where=shown, value=value, expected=image, hint=hint)
    return "docker-archive" if old else "oci-archive"


def _held(tar: tarfile.TarFile) -> Iterator[str]:
    """The digests by which engines know the images of an archive, computed from what is in it.

    That of the configuration; engines that keep manifests know an image by that one.
    """
    if MANIFEST in tar.getnames():
        for entry in json.loads(_content(tar, MANIFEST)):
            yield _digest(_content(tar, entry["Config"]))
    if "index.json" in tar.getnames():
        waiting, passed = list(json.loads(_content(tar, "index.json"))["manifests"]), []
        while waiting:
            digest = waiting.pop(0)["digest"]
            if _blob(digest) not in tar.getnames():  # an image of another platform
                continue
            content = _content(tar, _blob(digest))
            manifest = json.loads(content)
            waiting += manifest.get("manifests", [])
            passed.append(_digest(content))
            if "config" in manifest:
                yield _digest(_content(tar, _blob(manifest["config"]["digest"])))
        yield from passed


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    return member.read()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
