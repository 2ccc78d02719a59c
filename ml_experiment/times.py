"""Times of files that tell Snakemake what their contents tell us.

Snakemake runs what is older than its inputs. After a pull or a checkout times say nothing, so all
files get one time (for Snakemake equal is not older), and what is not what the experiment says an
earlier one. Where that is a link into DVC's cache it becomes a file of its own, for links to one
object have one time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ml_experiment import history, workspace
from ml_experiment.hashing import MARK
from ml_experiment.plan import Plan
from ml_experiment.staleness import State, Unit

EARLIER = 10 * 10**9  # ns


def align(plan: Plan, judged: Sequence[tuple[Unit, State]], at: int) -> None:
    """Set the times of all inputs, outputs and keys, and make the markers that are missing.

    Args:
        plan: of the experiment; its keys are brought up to date.
        judged: every job with its state, by content; so are the keys of rules that were written by
            hand, before Snakemake reads these.
        at: the time in ns since 1970.
    """
    workspace.write_keys(plan)
    for unit, _ in judged:
        if unit.key and unit.step not in plan.steps:
            workspace.write_key(plan.folder / unit.key_file, workspace.key_text(unit.key))
    paths: dict[str, int] = {}
    for unit, state in judged:
        for path in unit.outputs if state.word != "current" else ():
            _unlink(plan.folder / path)
    for unit, _ in judged:
        paths.update(dict.fromkeys((*unit.inputs, unit.key_file, *unit.outputs), at))
    for unit, state in judged:
        if state.word != "current":
            paths.update(dict.fromkeys(unit.outputs, at - EARLIER))
    for path in _markers(plan):
        file = plan.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        paths[path] = at
    for path, when in paths.items():
        _set(os.path.join(plan.folder, path), when)


def _markers(plan: Plan) -> Iterator[str]:
    for step in plan.steps.values():
        if step.trials_of is None or step.part:
            continue
        for case in step.cases:
            job = next(plan.jobs_of(step, case), None)
            blocks = step.trials_of.counts[case.label] // history.BLOCK
            for block in range(blocks if job is not None else 0):
                assert job is not None
                yield history.marker(plan, job, block)


def _unlink(file: Path) -> None:
    """Make a link to a file that others share a file of its own. A folder's time is its own."""
    if file.is_file() and (file.is_symlink() or file.stat().st_nlink > 1):
        copy = file.with_name(f"{file.name}.{os.getpid()}")
        shutil.copyfile(file, copy)
        copy.replace(file)


def _set(path: str, when: int) -> None:
    """Of a link both, its own and that of the file; of a folder also Snakemake's mark.

    Raw data may be somebody else's, or on a disk that cannot be written to; they are older anyway.
    """
    for each in (path, os.path.join(path, MARK)):
        for follow in (True, False):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _touch(each, when, follow=follow)


def _touch(path: str, when: int, *, follow: bool) -> None:
    try:
        os.utime(path, ns=(when, when), follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
