"""What a record says of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ml_experiment import host

if TYPE_CHECKING:
    import pytest


def test_it_says_what_computes_and_not_who() -> None:
    found = host.describe()
    assert found["cpus"] >= found["usable_cpus"] >= 1
    assert found["memory"] > 1_000_000
    assert found["versions"]["snakemake"].startswith("9.")
    assert os.path.expanduser("~/") not in json.dumps(found)


def test_gpus_are_asked_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for nvidia-smi: there is no GPU here."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 570.1, 81559 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert host._gpus() == ["NVIDIA H100, 570.1, 81559 MiB"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert host._gpus() == []
