"""All benchmarks, one table: `python benchmarks [NAME ...] [--json] [--rounds N]`."""

from __future__ import annotations

import sys

import boot
import cli
import containers
import data
import executors
import hashes
import lineage
import plan
import status
import steps
import studies
import tracking
from bench import main

if __name__ == "__main__":
    modules = (
        steps,
        plan,
        studies,
        executors,
        status,
        lineage,
        tracking,
        data,
        hashes,
        boot,
        cli,
        containers,
    )
    sys.exit(main(*((module.__name__, module.measure) for module in modules)))
