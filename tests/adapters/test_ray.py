"""Ray without a cluster: what a node refuses, and what is private to Snakemake."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.script import script
from snakemake.shell import shell
from snakemake_executor_plugin_ray import shipping

pytestmark = pytest.mark.engine("ray")


def test_a_node_with_other_software_refuses(tmp_path: Path) -> None:
    from ml_experiment.adapters.ray_node import Order, Run, run_job, software

    run = Run("0", str(tmp_path), ("token", "0"), "", {}, (), {**software(), "Ray": "1.0.0"})
    ((word, what, host),) = run_job(run, Order())
    assert (word, host) == ("refused", os.uname().nodename)
    assert what == f"has Ray {software()['Ray']}, not 1.0.0"
    run = replace(run, software={**software(), "Python": "3.99", "ml-experiment": "9"})
    ((_, what, _),) = run_job(run, Order())
    assert "ml-experiment 0" in what
    assert "not 3.99" in what


def test_only_whole_paths_of_the_project_are_others_on_a_node(tmp_path: Path) -> None:
    from ml_experiment.adapters.ray_node import Node

    node: Any = object.__new__(Node)
    python = "/python/bin/python"
    node.run_of = SimpleNamespace(python=python, boot="/boot", workspace="/project")
    node.workspace = "/there"
    command = (
        "cd /project && x --in=/project/a '/project' org/project1 results/project/m /project-2/b"
    )
    assert node._text(command) == (
        "cd /there && x --in=/there/a '/there' org/project1 results/project/m /project-2/b"
    )


def test_what_no_node_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray as library

    from ml_experiment.adapters import ray

    node = {"Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**30, "away": 1.0}}
    monkeypatch.setattr(library, "nodes", lambda: [node])
    cluster: Any = object.__new__(ray.Cluster)
    cluster._looked = -ray.KNOWN
    assert cluster.lacks({"num_cpus": 2, "resources": {"away": 1}}) is None
    assert cluster.lacks({"num_cpus": 1, "num_gpus": 1}) == "no node has GPU 1; the most is 0"
    said = cluster.lacks({"num_cpus": 1, "resources": {"awai": 1}})
    assert said == "no node has awai 1; the most is 0; did you mean away?"
    said = cluster.lacks({"memory": 2**31})
    assert said == "no node has memory 2,048 MiB; the most is 1,024 MiB"


def test_what_is_used_of_snakemakes_private_parts_is_there() -> None:
    given = {
        "path", "basedir", "input", "output", "log", "params", "wildcards", "threads", "config",
        "rulename", "jobid", "cleanup_scripts", "resources", "conda_env", "conda_base_path",
        "container_img", "singularity_args", "env_modules", "bench_record", "bench_iteration",
        "shadow_dir", "sourcecache_path", "runtime_sourcecache_path", "runtime_paths",
    }  # fmt: skip
    assert set(inspect.signature(script).parameters) == given
    assert shell._process_prefix is None
    assert shell._process_suffix == ""


def test_an_unknown_snakemake_runs_its_jobs_itself() -> None:
    job: Any = SimpleNamespace(is_group=lambda: False)
    reason = shipping.nested(job, SimpleNamespace())
    assert reason is not None
    assert "this Snakemake is not known" in reason
    work = shipping.work(job, SimpleNamespace())
    assert (work.command, work.call) == (None, None)


def test_what_cannot_be_pickled_is_left_to_a_snakemake_on_the_node() -> None:
    class Script(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return False

    names = ("input", "output", "log")
    files = {name: SimpleNamespace(_plainstrings=list) for name in names}
    rule = SimpleNamespace(script="x.py", basedir=None, name="x", cache=None)
    job = Script(
        is_group=lambda: False, is_script=True, rule=rule, resources={}, params=[lambda: 1],
        **{**files, "output": Outputs()},
    )  # fmt: skip
    settings = SimpleNamespace(cache=None, deployment_method=set(), cleanup_scripts=True)
    workflow = SimpleNamespace(
        workflow_settings=settings,
        deployment_settings=settings,
        execution_settings=settings,
        globals={"config": {}},
    )
    assert shipping.nested(job, workflow) is None
    assert "it cannot be sent" in shipping.work(job, workflow).reason


class Outputs(list[str]):
    """What a job makes."""

    def _plainstrings(self) -> list[str]:
        return list(self)
