"""Metrics of a version: over the replicates that were made of the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_experiment import modelrecords, records
from ml_experiment.versions import Version


def line(data: str, seed: int, error: float) -> dict[str, Any]:
    """A job that has made a model; all have the same key."""
    return {
        "ended": f"2026-01-01T00:00:0{seed}Z", "id": f"{data}{seed}", "inputs": {"raw.csv": {"hash": data}},
        "job": f"fit/seed-{seed}", "key_digest": "k", "metrics": {"error": error},
        "outputs": {f"results/fit/seed-{seed}/m": {"hash": f"{data}-{seed}"}}, "rule": "fit",
        "run": f"{data}{seed}", "state": "finished", "trial": None,
    }  # fmt: skip


def test_replicates_of_other_data_do_not_count(tmp_path: Path) -> None:
    every = [
        line(data, seed, error) for data, error in (("a", 1.0), ("b", 9.0)) for seed in range(3)
    ]
    file = records.files(tmp_path)
    assert file == []
    path = tmp_path / ".ml_experiment/records.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(each) + "\n" for each in every))
    facts = {"record": "a0", "path": "results/fit/seed-0/m"}
    (found,) = modelrecords.measured(tmp_path, Version("m", "a-0", facts))
    assert (found.mean, found.n) == (1.0, 3)
