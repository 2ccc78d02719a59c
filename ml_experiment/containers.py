"""How a job runs in a container: the words for Docker's program, which boot/docker.sh completes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ml_experiment.plan import Job, Plan


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
    inside, outside = [], []
    for path in plan.needs(job):
        found = os.path.realpath(plan.folder / path)
        if found != real and not found.startswith(f"{real}/"):
            outside.append(found)
        elif path in raw and found != real:
            inside.append(str(plan.folder / os.path.relpath(found, real)))
    words = options(plan.folder, network=work.network, read_only=inside, outside=outside)
    if work.mem_mb is not None:  # and no swap
        words += ["--memory", f"{work.mem_mb}m", "--memory-swap", f"{work.mem_mb}m"]
    for name in work.env:
        words += ["--env", name]
    return [chosen, *_known(plan, work.environment), *words, *(["--gpus"] if work.gpus else [])]


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
