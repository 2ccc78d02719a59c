"""A small project, and what a test can do in one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

EXPERIMENT = """\
name: small
seed: 7
environment: base
params: {scale: 2, unused: 1}

axes: {method: [mean, median]}

steps:
  prepare:
    run: python scripts/prepare.py {inputs.raw} {outputs.table} {params.scale}
    inputs: {raw: data/raw.csv}
    outputs: {table: table.csv}
    seeding: none
  fit:
    call: scripts.fit:fit
    inputs: {table: prepare.table}
    params: {low: 1, high: 5}
    outputs: {model: model.json}
    metrics: metrics.json
    matrix: [method]
    replicates: 2
  other:
    run: python scripts/other.py {inputs.table} {metrics}
    inputs: {table: prepare.table}
    metrics: metrics.json
  report:
    run: cat {inputs.table} {inputs.models} {inputs.other} > {outputs.text}
    inputs: {table: fit.table, models: fit.model, other: other.metrics}
    outputs: {text: report.txt}
    seeding: none

variants:
  quick: {steps.fit.replicates: 1}
"""

FILES = {
    "experiment.yaml": EXPERIMENT,
    "data/raw.csv": "1\n2\n3\n",
    "envs/base/requirements.txt": "# nothing\n",
    "scripts/prepare.py": """\
import sys
raw, table, scale = sys.argv[1:]
lines = [str(float(line) * float(scale)) for line in open(raw)]
open(table, "w").write("\\n".join(lines) + "\\n")
""",
    "scripts/helper.py": "def shift(value, low, high):\n    return low + (high - low) * value\n",
    "scripts/fit.py": """\
import json
import random

from scripts import helper


def fit(table, model, method, low, high):
    draw = helper.shift(random.random(), low, high)
    with open(model, "w") as file:
        json.dump({"method": method, "draw": draw}, file)
    return {"draw": draw}
""",
    "scripts/other.py": """\
import json
import random
import sys
table, metrics = sys.argv[1:]
json.dump({"value": random.random()}, open(metrics, "w"))
""",
    "Snakefile": """\
include: "workflow/rules/experiment.smk"


rule byhand:
    input:
        key=experiment.key("byhand", "scripts/byhand.py"),
        table=experiment.path("prepare.table"),
    output: f"{experiment.results}/byhand/out.txt"
    params: launch=experiment.launch("byhand")
    shell: "{params.launch} python scripts/byhand.py {input.table:q} {output:q}"


rule all:
    default_target: True
    input: experiment.targets, rules.byhand.output
""",
    "scripts/byhand.py": """\
import random
import sys
open(sys.argv[2], "w").write(open(sys.argv[1]).read() + str(random.random()) + "\\n")
""",
}


Make = Callable[..., "Project"]


@dataclass
class Project:
    """A workspace and what can be done in it. Its records go to MLflow only if it is `tracked`."""

    folder: Path
    tracked: bool = False

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text("utf-8")
        assert old in text, f"{old!r} is not in {name}"
        self.write(name, text.replace(old, new, 1))

    def call(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with the environment's programs first on PATH."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        offline = {} if self.tracked else {"SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "true"}
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, **offline, "PATH": path, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def snakemake(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.call("snakemake", "--cores", "2", *words, **environ)

    def ours(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.call("ml-experiment", *words, **environ)

    def would_run(self, *words: str, **environ: str) -> dict[str, int]:
        """Rule -> number of jobs of a dry run, without `all`."""
        done = self.snakemake("--dry-run", *words, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        _, _, table = done.stdout.partition("Job stats:")
        rows = re.findall(r"^(\S+) +(\d+)$", table.partition("\n\n")[0], re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    def files(self, folder: str = "results") -> dict[str, str]:
        """Path -> digest of every file below a folder."""
        return {
            path.relative_to(self.folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file()
        }

    def json(self, name: str) -> dict[str, Any]:
        data = json.loads((self.folder / name).read_text("utf-8"))
        assert isinstance(data, dict)
        return data

    def copy(self, target: Path) -> Project:
        """The same files with the same times elsewhere."""
        shutil.copytree(self.folder, target, symlinks=True)
        return Project(target, self.tracked)


def scaffold(folder: Path, files: dict[str, str]) -> Project:
    """A project with our rules and profile, and these files."""
    project = Project(folder)
    for name in ("workflow/rules/experiment.smk", "profiles/default/config.yaml"):
        project.write(name, (REPOSITORY / name).read_text("utf-8"))
    project.write(
        "Snakefile",
        'include: "workflow/rules/experiment.smk"\n\n\n'
        "rule all:\n    default_target: True\n    input: experiment.targets\n",
    )
    for name, text in files.items():
        project.write(name, text)
    return project
