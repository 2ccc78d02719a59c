"""Times of files that are not ours to touch."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import staleness, times
from tests.experiments import plan

TEXT = """\
steps:
  copy: {run: "cp {inputs.raw} {outputs.o}", inputs: {raw: data/raw.csv}, outputs: {o: o.txt}, seeding: none}
"""


@pytest.mark.parametrize("code", [errno.EROFS, errno.EPERM, errno.ENOENT, errno.ENOSPC])
def test_raw_data_of_somebody_else(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"data__raw.csv": "1\n", "results__copy__o.txt": "1\n"}
    made = plan(tmp_path, TEXT, None, **files)
    touch = os.utime

    def utime(path: str, **more: Any) -> None:
        if path.endswith("raw.csv"):
            raise OSError(code, os.strerror(code), path)
        touch(path, **more)

    monkeypatch.setattr(os, "utime", utime)
    at = time.time_ns()
    judged = staleness.judged(made)
    if code == errno.ENOSPC:  # that is no matter of whose it is
        with pytest.raises(OSError, match="No space"):
            times.align(made, judged, at)
        return
    times.align(made, judged, at)
    key = made.folder / made.key(next(made.jobs(made.steps["copy"])))
    assert key.stat().st_mtime_ns == at
    output = made.folder / "results/copy/o.txt"
    assert output.stat().st_mtime_ns == at - times.EARLIER  # it has no record
