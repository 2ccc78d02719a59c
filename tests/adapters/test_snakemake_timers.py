"""The contact with Snakemake's scheduler: the timers that it leaves behind."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from snakemake.scheduling.job_scheduler import JobScheduler

from ml_experiment.adapters import snakemake_timers


def test_the_schedulers_timers_end_and_no_others() -> None:
    other = threading.Timer(600, time.time)
    other.start()
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    JobScheduler._schedule_reevalutation(scheduler, 600)
    assert snakemake_timers.cancel() == 1
    assert snakemake_timers.cancel() == 0  # though its thread may not have ended yet
    timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    assert [each for each in timers if not each.finished.is_set()] == [other]
    other.cancel()
    other.join(10)


def test_where_there_are_none() -> None:
    assert snakemake_timers.cancel() == 0
