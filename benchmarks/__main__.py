"""All benchmarks, one table: `python benchmarks [NAME ...] [--json] [--rounds N]`."""

from __future__ import annotations

import sys

import boot
import cli
import plan
import status
import steps
from bench import main

if __name__ == "__main__":
    modules = (steps, plan, status, boot, cli)
    sys.exit(main(*((module.__name__, module.measure) for module in modules)))
