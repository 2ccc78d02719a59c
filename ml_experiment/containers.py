"""How a job runs in a container: the words for Docker's program, which boot/docker.sh completes."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ml_experiment.plan import Job, Plan

FEW = 16  # neighbours outside of the workspace that are seen each by itself


def options(
    workspace: Path | str,
    *,
    network: bool,
    read_only: Iterable[str] = (),
    outside: Iterable[str] = (),
) -> list[str]:
    """What a container sees: the workspace under its own path, and no network unless it is asked for.

    Args:
        workspace: absolute.
        network: whether it has this machine's.
        read_only: absolute paths inside of the workspace that it may not change.
        outside: absolute paths elsewhere that it sees and may not change.
    """
    words = ["--network", "host" if network else "none", "--workdir", str(workspace)]
    words += ["--mount", mount(str(workspace))]
    for path in [*dict.fromkeys(read_only), *dict.fromkeys(outside)]:
        words += ["--mount", mount(path, read_only=True)]
    return words


def mount(path: str, *, read_only: bool = False) -> str:
    """A path that a container sees as it is here. Docker reads it as a line of CSV."""
    fields = ["type=bind", f"source={path}", f"target={path}", *(["readonly"] if read_only else [])]
    return ",".join(_field(text) for text in fields)


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def image(plan: Plan, environment: str | None) -> str | None:
    """The id of the image that jobs of an environment run in; None where they run on the host."""
    return None if environment is None else plan.images.get(environment)


def in_docker(plan: Plan, environment: str | None) -> str | None:
    """The same where the job's own shell calls Docker; None as well where Snakemake's rule has the image."""
    return image(plan, environment) if plan.experiment.runtime == "docker" else None


def by_snakemake(plan: Plan, environment: str | None) -> str | None:
    """How Snakemake makes an environment ready, by its own name for that; None where it does not."""
    method = plan.experiment.runtime
    return None if environment is None or method in ("host", "docker") else method


def asked_of_snakemake(plan: Plan) -> list[str]:
    """The words for Snakemake by which it makes environments ready; an option has to follow them."""
    method = plan.experiment.runtime
    return [] if method in ("host", "docker") else ["--sdm", method]


def of_job(plan: Plan, job: Job) -> list[str]:
    """Image and options of the container that a job's shell starts; nothing where it starts none.

    Raw inputs, those that no step makes, cannot be changed in there. What an input that leads out of
    the workspace leads to can be read.
    """
    work = job.case.work
    chosen = in_docker(plan, work.environment)
    if chosen is None:
        return []
    items = job.step.inputs[job.case.label].values()
    raw = {source.path for item in items for source in item.sources if source.path is not None}
    real = os.path.realpath(plan.folder)
    inside: list[str] = []
    outside: list[str] = []
    for path in plan.needs(job):
        found = os.path.realpath(plan.folder / path)
        outside += leads_to(str(plan.folder), path)
        if path in raw and found.startswith(f"{real}/"):
            inside.append(str(plan.folder / os.path.relpath(found, real)))
    words = options(plan.folder, network=work.network, read_only=inside, outside=outside)
    if work.mem_mb is not None:  # and no swap
        words += ["--memory", f"{work.mem_mb}m", "--memory-swap", f"{work.mem_mb}m"]
    for name in work.env:
        words += ["--env", name]
    return [chosen, *_known(plan, work.environment), *words, *(["--gpus"] if work.gpus else [])]


@functools.cache
def leads_to(workspace: str, path: str) -> tuple[str, ...]:
    """What a path leads to outside of the workspace, by itself and by links in the folder that it is.

    Of a folder with links to many neighbours, such as those in a cache of DVC's, it is where they are.

    Args:
        workspace: absolute.
        path: relative to it.
    """
    whole = os.path.join(workspace, path)
    real = os.path.realpath(workspace)
    found = {os.path.realpath(whole)}
    inside = os.path.realpath(whole).startswith(f"{real}/")  # and not the whole machine
    for parent, folders, names in os.walk(whole) if inside else ():
        for name in (*folders, *names):
            file = os.path.join(parent, name)
            if os.path.islink(file):
                target = os.path.realpath(file)
                found.add(target if os.path.isdir(target) else os.path.dirname(target))
    outside = {each for each in found if each != real and not each.startswith(f"{real}/")}
    apart = {each for each in outside if not any(each.startswith(f"{top}/") for top in outside)}
    beside = Counter(map(os.path.dirname, apart))
    crowded = {
        each if beside[os.path.dirname(each)] <= FEW else os.path.dirname(each) for each in apart
    }
    return tuple(sorted(crowded))


def by_hand(plan: Plan, environment: str | None) -> list[str]:
    """Image and options of the container of a rule that was written by hand."""
    chosen = in_docker(plan, environment)
    if chosen is None:
        return []
    return [chosen, *_known(plan, environment), *options(plan.folder, network=False)]


def _known(plan: Plan, environment: str | None) -> list[str]:
    """Where a node that does not have the image gets it from."""
    pin = plan.registries.get(environment or "")
    return [] if pin is None else ["--registry", pin]
