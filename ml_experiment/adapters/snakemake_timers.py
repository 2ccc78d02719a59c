"""The timers that Snakemake's scheduler leaves behind, for which its process would wait at the end.

Wherever jobs per time are limited, as they are unless told otherwise, each choice of jobs starts a
thread that looks again a second later. Python waits for the last one: up to a second after the last job.
"""

from __future__ import annotations

import threading

SCHEDULER = "snakemake.scheduling."


def cancel() -> int:
    """Cancel them, for an executor that is told to shut down: nothing is chosen after that.

    Returns:
        How many there were.
    """
    timers = [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, threading.Timer)
        and str(thread.function.__module__).startswith(SCHEDULER)
        and not thread.finished.is_set()  # a cancelled one is listed until its thread has woken
    ]
    for timer in timers:
        timer.cancel()
    return len(timers)
