"""What a run has made goes to DVC when the run has ended: by a process of its own.

So Snakemake's process never imports DVC. That process is `services/commit.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from ml_experiment.plan import Plan

FILE = "dvc.yaml"


def is_wanted(plan: Plan | None, environ: Mapping[str, str]) -> bool:
    """Whether outputs are DVC's: there is a dvc.yaml, and DVC has not started the run."""
    there = plan is not None and (plan.folder / FILE).is_file()
    return there and "DVC_STAGE" not in environ


def keep(plan: Plan) -> str:
    """Give DVC what is current, if it is wanted; with `dvc: manual` make it ready for that.

    Returns:
        What to say of it, such as `DVC: 4 stages`; nothing where there was nothing to do.
    """
    if not is_wanted(plan, os.environ):
        return ""
    words = [sys.executable, "-P", "-m", "ml_experiment.services.commit", plan.file]
    words += ["--overridden"] if plan.overridden or plan.suffix else []
    words += ["--manual"] if plan.experiment.dvc == "manual" else []
    done = subprocess.run(words, cwd=plan.folder, capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.splitlines() or ["no reason was given"])[-1]
        return f"DVC: nothing kept, {last}"
    if told["refused"]:
        return f"DVC: nothing kept, {told['refused']}"
    count = told["stages"]
    return f"DVC: {count} {'stage' if count == 1 else 'stages'}" if count else ""
