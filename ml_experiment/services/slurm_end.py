"""The process that cancels what a run of Snakemake leaves in Slurm: `python -m … FOLDER RUN`."""

from __future__ import annotations

import sys
from pathlib import Path

from ml_experiment.adapters import slurm

if __name__ == "__main__":
    slurm.wait(Path(sys.argv[1]), sys.argv[2], sys.stdin.buffer)
