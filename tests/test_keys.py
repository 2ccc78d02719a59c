"""What is different between two keys, in the words of `status`."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ml_experiment.keys import changes

BASE: dict[str, Any] = {
    "code": {"a.py": "1", "b.py": "2"},
    "params": {"C": 1, "D": None, "E": math.nan},
    "seed": {"root": 1},
    "threads": 1,
    "run": "x",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"params": {"C": 1, "D": None, "E": math.nan}}, []),
        ({"params": {"C": 1.0, "D": None, "E": math.nan}}, ["parameter C"]),
        ({"params": {"C": True, "D": None, "E": math.nan}}, ["parameter C"]),
        ({"params": {"C": 1, "E": math.nan}}, ["parameter D"]),
        ({"params": {"C": 1, "D": None, "E": math.nan, "F": None}}, ["parameter F"]),
        ({"params": {}}, ["parameter C", "parameter D", "parameter E"]),
        ({"params": {"C": [1], "D": {"a": 1}, "E": math.nan}}, ["parameter C", "parameter D"]),
        ({"code": {"a.py": "1", "b.py": "3", "c.py": "4"}}, ["code b.py", "code c.py"]),
        ({"seed": None, "threads": 2, "run": "y"}, ["code", "seed", "threads"]),
        ({"gpus": 1}, ["threads"]),
        ({"environment": {"name": "e"}}, ["environment"]),
    ],
)
def test_changes(change: dict[str, Any], words: list[str]) -> None:
    assert changes(BASE, {**BASE, **change}) == words
    assert changes({}, {}) == []
