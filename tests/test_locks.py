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
    assert locks.locked(tmp_path) == {"python": "3.11.*", "numpy": "2.1.0", "torch": "2.13.0"}


@pytest.mark.parametrize(
    ("pin", "same", "others"),
    [
        ("numpy=1.26", ["1.26", "1.26.4", "1.26.0rc1"], ["1.27", "1.260", "2"]),
        ("numpy = 1.26.*", ["1.26", "1.26.4"], ["1.25.9"]),
        ("numpy==1.26", ["1.26", "1.26.0"], ["1.26.4"]),
        ("numpy=1.26=py311_0", ["1.26"], ["1.26.4"]),
        ("numpy=2024xy", ["2024xy", "2024xy.1"], ["2024xyz"]),  # a version of conda's own
        ("numpy>=1.26", ["1", "2"], []),
        ("numpy=1.26|1.27", ["1.26", "1.27"], []),
        ("numpy=*", ["1"], []),
    ],
)
def test_one_sign_of_condas_is_any_release_of_a_version(
    pin: str, same: list[str], others: list[str], tmp_path: Path
) -> None:
    (tmp_path / "environment.yml").write_text(f"dependencies:\n  - conda-forge::{pin}\n")
    locked = locks.locked(tmp_path)
    differs = [each for each in [*same, *others] if locks.differences(locked, {"numpy": each})]
    assert differs == others


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


def test_a_list_that_has_hashes_needs_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# six\nsix==1.0 \\\n    --hash=sha256:00\n")
    assert locks.is_hashed(file)
    file.write_text(file.read_text() + "other==1\n")
    assert not locks.is_hashed(file)
    file.write_text("# nothing\n")
    assert not locks.is_hashed(file)


def test_what_a_list_asks_for_and_its_lock_lacks(tmp_path: Path) -> None:
    listed, pinned = tmp_path / "requirements.txt", tmp_path / "requirements.lock"
    listed.write_text('Six<2\nold==1 ; python_version < "3"\npre>=1.0rc1\n')
    pinned.write_text("six==1.5 \\\n    --hash=sha256:00\npre==1.0rc1 --hash=sha256:00\n")
    assert locks.unmet(listed, pinned) == []
    listed.write_text("six>=2\nmore\n")
    assert locks.unmet(listed, pinned) == ["it has six 1.5, not >=2", "more is not in it"]


def test_what_a_list_names_is_asked_for_too(tmp_path: Path) -> None:
    listed, pinned = tmp_path / "requirements.txt", tmp_path / "requirements.lock"
    listed.write_text("-r base.txt\n-c limits.txt\n")
    (tmp_path / "base.txt").write_text("six\n")
    (tmp_path / "limits.txt").write_text("six<2\nmore<2\n")
    pinned.write_text("six==1.5 --hash=sha256:00\n")
    assert locks.unmet(listed, pinned) == []
    (tmp_path / "base.txt").write_text("six\nother\n")
    (tmp_path / "limits.txt").write_text("six<1\n")
    assert locks.unmet(listed, pinned) == ["other is not in it", "it has six 1.5, not <1"]
    assert not locks.is_hashed(listed)
    (tmp_path / "base.txt").write_text("six==1.5 --hash=sha256:00\n")
    assert locks.is_hashed(listed)
    assert locks.of_file(listed) == {"six": "1.5"}
