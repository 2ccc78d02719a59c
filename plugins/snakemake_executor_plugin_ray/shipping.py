"""What a job of Snakemake is, said without Snakemake: a command, a script, or a Snakemake for itself.

Snakemake gives an executor the whole job and promises little of it. What is used here besides that
is in this module, and held by a test; where something is not as expected, the job gets a Snakemake
of its own on its node, which takes seconds, and works in any case.
"""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from snakemake_interface_executor_plugins.settings import DeploymentMethod


class Work(NamedTuple):
    """How a job is done: by one of the two, or, where both are None, by a Snakemake of its own.

    `reason` says why that is so.
    """

    command: str | None = None
    call: bytes | None = None
    shell: str = "bash"
    reason: str = ""


def work(job: Any, workflow: Any) -> Work:
    """How a job, which has been prepared, is done."""
    try:
        reason = nested(job, workflow)
        if reason:
            return Work(reason=reason)
        if job.is_shell:
            return _of_shell(job)
        return Work(call=_of_script(job, workflow))
    except (AttributeError, pickle.PicklingError, TypeError) as error:
        return Work(reason=f"it cannot be sent: {error}")


def nested(job: Any, workflow: Any) -> str | None:
    """Why a job needs a Snakemake of its own; None where it does not."""
    try:
        return _nested(job, workflow)
    except AttributeError as error:
        return f"this Snakemake is not known: {error}"


def _nested(job: Any, workflow: Any) -> str | None:
    from snakemake.io import is_flagged

    if job.is_group():
        return "it is a group"
    if not (job.is_shell or job.is_script):
        return "it is neither shell nor script"
    if job.is_shadow:
        return "it has a shadow folder"
    if job.benchmark:
        return "it has a benchmark"
    if job.is_pipe or job.is_service:
        return "it has a pipe or a service"
    if any(is_flagged(path, "update") for path in job.output):
        return "it updates an output"
    if workflow.workflow_settings.cache is not None and job.rule.cache:
        return "it has a cache between workflows"
    return _deployed(job, workflow.deployment_settings.deployment_method) or _own_shell()


def _deployed(job: Any, methods: Any) -> str | None:
    if DeploymentMethod.CONDA in methods and job.conda_env:
        return "it has a conda environment"
    if DeploymentMethod.APPTAINER in methods and job.container_img_path:
        return "it has a container"
    if DeploymentMethod.ENV_MODULES in methods and job.env_modules:
        return "it has environment modules"
    return None


def _own_shell() -> str | None:
    """Whether the Snakefile has put something around all its commands."""
    from snakemake.shell import shell

    if shell._process_prefix is not None or shell._process_suffix:  # noqa: SLF001  # see above
        return "the Snakefile puts a prefix or suffix around commands"
    return None


def _of_shell(job: Any) -> Work:
    from snakemake.shell import shell

    command = job.shellcmd
    if "<TBD>" in command:
        return Work(reason="its command names what only the node knows")
    program = job.resources.get("shell_exec") or shell.get_executable() or "/bin/sh"
    strict = "set -euo pipefail; " if os.path.basename(program) == "bash" else ""
    return Work(command=f"{strict}{command}".strip(), shell=program)


def _of_script(job: Any, workflow: Any) -> bytes:
    """A pickled function that runs the script, as Snakemake's generated code does."""
    resources = {name: value for name, value in job.resources.items() if name != "tmpdir"}
    kind = type(job.resources)
    rule = job.rule
    path, base = rule.script, rule.basedir
    given = {
        "path": path if isinstance(path, str) else str(path),
        "basedir": base.get_path_or_uri(secret_free=True) if base is not None else None,
        "input": job.input._plainstrings(),  # noqa: SLF001  # as Snakemake's own executor does
        "output": job.output._plainstrings(),  # noqa: SLF001
        "log": job.log._plainstrings(),  # noqa: SLF001
        "params": job.params,
        "wildcards": job.wildcards,
        "threads": job.threads,
        "config": dict(workflow.globals["config"]),
        "rulename": rule.name,
        "jobid": job.jobid,
        "cleanup_scripts": workflow.execution_settings.cleanup_scripts,
    }
    call: Callable[[], None] = functools.partial(run_script, given, kind, resources, os.getcwd())
    return pickle.dumps(call)


def run_script(given: dict[str, Any], kind: Any, resources: dict[str, Any], workspace: str) -> None:
    """On a node: run a rule's script, in the working directory."""
    import tempfile
    from pathlib import Path

    from snakemake.script import script
    from snakemake.sourcecache import infer_source_file

    base = given["basedir"]
    if base is not None:
        here = os.getcwd()
        given["basedir"] = infer_source_file(
            base.replace(workspace, here, 1) if base.startswith(workspace) else base
        )
    with tempfile.TemporaryDirectory(prefix="snakemake-scripts-") as cache:
        script(
            **given,
            resources=kind(fromdict={**resources, "tmpdir": tempfile.gettempdir()}),
            conda_env=None,
            conda_base_path=None,
            container_img=None,
            singularity_args="",
            env_modules=None,
            bench_record=None,
            bench_iteration=None,
            shadow_dir=None,
            sourcecache_path=Path(cache, "cache"),
            runtime_sourcecache_path=Path(cache, "runtime"),
            runtime_paths=[],
        )
