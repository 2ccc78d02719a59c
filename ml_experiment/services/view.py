"""The view of a study: `python -m … KEY` is the job that writes it, of the trials' files alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import search
from ml_experiment.adapters import optuna_view
from ml_experiment.hashing import canonical
from ml_experiment.space import Kind, Parameter


def view(root: Path, key: Mapping[str, Any]) -> list[str]:
    """Write the view of a study; what people are told of it."""
    study = Path(key["folder"])
    folder = root / study / "view"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = sorted((root / study / "trials").glob("*.json"))
    rows = [json.loads(file.read_text("utf-8")) for file in files]
    parameters = search.parameters(key["parameters"]) or tried(rows)
    notes = optuna_view.write(folder, key["name"], dict(key["objectives"]), parameters, rows)
    return [*notes, f"to look at it: optuna-dashboard {study}/view/{optuna_view.STORAGE}"]


def tried(rows: Sequence[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """Where a function draws the parameters, what is shown of each is the range that was tried."""
    held: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row["params"].items():
            held.setdefault(name, []).append(value)
    return tuple(_tried(name, values) for name, values in sorted(held.items()))


def _tried(name: str, values: list[Any]) -> Parameter:
    if all(type(value) in (int, float) for value in values):
        kind: Kind = "int" if all(type(value) is int for value in values) else "float"
        return Parameter(name, kind, min(values), max(values))
    different = {canonical(value): value for value in values}
    return Parameter(name, "choice", choices=tuple(different[text] for text in sorted(different)))


def main(arguments: Sequence[str]) -> int:
    """The job."""
    for line in view(Path.cwd(), json.loads(Path(arguments[0]).read_text("utf-8"))):
        print(line)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
