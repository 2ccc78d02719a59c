"""Experiments for tests: a workspace with a file, and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import workspace
from ml_experiment.errors import ExperimentError, Problem
from ml_experiment.plan import Plan

HEAD = "name: test\n"


def write(folder: Path, text: str, **files: str) -> Path:
    """An experiment file with `name: test` before the text; further files by name."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    file = folder / "experiment.yaml"
    file.write_text(text if text.startswith(("{", "name:", "extends:")) else HEAD + text)
    return file


def plan(folder: Path, text: str, overrides: Mapping[str, Any] | None = None, **files: str) -> Plan:
    """The plan of an experiment."""
    return workspace.open_plan(write(folder, text, **files), overrides)


def problems(
    folder: Path, text: str, overrides: Mapping[str, Any] | None = None, **files: str
) -> tuple[Problem, ...]:
    """What is wrong with an experiment."""
    with pytest.raises(ExperimentError) as caught:
        plan(folder, text, overrides, **files)
    assert "pydantic" not in str(caught.value)
    return caught.value.problems


def problem(
    folder: Path, text: str, overrides: Mapping[str, Any] | None = None, **files: str
) -> Problem:
    """The one thing that is wrong with an experiment."""
    found = problems(folder, text, overrides, **files)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]
