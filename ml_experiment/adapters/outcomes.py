"""What an executor of this process tells of a job, for its record: where it ran, what it has made.

An executor can hash while Snakemake does not know yet that the job has ended: nobody has removed a
temporary file then, and no other job has begun that could change one. The record is made later, and
reads nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml_experiment.digests import Digests, Known

_made: dict[int, Known] = {}
_hosts: dict[int, str] = {}
_expected: list[Callable[[], bool]] = []


def expect(listed: Callable[[], bool]) -> None:
    """Somebody in this process makes records; `listed` says whether those of a folder's files too."""
    _expected.append(listed)


def hash_outputs(folder: Path, jobid: int, paths: Iterable[str]) -> None:
    """Hash what a job has made, if somebody wants to know; what is not there has no digest."""
    if _expected:
        digests = Digests(folder, listed=_expected[-1]())
        digests.entries(paths)
        _made[jobid] = digests.known


def of(jobid: int) -> Known:
    """What a job has made, as far as its executor has hashed it."""
    return _made.pop(jobid, {})


def ran_on(job: Any, host: str) -> None:
    """Note where one of Snakemake's jobs has run, or all of a group."""
    for each in job.jobs if job.is_group() else [job]:
        _hosts[each.jobid] = host


def host_of(jobid: int) -> str | None:
    """Where a job has run; None where nobody has noted it, which is here."""
    return _hosts.pop(jobid, None)
