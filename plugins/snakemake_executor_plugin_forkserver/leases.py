"""Who has which GPU: jobs get theirs in the order in which they have asked, and wait for them.

Nobody is overtaken: a job that wants two devices would else wait as long as there are small ones.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from snakemake_executor_plugin_forkserver import gpus


class ClosedError(Exception):
    """The run is given up: what waits does not begin any more."""


class Leases:
    """The leases of one run.

    Args:
        devices: what there is to be leased.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = devices
        self._used = [0] * len(devices)
        self._asked: dict[int, int] = {}
        self._queue: deque[list[int]] = deque()
        self._granted: dict[int, tuple[int, ...]] = {}
        self._closed = False
        self._changed = threading.Condition()

    def ask(self, shares: Mapping[int, int]) -> str | None:
        """Jobs that run at the same time, and what each asks for; or why they never can."""
        lacking = gpus.lacking(list(shares.values()), self.devices)
        if lacking is None:
            with self._changed:
                self._asked.update(shares)
                self._queue.append(list(shares))
                self._grant()
        return lacking

    @contextlib.contextmanager
    def held(self, job: int) -> Iterator[list[str]]:
        """Wait for the devices of a job that has asked, and have them.

        Raises:
            ClosedError: the run has been given up meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or job in self._granted)
            if self._closed:
                raise ClosedError
            places = self._granted[job]
        try:
            yield [self.devices[place] for place in places]
        finally:
            with self._changed:
                share = min(self._asked.pop(job), gpus.WHOLE)
                for place in self._granted.pop(job):
                    self._used[place] -= share
                self._grant()

    def has(self, job: int) -> bool:
        """Whether a job has asked."""
        with self._changed:
            return job in self._asked

    def close(self) -> None:
        """Nothing that waits begins any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _grant(self) -> None:
        while self._queue:
            jobs = self._queue[0]
            shares = [self._asked[job] for job in jobs]
            found = gpus.fit(self._used, shares)
            if found is None:
                return
            self._queue.popleft()
            for job, share, places in zip(jobs, shares, found, strict=True):
                self._granted[job] = places
                for place in places:
                    self._used[place] += min(share, gpus.WHOLE)
            self._changed.notify_all()
