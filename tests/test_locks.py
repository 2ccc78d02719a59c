"""Pinned versions against those that ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import locks
from ml_experiment.errors import ExperimentError

REQUIREMENTS = """\
# a comment
--index-strategy unsafe-best-match
numpy==2.1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:11
Scikit_Learn[extra]==1.5  # behind it
old==1 ; python_version < "3"
new==2 ; python_version >= "3"
loose>=3
any==4.*
"""


def test_pins_of_requirements(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / "image.lock").write_text('{"digest": "sha256:0"}\n')
    assert locks.locked(tmp_path) == {"numpy": "2.1.0", "scikit-learn": "1.5", "new": "2"}


def test_pins_of_conda(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(
        "channels: [conda-forge]\ndependencies:\n  - python=3.11\n  - conda-forge::numpy=2.1.0=py311_0\n"
        "  - scipy\n  - pip:\n      - torch==2.13.0\n"
    )
    assert locks.locked(tmp_path) == {"python": "3.11", "numpy": "2.1.0", "torch": "2.13.0"}


def test_what_ran_otherwise() -> None:
    locked = {"numpy": "2.1.0", "scikit-learn": "1.5", "odd": "x y"}
    ran = {"numpy": "2.2.0", "scikit_learn": "1.5.0", "odd": "x z", "more": "1"}
    assert locks.differences(locked, ran) == {
        "numpy": {"locked": "2.1.0", "ran": "2.2.0"},
        "odd": {"locked": "x y", "ran": "x z"},
    }


def test_nothing_there(tmp_path: Path) -> None:
    assert locks.locked(tmp_path / "none") == {}


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("a: [\n")
    with pytest.raises(ExperimentError, match="environment"):
        locks.locked(tmp_path)
